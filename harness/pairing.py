"""Which runs are meant, and whether two of them can be paired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import Incomplete, UsageError
from harness.host import Catalog
from harness.plan import choose_model
from harness.protocols import CheckpointStore
from harness.store import COMPLETE, Run, RunStore
from harness.types import RESULTS, Json

# What two runs must have in common -> its place in a run's identity.
_ALIKE: Mapping[str, tuple[str, ...]] = {
    "benchmark": ("benchmark", "name"),
    "benchmark version": ("benchmark", "version"),
    "profile": ("benchmark", "profile"),
    "data digest": ("data_digest",),
    "limit": ("limit",),
    "prompt digest": ("prompt_digest",),
    "digest of the pictures": ("image_digest",),
}


def unlike(a: Run, b: Run) -> dict[str, tuple[Json, Json]]:
    """What two runs should have in common and have not -> the value in each.

    The pictures may differ where one of the two was shown none.
    """
    values = {field: (_at(a, place), _at(b, place)) for field, place in _ALIKE.items()}
    if None in values["digest of the pictures"]:
        del values["digest of the pictures"]
    return {field: (x, y) for field, (x, y) in values.items() if x != y}


def require_alike(a: Run, b: Run) -> None:
    """Refuse two runs that do not answer the same questions.

    Raises:
        UsageError: names what differs.
    """
    if differing := unlike(a, b):
        faults = "; ".join(f"{field} differs ({x!r} and {y!r})" for field, (x, y) in differing.items())
        raise UsageError(
            f"runs {a.id} ({a.model}) and {b.id} ({b.model}) cannot be compared: {faults}; evaluate both on the same "
            "data with the same settings"
        )


def require_complete(store: RunStore, run: Run) -> None:
    """Refuse a run that is still going, or that answered nothing.

    Raises:
        Incomplete: says how far it came.
    """
    answered = len(store.answered(run))
    if run.status != COMPLETE:
        raise Incomplete(
            f"run {run.id} ({run.model} on {run.benchmark}) is not complete: {answered} of {run.n} samples were "
            "asked; the same `harness eval` goes on with it"
        )
    if len(store.failed(run)) == answered:
        raise Incomplete(f"run {run.id} ({run.model} on {run.benchmark}) answered none of its {run.n} samples")


def runs_meant(text: str, store: RunStore, catalog: Catalog, checkpoints: CheckpointStore) -> list[Run]:
    """The run of an id or its beginning, or all complete runs of a model, newest first.

    A model is known by what its answers depend on, not by its name: an alias means the checkpoint that it stands for
    now. That of results files is known by the files' names.

    Raises:
        UnknownName: there is no such run, model plugin or checkpoint.
        UsageError: the model has no complete run.
    """
    if ":" not in text and text not in catalog.all("model"):
        return [store.get(text)]
    runs = store.runs()
    plugin, _, rest = text.partition(":")
    if plugin == RESULTS:
        name = f"{RESULTS}:{','.join(Path(file).name for file in rest.split(','))}"
        found = [replace(run, model=name) for run in runs if name in run.names]
    else:
        choice = choose_model(text, catalog, checkpoints)
        identity = {"plugin": choice.plugin, "fingerprint": choice.spec.fingerprint, "image": choice.image}
        found = [run for run in runs if run.identity["model"] == identity]
    complete = [run for run in found if run.status == COMPLETE]
    if not complete:
        raise UsageError(f"{text!r} has no complete run{_what_there_is(text, found, runs)}")
    return complete


def _what_there_is(text: str, found: Sequence[Run], runs: Sequence[Run]) -> str:
    if found:
        return "; not complete: " + ", ".join(f"{run.id} on {run.benchmark}" for run in found)
    if named := [run.id for run in runs if run.model == text]:
        return f"; it was another checkpoint, or answered otherwise, when it was evaluated as {', '.join(named)}"
    known = dict.fromkeys(run.model for run in runs if run.status == COMPLETE)
    return "; there are those of " + ", ".join(known) if known else "; there are none at all yet"


def choose_pairs(a: Sequence[Run], b: Sequence[Run], benchmarks: Sequence[str] = ()) -> list[tuple[Run, Run]]:
    """Of each benchmark that both have runs of, or of those named, the newest two that can be paired.

    Those of all samples go before those that a limit cut short, however new.

    Args:
        a, b: runs, newest first.

    Raises:
        UsageError: there is nothing in common; or nothing can be paired, which is said of the newest.
    """
    in_a, in_b = _names(a), _names(b)
    for name in benchmarks:
        for found in (a, b):
            if name not in _names(found):
                who = f"run {found[0].id}" if len(found) == 1 else repr(found[0].model)
                raise UsageError(f"{who} is not of {name!r}; of it there is: {', '.join(_names(found))}")
    names = benchmarks or [name for name in in_a if name in in_b]
    if not names:
        raise UsageError(
            f"the two have no benchmark in common: {', '.join(in_a)} of the one, {', '.join(in_b)} of the other"
        )
    return [_newest(a, b, name) for name in dict.fromkeys(names)]


def _newest(a: Sequence[Run], b: Sequence[Run], benchmark: str) -> tuple[Run, Run]:
    pairs = [(x, y) for x in a for y in b if x.benchmark == y.benchmark == benchmark]
    alike = [pair for pair in pairs if not unlike(*pair)]
    if not alike:
        require_alike(*pairs[0])
    return max(alike, key=lambda pair: (whole(pair[0]), sorted((pair[0].key, pair[1].key), reverse=True)))


def whole(run: Run) -> bool:
    """Whether a run is of all samples, and not of the first ones alone."""
    return run.identity["limit"] is None


def _names(runs: Iterable[Run]) -> list[str]:
    return sorted({run.benchmark for run in runs})


def _at(run: Run, place: Sequence[str]) -> Json:
    value: Json = run.identity
    for key in place:
        value = value.get(key)
    return value
