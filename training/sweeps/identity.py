"""By what a sweep is known again: all that decides which points are tried and what becomes of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import Json, Options, Session, UnknownName
from training.jobs.task import is_harness
from training.pipelines.contents import Contents, read_any, words
from training.pipelines.placeholders import texts
from training.sweeps.reading import Sweep, check_metric, read_file, with_training
from training.sweeps.trial import VARIABLE, model_of, with_variables

EXAMINED: Final = "examined sweep"
"""Under which kind of work it is remembered what a file makes: to find that out imports PyTorch and hashes data."""
CALLED: Final = frozenset({"name", "description", "run_cap", "launch", "entity", "project"})
"""Keys that do not make it another sweep."""


def identified(path: Path, changes: Sequence[str], session: Session) -> tuple[Sweep, str, dict[str, str]]:
    """A sweep file, its identity, and the digests of its parts that people can tell apart.

    Files and data are read anew only where something about them has changed.

    Raises:
        HarnessError: as of `read_sweep` and `identity_of`.
    """
    sweep = read_file(path, changes)
    if sweep.settings.train is None and sweep.settings.evaluate is None:
        subject = _subject(sweep, session)
        return sweep, _identity(sweep, subject), _parts(sweep, subject[0], subject[2])
    key = _hash([_rules(session), sweep.name, _said(sweep), _config(sweep)])
    if (examined := _remembered(session, key)) is None:
        sweep = with_training(path, sweep)
        check_metric(path, sweep, session)
        examined = {"fixed": dict(sweep.fixed), "reads": _reads(sweep)}
        session.work.open(EXAMINED, key, examined)
    sweep = replace(sweep, fixed=examined["fixed"])
    contents = _contents(examined["reads"], sweep, session)
    key = _hash([key, contents])
    if (found := _remembered(session, key)) is None:
        found = {"identity": identity_of(sweep, session)}
        session.work.open(EXAMINED, key, found)
    return sweep, found["identity"], _parts(sweep, _version(), contents[0])


def identity_of(sweep: Sweep, session: Session) -> str:
    """The hash of all that decides which points are tried and what becomes of them: file, config, data, programs.

    Raises:
        HarnessError: the data, the model or the config is not there, or does not take the parameters.
    """
    return _identity(sweep, _subject(sweep, session))


def _identity(sweep: Sweep, subject: Json) -> str:
    return _hash([_said(sweep), dict(sweep.fixed), subject])


def _parts(sweep: Sweep, version: str | None, files: Mapping[str, str]) -> dict[str, str]:
    """What may change -> its digest; a file by its name alone where its path is this machine's."""
    parts = {f"`{key}:`": _hash(value) for key, value in _said(sweep).items()}
    if (config := sweep.settings.train) is not None:
        parts[f"the config {config.name}"] = _hash(_config(sweep))
    if version is not None:
        parts["the version of vlm-harness"] = version
    for name, digest in files.items():
        kind, _, path = name.partition(" ")
        parts[f"the {kind} {Path(path).name if Path(path).is_absolute() else path}"] = digest
    return parts


def _subject(sweep: Sweep, session: Session) -> Any:
    settings, point = sweep.settings, sweep.example()
    if settings.train is not None:
        from training.job import Job  # with a config that is wrong, none of what it needs is wanted
        from training.recipe import read_stage

        return [_version(), Job.of(read_stage(settings.train, sweep.changes(point))[0], session).id]
    if (asked := settings.evaluate) is not None:
        options = Options(split=asked.split, limit=asked.limit)
        plans = session.plan([model_of(asked, point)], asked.benchmarks, options)
        return [_version(), *(dict(plan.identity) for plan in plans)]
    command = [with_variables(str(part)) for part in settings.command]
    named = [*words(command), settings.program or "", *(text for _, text in texts([_parameters(sweep)]))]
    variables = {name: os.environ.get(name) for part in settings.command for name in VARIABLE.findall(str(part))}
    version = _version() if is_harness(command) else None
    return [version, variables, Contents(session).named(named, Path.cwd(), folders=False)]


def _said(sweep: Sweep) -> Json:
    said: Json = sweep.settings.model_dump(mode="json", exclude=set(CALLED))
    return said


def _parameters(sweep: Sweep) -> Json:
    said: Json = sweep.settings.model_dump(mode="json", include={"parameters", "include"})
    return said


def _version() -> str:
    """What trainings and evaluations come out as depends on the program, too."""
    return metadata.version("vlm-harness")


def _rules(session: Session) -> Json:
    return [_version(), {plugin.name: plugin.origin for plugin in session.catalog.plugins}]


def _config(sweep: Sweep) -> Json:
    config: Json = None if sweep.settings.train is None else read_any(sweep.settings.train)
    return config


def _reads(sweep: Sweep) -> list[str]:
    """The texts that may name what trials read, those of the config's defaults among them."""
    said: list[Json] = [_parameters(sweep)]
    if sweep.settings.train is not None:
        from training.recipe import read_stage

        stage = read_stage(sweep.settings.train, sweep.changes(sweep.example()))[0]
        said.append(stage.model_dump(mode="json", exclude={"name"}))  # under it trials publish: nothing is read there
    if (asked := sweep.settings.evaluate) is not None:
        said += [asked.model, asked.model.partition(":")[2].partition(",")[0], list(asked.benchmarks)]
    keys = {key for value in said if isinstance(value, Mapping) for key in _keys(value)}
    return sorted({text for _, text in texts(said)} | keys)


def _keys(value: Json) -> list[str]:
    if isinstance(value, Mapping):
        return [*map(str, value), *(key for item in value.values() for key in _keys(item))]
    return [key for item in value for key in _keys(item)] if isinstance(value, list) else []


def _contents(reads: Sequence[str], sweep: Sweep, session: Session) -> Any:
    """Digests of what the texts name: files, benchmarks, versions."""
    contents = Contents(session)
    base = Path.cwd() if sweep.settings.train is None else sweep.settings.train.parent
    names = set(session.checkpoints.names()) & set(reads)
    # A name and its revision may stand in two keys.
    versions = {f"{name}:{ref}": contents.version(name, ref) for name in names for ref in ("latest", *reads)}
    return [contents.named(list(reads), base), versions]


def _remembered(session: Session, key: str) -> Mapping[str, Json] | None:
    try:
        return session.work.get(EXAMINED, key).document
    except UnknownName:
        return None


def _hash(value: Json) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
