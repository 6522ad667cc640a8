"""Whether a stage must be carried out, and why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from harness import Json, Session, UnknownName, UsageError, WorkItem
from training.pipelines.artifacts import stands
from training.pipelines.contents import Contents
from training.pipelines.graph import after
from training.pipelines.identity import Artifact, Recipe, kept_input, recipe
from training.pipelines.reading import Made, Pipeline
from training.pipelines.state import State

DONE: Final = "done"
FORCED: Final = "forced"
OPEN: Final = ("waiting", "running")
"""An item that somebody may go on with."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stage that is done, now or earlier.

    Attributes:
        item: the name of what was carried out; another where the stage was carried out again.
        result: what it made and said.
    """

    item: str
    result: Mapping[str, Json]

    def artifact(self, output: str) -> Artifact:
        """What it published."""
        return Artifact(**self.result["outputs"][output])


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done about a stage.

    Attributes:
        done: what it gives, where it need not be carried out.
        name: of its item.
        item: what is gone on with or used again; None where it begins.
        why: in words.
    """

    name: str
    recipe: Recipe
    inputs: Mapping[str, Artifact]
    why: str
    done: Outcome | None = None
    item: WorkItem | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which stages the user asked for.

    Attributes:
        chosen: these may be carried out; those that they rest on are used as they are.
        forced: these are, whatever is there.
        taken: stages that are not chosen, and whose results are needed.
    """

    chosen: Collection[str]
    forced: Collection[str] = ()
    taken: Collection[str] = ()

    @classmethod
    def of(
        cls, pipeline: Pipeline, start: str | None = None, only: Collection[str] = (), forced: Collection[str] = ()
    ) -> Choice:
        """The stages that are meant by `--from`, `--only` and `--force`.

        Raises:
            UnknownName: one is no stage.
            UsageError: a stage that is forced is not chosen.
        """
        graph = pipeline.graph
        for name in filter(None, (start, *only, *forced)):
            if name not in graph:
                raise UnknownName("stage", name, graph, f"stages are those of {pipeline.file}")
        chosen = set(graph)
        if start is not None:
            chosen &= after(graph, start)
        if only:
            chosen &= set(only)
        if outside := sorted(set(forced) - chosen):
            raise UsageError(f"--force {outside[0]}: is not among the stages that --from and --only leave")
        needed = {other for name in chosen for other in graph if name in after(graph, other)} - chosen
        return cls(frozenset(chosen), frozenset(forced), frozenset(needed))


class Decider:
    """Looks at one pipeline in one workspace."""

    def __init__(self, pipeline: Pipeline, session: Session, state: State, choice: Choice) -> None:
        self._pipeline = pipeline
        self._session = session
        self._state = state
        self._choice = choice
        self._contents = Contents(session)

    def look_again(self) -> None:
        """Something was carried out: files and folders may be others now."""
        self._contents = Contents(self._session)

    def decide(self, name: str, made: Mapping[str, Outcome]) -> Decision:
        """What is to be done about a stage whose dependencies are done.

        Raises:
            UnknownName: an input is not in the registry any more.
            UsageError: it is not chosen, and nothing is there to be used in its place.
        """
        self._state.refresh()
        inputs = self._inputs(name, made)
        found = recipe(self._pipeline, name, inputs, self._before(name, made), self._contents)
        item = self._state.same(name, found)
        why = self._why(name, found, item)
        if item is not None and item.status == DONE and why is None:
            said = "nothing changed" if name in self._choice.chosen else "nothing changed; not asked for"
            return Decision(item.name, found, inputs, said, Outcome(item.name, item.result or {}), item)
        if name not in self._choice.chosen:
            return self._taken(name, found, inputs)
        if item is not None and item.status in OPEN:
            return Decision(item.name, found, inputs, why or "", None, item)
        return Decision(self._state.fresh(name, found), found, inputs, why or "")

    def _inputs(self, name: str, made: Mapping[str, Outcome]) -> dict[str, Artifact]:
        return {
            key: made[source.stage].artifact(source.output)
            if isinstance(source, Made)
            else kept_input(source, self._session.checkpoints)
            for key, source in self._pipeline.sources(name).items()
        }

    def _before(self, name: str, made: Mapping[str, Outcome]) -> dict[str, str]:
        """What there must be before beside the inputs: of each stage the digests of what it publishes.

        What a stage did that publishes nothing, nobody can tell: it counts as another thing each time.
        """
        taken = self._pipeline.sources(name).values()
        found: dict[str, str] = {}
        for other in self._pipeline.graph[name]:
            outputs = self._pipeline.stages[other].outputs
            for key in outputs:
                if Made(other, key) not in taken:
                    found[f"{other}.{key}"] = made[other].artifact(key).digest
            if not outputs:
                found[f"stage {other}"] = made[other].item
        return found

    def _why(self, name: str, found: Recipe, item: WorkItem | None) -> str | None:
        """Why a stage must be carried out; None where it need not."""
        if name in self._choice.forced:
            return FORCED
        if item is None:
            earlier = [other for other in self._state.of(name) if other.status == DONE]
            if not earlier:
                return "new"
            changes = found.changes(earlier[-1].document["recipe"])
            return "; ".join(changes) or "new"
        if item.status == DONE:
            return stands(self._pipeline.stages[name], item.result or {}, self._session)
        if item.status in OPEN:
            return "goes on" if item.attempt else "was not begun"
        return f"failed before: {item.reason}"

    def _taken(self, name: str, found: Recipe, inputs: Mapping[str, Artifact]) -> Decision:
        """What a stage that is not chosen gave, with whatever settings."""
        stage = self._pipeline.stages[name]
        for item in reversed(self._state.of(name)):
            result = item.result or {"outputs": {}}
            usable = item.status == DONE and set(result["outputs"]) >= set(stage.outputs)
            if usable and stands(stage, result, self._session) is None:
                changes = "; ".join(found.changes(item.document["recipe"]))
                said = f"not asked for; used as it was ({changes})"
                return Decision(item.name, found, inputs, said, Outcome(item.name, result), item)
        raise UsageError(f"{name} was not done yet, and what is asked for rests on it; leave --from or --only out")
