"""Look at the checkpoints of the registry, take them out, copy them elsewhere, delete them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from harness.checkouts import copy_out
from harness.checkpoints import EmbeddedStore, FileCheck
from harness.cli.output import emit_json, json_option, say, table
from harness.cli.plain import plain
from harness.digests import list_files
from harness.errors import IntegrityError, UsageError
from harness.mirroring import Mirrored
from harness.mirroring import mirror as copy_versions
from harness.protocols import CheckpointStore
from harness.publication import LATEST
from harness.session import open_session
from harness.types import AliasMove, Json, Version


@click.group("checkpoints")
def command() -> None:
    """Look at the checkpoints of the registry, take them out, copy them elsewhere, delete them."""


@command.command("log")
@click.argument("name", required=False)
@json_option
def log(name: str | None, as_json: bool) -> None:
    """Versions of NAME and the moves of its aliases, newest first; without NAME, all names."""
    with open_session() as session:
        store = session.checkpoints
        if name is None:
            newest = [store.versions(name)[0] for name in store.names()]
            if as_json:
                emit_json({"checkpoints": [_document(version) for version in newest]})
            elif newest:
                _versions_table(newest)
            else:
                say("no checkpoints yet: `harness train CONFIG` publishes one")
            return
        versions, moves = store.versions(name), store.history(name)
    if as_json:
        emit_json({
            "checkpoint": name,
            "versions": [_document(version) for version in versions],
            "moves": [_move(move) for move in moves],
        })  # fmt: skip
        return
    _versions_table(versions)
    _moves_table(moves)


@command.command("show")
@click.argument("reference", metavar="NAME[:REF]")
@json_option
def show(reference: str, as_json: bool) -> None:
    """All that is known of a version: `vN`, an alias, or the latest."""
    name, _, ref = reference.partition(":")
    with open_session() as session:
        version = session.checkpoints.get(name, ref or LATEST)
        lineage = _lineage(session.checkpoints, version.parents)
    document = _document(version)
    document["parents"] = [{"digest": digest, "versions": lineage[digest]} for digest in version.parents]
    if as_json:
        emit_json(document)
        return
    parents = [" = ".join((*lineage[digest], digest)) for digest in version.parents]
    facts = [f"{key}={value}" for key, value in version.metadata.items() if key != "environment"]
    lines = {
        "version": [str(version)],
        "type": [version.type],
        "aliases": [", ".join(version.aliases)] if version.aliases else [],
        "created": [version.created],
        "size": [_size(version.size)],
        "digest": [version.digest],
        "made from": parents,
        "metadata": facts,
    }
    for label, values in lines.items():
        for index, value in enumerate(values):
            click.echo(f"{label + ':' if index == 0 else '':<12}{plain(value)}")


@command.command("verify")
@click.argument("reference", metavar="[NAME[:REF]]", required=False)
@json_option
def verify(reference: str | None, as_json: bool) -> None:
    """Read every stored file, of one version or of all, and compare it with what was published.

    What another store than the embedded registry has is downloaded for it.
    """
    name, _, ref = (reference or "").partition(":")
    with open_session() as session:
        store = session.checkpoints
        if isinstance(store, EmbeddedStore):
            checks = list(_watched(store.verify(name or None, ref or None)))
        else:
            checks = list(_watched(_taken_out(store, name or None, ref or None)))
    damaged = [check for check in checks if check.problem]
    size = sum(check.size for check in checks)
    if as_json:
        problems = [{"version": check.version, "path": check.path, "problem": check.problem} for check in damaged]
        emit_json({"files": len(checks), "bytes": size, "damaged": problems})
    else:
        for check in damaged:
            click.echo(plain(f"{check.version}: {check.path}: {check.problem}"))
        click.echo(f"{len(checks) - len(damaged)} of {len(checks)} files ({_size(size)}) are as they were published")
    if damaged:
        raise IntegrityError(
            f"{len(damaged)} of {len(checks)} files are damaged; publish the same folders again to mend them, or "
            "restore the workspace from a backup"
            if isinstance(store, EmbeddedStore)
            else f"{len(damaged)} versions are damaged; use others, and delete these"
        )


@command.command("pull")
@click.argument("reference", metavar="NAME[:REF]")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make.")
@json_option
def pull(reference: str, out: Path, as_json: bool) -> None:
    """Write a version's files, verified, to a folder that is yours to change, move or upload."""
    name, _, ref = reference.partition(":")
    with open_session() as session:
        resolved = session.checkpoints.resolve(name, ref or LATEST)
        copy_out(resolved, out)
    version = f"{name}:{resolved.version}" if resolved.version else name
    if as_json:
        emit_json({"version": version, "digest": resolved.digest, "folder": str(out)})
    else:
        click.echo(plain(f"{version} is in {out}"))


@command.command("delete")
@click.argument("reference", metavar="NAME:REF")
@click.option("--aliased", is_flag=True, help="Also where aliases stand for it: they go with it.")
@json_option
def delete(reference: str, aliased: bool, as_json: bool) -> None:
    """Remove one version and the files that no other version has. The history of its aliases stays."""
    name, _, ref = reference.partition(":")
    if not ref:
        raise UsageError(f"{name}: say which version, such as {name}:v0; `harness checkpoints log {name}` lists them")
    with open_session() as session:
        version = session.checkpoints.get(name, ref)
        version = session.checkpoints.delete(name, f"v{version.number}", aliased=version.aliases if aliased else ())
    if as_json:
        emit_json({"deleted": _document(version)})
    else:
        click.echo(f"deleted {version} ({_size(version.size)})")


