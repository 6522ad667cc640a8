"""Train a checkpoint as a config says, and publish it to the registry."""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table

from harness import Incomplete, Json, open_session
from training.explain import explain
from training.processes import is_first
from training.recipe import Made, Run, carry_out, read_stage


@click.command("train")
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change a setting: --set save.every=50")
@click.option("--explain", "explained", is_flag=True, help="Print every setting and what it means; train nothing.")
@click.option("--dry-run", is_flag=True, help="Put all together but the weights, print the plan; train nothing.")
@click.option("--offline", is_flag=True, help="With --dry-run: do not ask the hub for what a model looks like.")
@click.option("--force", is_flag=True, help="Train also what does not fit into memory.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    configs: Sequence[Path],
    changes: Sequence[str],
    explained: bool,
    dry_run: bool,
    offline: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Train the checkpoints that the configs describe, one after another, and publish them.

    The same command after an interruption goes on where it stopped; after completion it only says what it made.
    """
    stages = [read_stage(config, changes) for config in configs]
    if explained and as_json:
        click.echo(msgspec.json.encode({"stages": [settings.model_dump(mode="json") for settings, _ in stages]}))
        return
    if explained:
        for settings, _ in stages:
            click.echo(explain(settings), nl=False)
        return
    if dry_run:
        _plan(stages, offline=offline, force=force, as_json=as_json)
        return
    made = []
    with open_session() as session:
        for settings, run in stages:
            made.append(carry_out(settings, run, session, force=force))
            if is_first():
                click.echo(sentence(made[-1]), err=as_json or len(stages) > 1)
    if is_first() and as_json:
        click.echo(msgspec.json.encode({"stages": [document(one) for one in made]}))
    elif is_first() and len(made) > 1:
        _print_table(made)
    _check_coverage(made)


def _check_coverage(made: Sequence[Made]) -> None:
    """What was trained is published whatever could be asked of it, but nobody should take it for evaluated."""
    lacking = [
        f"{one.version}: {name.removesuffix('.coverage')} has a coverage of {score['value']:.3g}"
        for one in made
        for name, score in one.version.metadata.get("scores", {}).items()
        if name.endswith(".coverage") and score["value"] < 1
    ]
    if lacking:
        raise Incomplete(
            f"not all samples of the final evaluation were answered: {'; '.join(lacking)}; the warnings above say why, "
            "and `harness eval` asks again"
        )


def _plan(stages: Sequence[tuple[Any, Run]], *, offline: bool, force: bool, as_json: bool) -> None:
    """Prints what the stages would do; a stage may start from what one before it would make."""
    # PyTorch takes seconds to import, which a wrong config should not cost.
    from training.dry_run import plan, show
    from training.estimate.assembling import StandIns

    told, errors = [], []
    with open_session() as session, tempfile.TemporaryDirectory() as folder:
        stand_ins = StandIns(Path(folder), offline=offline)
        for settings, run in stages:
            document, error = plan(settings, run, session, stand_ins)
            told.append(document)
            errors.extend([] if error is None else [error])
            if not as_json:
                show(_console(), document)
    if as_json:
        click.echo(msgspec.json.encode({"stages": told}))
    if errors and not force:
        raise errors[0]


def _console() -> Console:
    return Console(width=None if sys.stdout.isatty() else 80)


def document(made: Made) -> dict[str, Json]:
    """What `--json` says of a version."""
    version = made.version
    return {
        "stage": version.metadata.get("stage"),
        "checkpoint": str(version),
        "digest": version.digest,
        "new": made.fresh,
        "size": version.size,
        "steps": version.metadata.get("steps"),
        "scores": version.metadata.get("scores", {}),
    }


def sentence(made: Made) -> str:
    """What is said of a version on a terminal."""
    version = made.version
    found = version.metadata.get("scores", {})
    scores = ", ".join(f"{name} {found[name]['value']:.3f}" for name in _mains(found).values())
    said = "published" if made.fresh else "there already:"
    return (
        f"{said} {version} ({version.size / 1e6:.1f} MB)"
        + (f"; {scores}" if scores else "")
        + f"\n`harness checkpoints pull {version} --out DIR` writes its files to a folder"
    )


def _mains(scores: Iterable[str]) -> dict[str, str]:
    """Benchmark -> the first of its scores."""
    found: dict[str, str] = {}
    for name in scores:
        if not name.endswith(".coverage"):
            found.setdefault(name.partition(".")[0], name)
    return found


def _print_table(made: Sequence[Made]) -> None:
    """One row a stage; the main score of each benchmark that any of them was asked."""
    mains = _mains(name for one in made for name in one.version.metadata.get("scores", {}))
    table = Table("stage", box=box.SIMPLE_HEAD)
    table.add_column("checkpoint", no_wrap=True)
    for column in ("steps", *sorted(mains.values())):
        table.add_column(re.sub(r"[._](?=accuracy)", r"\g<0>\n", column), justify="right")
    for one in made:
        metadata = one.version.metadata
        scores = metadata.get("scores", {})
        cells = [f"{scores[name]['value']:.3f}" if name in scores else "" for name in sorted(mains.values())]
        table.add_row(str(metadata.get("stage")), str(one.version), str(metadata.get("steps") or ""), *cells)
    _console().print(table)
