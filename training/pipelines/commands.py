"""What a stage's process is told: the words of its command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from training.pipelines.placeholders import fill
from training.pipelines.reading import Pipeline
from training.pipelines.settings import Deploy, Evaluate, Gate, Job, Promote, Stage, Sweep, Train

HARNESS: Final = (sys.executable, "-P", "-m", "harness")


def command(pipeline: Pipeline, stage: Stage, known: Mapping[str, Any]) -> list[str]:
    """The program and arguments that carry a stage out.

    Args:
        known: what its placeholders stand for.
    """
    action = stage.action
    filled: Any = type(action).model_validate(fill(action.model_dump(exclude_unset=True), known))
    if isinstance(filled, Job) and filled.command:
        return list(filled.command)
    return [*HARNESS, *_words(pipeline, filled, stage), "--json"]


def _words(pipeline: Pipeline, action: Any, stage: Stage) -> list[str]:
    match action:
        case Train():
            return ["train", str(pipeline.path(action.config)), *_options(set=changes(action.set))]
        case Evaluate():
            return ["eval", *_options(model=action.model, bench=action.benchmarks, suite=action.suite,
                                      split=action.split, limit=action.limit, batch=action.batch)]  # fmt: skip
        case Sweep():
            return [
                "sweep",
                str(pipeline.path(action.file)),
                *_options(set=changes(action.set), workers=stage.parallel),
            ]
        case Gate():
            return ["gate", action.model, *_options(policy=action.policy, baseline=action.baseline)]
        case Promote():
            return ["promote", action.model, *_options(to=action.to, policy=action.policy)]
        case Deploy():
            return ["deploy", action.model, *_options(out=str(action.out), policy=action.policy)]
        case _:
            return ["launch", str(pipeline.path(action.file)), *_options(set=changes(action.set))]


def _options(**given: Any) -> list[str]:
    words: list[str] = []
    for name, value in given.items():
        for one in value if isinstance(value, tuple | list) else () if value is None else (value,):
            words += [f"--{name}", str(one)]
    return words


def changes(settings: Mapping[str, Any]) -> list[str]:
    """Settings as `--set` takes them: `save.every=50`, values as JSON, which is YAML."""
    return [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in _flat(settings)]


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value
