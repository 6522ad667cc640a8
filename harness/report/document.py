"""A scored run as the one JSON document that `--json` prints and that trackers are given."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from harness.scoring import Scored
from harness.store import Run, RunStore, Spent
from harness.types import RESULTS, Json, Score


def run_document(store: RunStore, run: Run, protocol: str, scored: Scored | None = None) -> dict[str, Json]:
    """The run with its scores under a protocol, all that are stored where none are given.

    Accuracies are fractions; other scores keep their own scale.

    The model's and the data's names are those of `run`: the same weights and samples may have been named otherwise
    when they were first evaluated.
    """
    scored = scored or store.scored(run, protocol)
    failures = store.failures(run)
    answered = store.asked(run) - sum(count for count, _ in failures.values())
    identity = run.identity
    return {
        "run": run.id,
        "model": {"ref": run.model, "version": run.version, "digest": run.digest},
        "benchmark": {
            "name": run.benchmark,
            "version": identity["benchmark"]["version"],
            "data": run.facts["data"],
            "data_digest": identity["data_digest"],
            "profile": identity["benchmark"]["profile"],
            "protocol": protocol,
        },
        "status": run.status,
        "limit": identity["limit"],
        "n": run.n,
        "coverage": answered / run.n,
        "failures": {kind: count for kind, (count, _) in failures.items()},
        "failure_examples": {kind: message for kind, (_, message) in failures.items()},
        "scores": {name: _score(score) for name, score in scored.scores.items()},
        "unscored": scored.unscored,
        "inapplicable": scored.inapplicable,
        "usage": _usage(store, run),
        "created": run.created,
        "finished": run.finished,
    }


def _score(score: Score) -> dict[str, Json]:
    """A score without its empty parts: a breakdown's parts have no breakdowns, and few scores have notes."""
    document: dict[str, Json] = msgspec.to_builtins(score)
    by: Mapping[str, Mapping[str, Score]] = score.by
    if by:
        document["by"] = {name: {key: _score(part) for key, part in parts.items()} for name, parts in by.items()}
    else:
        del document["by"]
    if not score.note:
        del document["note"]
    return document


def _usage(store: RunStore, run: Run) -> dict[str, Json]:
    """What answering cost; of a results file nothing is known of it."""
    if run.identity["benchmark"]["profile"] == RESULTS:
        return dict.fromkeys((*Spent.__dataclass_fields__, "seconds", "samples_per_second"))
    usage: dict[str, Json] = msgspec.to_builtins(store.spent(run))
    usage["seconds"] = run.seconds
    usage["samples_per_second"] = run.n / run.seconds if run.seconds else None
    return usage
