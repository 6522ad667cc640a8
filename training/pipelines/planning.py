"""What a pipeline would do, and why; nothing is started."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from harness import Session
from training.pipelines.commands import HARNESS, command
from training.pipelines.deciding import Choice, Decider, Outcome
from training.pipelines.graph import in_order
from training.pipelines.placeholders import DEPENDENCY
from training.pipelines.reading import Kept, Pipeline
from training.pipelines.state import State


def plan(pipeline: Pipeline, session: Session, choice: Choice) -> list[dict[str, Any]]:
    """Each stage with its `action` (run, reuse, maybe, leave out), `why`, and the `command` that would be started.

    `maybe` is a stage whose inputs are made anew: if they turn out as they were, it is used again.

    Raises:
        UsageError: a stage that is not asked for is needed, and was not done.
    """
    state = State(session, pipeline.name)
    decider = Decider(pipeline, session, state, choice)
    made: dict[str, Outcome] = {}
    planned = {}
    for name in in_order(pipeline.graph):
        stage = pipeline.stages[name]
        words = ""
        open_before = [other for other in pipeline.graph[name] if other not in made]
        if name not in choice.chosen and name not in choice.taken:
            action, why = "leave out", "not asked for"
        elif open_before:
            before = ", ".join(open_before)
            action, why = ("maybe", f"as {before} turns out") if state.was_done(name) else ("run", f"after {before}")
        else:
            decision = decider.decide(name, made)
            action, why = ("run" if decision.done is None else "reuse"), decision.why
            if decision.done is not None:
                made[name] = decision.done
        if action in ("run", "maybe"):
            words = _said(command(pipeline, stage, _known(pipeline, name, made)))
        planned[name] = {
            "stage": name, "kind": stage.kind, "depends_on": list(pipeline.graph[name]), "action": action, "why": why,
            "command": words,
        }  # fmt: skip
    return [planned[name] for name in pipeline.stages]


def _known(pipeline: Pipeline, name: str, made: Mapping[str, Outcome]) -> dict[str, str]:
    """What placeholders stand for as far as it is known; a version that will be made has no number yet."""
    known = {}
    for key, source in pipeline.sources(name).items():
        if isinstance(source, Kept):
            text = str(source)
        elif source.stage in made:
            text = made[source.stage].artifact(source.output).reference
        else:
            text = f"{pipeline.stages[source.stage].outputs[source.output].name}:…"
        known[DEPENDENCY if key == DEPENDENCY else f"inputs.{key}"] = text
    return known | {f"outputs.{key}": f"…/outputs/{key}" for key in pipeline.stages[name].outputs}


def _said(words: list[str]) -> str:
    if tuple(words[: len(HARNESS)]) == HARNESS:
        words = ["harness", *words[len(HARNESS) :]]
    return shlex.join(words)