@command.command("mirror")
@click.argument("reference", metavar="NAME[:REF]")
@click.option("--from", "from_", metavar="STORE", required=True, help="Where they are: embedded, or a plugin's store.")
@click.option("--to", metavar="STORE", required=True, help="Where they go.")
@click.option("--aliases", is_flag=True, help="Move the versions' aliases to the copies, too.")
@json_option
def mirror(reference: str, from_: str, to: str, aliases: bool, as_json: bool) -> None:
    """Copy all versions of NAME, oldest first, or one, to another store. Digests are equal; what is there stays."""
    name, _, ref = reference.partition(":")
    if from_ == to:
        raise UsageError(f"--from and --to are both {to!r}; name two stores, such as --from embedded --to wandb")
    with open_session() as session:
        source, target = session.checkpoint_store(from_), session.checkpoint_store(to)
        done = copy_versions(source, target, name, ref or None, aliases=aliases, report=_say_mirrored)
    if as_json:
        emit_json({
            "from": from_,
            "to": to,
            "versions": [
                {"from": _document(item.source), "to": _document(item.target), "copied": item.copied} for item in done
            ],
        })  # fmt: skip
    else:
        copied = sum(item.copied for item in done)
        click.echo(f"{copied} of {len(done)} versions copied to {plain(str(target))}; the others were there")


@command.command("gc")
@json_option
def gc(as_json: bool) -> None:
    """Remove stored files that no version has, such as a killed command leaves behind. Safe while others publish.

    For the embedded registry only.
    """
    with open_session() as session:
        store = session.checkpoints
        if not isinstance(store, EmbeddedStore):
            raise UsageError(f"{store} removes by itself what no version has; `gc` is for the embedded registry")
        freed = store.collect()
    if as_json:
        emit_json({"files": freed.files, "bytes": freed.size})
    else:
        click.echo(f"removed {freed.files} files, {_size(freed.size)}")


def _say_mirrored(item: Mirrored) -> None:
    say(f"{item.source} {'→' if item.copied else '='} {item.target} ({item.target.digest[:12]})")


def _taken_out(store: CheckpointStore, name: str | None, ref: str | None) -> Iterator[FileCheck]:
    """The files of versions, by taking them out of a store, which verifies them."""
    names = store.names() if name is None else [name]
    versions = [store.get(name, ref)] if name and ref else [item for each in names for item in store.versions(each)]
    for version in versions:
        try:
            folder = store.resolve(version.name, f"v{version.number}").checkout()
        except IntegrityError as error:
            yield FileCheck(str(version), "", version.size, str(error))
            continue
        for path, file in list_files(folder).items():
            yield FileCheck(str(version), path, file.stat().st_size, "")


def _watched(checks: Iterable[FileCheck]) -> Iterator[FileCheck]:
    """The same, with progress shown on a terminal."""
    if not sys.stderr.isatty():
        yield from checks
        return
    from rich import progress
    from rich.console import Console

    columns = (progress.TextColumn("verified"), progress.DownloadColumn(), progress.TransferSpeedColumn())
    with progress.Progress(*columns, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task("", total=None)
        for check in checks:
            yield check
            shown.advance(task, check.size)


def _lineage(store: CheckpointStore, digests: Iterable[str]) -> dict[str, list[str]]:
    """The versions of each digest, as far as the store knows them."""
    found: dict[str, list[str]] = {digest: [] for digest in digests}
    if found:
        for name in store.names():
            for version in store.versions(name):
                if version.digest in found:
                    found[version.digest].append(str(version))
    return found


def _versions_table(versions: Iterable[Version]) -> None:
    rows = [
        (str(version), ", ".join(version.aliases), _minute(version.created), _size(version.size), version.digest[:12])
        for version in versions
    ]
    table(("version", "aliases", "created (UTC)", "size", "digest"), rows, numbers=("size",))


def _moves_table(moves: Iterable[AliasMove]) -> None:
    rows = [
        (_minute(move.when), move.alias, _number(move.before) or "–", _number(move.after) or "–", move.who, move.reason)
        for move in moves
    ]
    table(("moved (UTC)", "alias", "from", "to", "by", "reason"), rows)


def _document(version: Version) -> dict[str, Json]:
    return {
        "name": version.name,
        "version": f"v{version.number}",
        "type": version.type,
        "digest": version.digest,
        "aliases": list(version.aliases),
        "created": version.created,
        "size": version.size,
        "metadata": dict(version.metadata),
        "parents": list(version.parents),
    }


def _move(move: AliasMove) -> dict[str, Json]:
    return {
        "alias": move.alias,
        "before": _number(move.before),
        "after": _number(move.after),
        "when": move.when,
        "who": move.who,
        "reason": move.reason,
    }


def _number(number: int | None) -> str | None:
    return None if number is None else f"v{number}"


def _minute(moment: str) -> str:
    return moment[:16].replace("T", " ")


def _size(count: int) -> str:
    from rich.filesize import decimal

    return decimal(count)
