"""What a stage's result depends on. Two stages with the same recipe give the same, so one is carried out."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import HarnessError, Json
from training.pipelines.commands import changes
from training.pipelines.contents import Contents, has_variables, named_file, read_any, words
from training.pipelines.reading import Kept, Pipeline
from training.pipelines.settings import Deploy, Evaluate, Gate, Job, Promote, Stage

SHOWN: Final = 60
"""Characters of a value that changed."""
NEAR: Final = 12
"""Characters that are shown before the first that changed."""


@dataclass(frozen=True, slots=True)
class Artifact:
    """A version of the registry.

    Attributes:
        reference: `NAME:vN`.
        type: model, dataset or evaluation.
    """

    reference: str
    digest: str
    type: str


@dataclass(frozen=True)
class Recipe:
    """What a stage's result depends on, by what it is.

    Attributes:
        parts: `settings`, `input model`, `file x.yaml`, `benchmark gqa` … -> settings, or a digest.
    """

    parts: Mapping[str, Json]

    @property
    def id(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self.parts, order="sorted")).hexdigest()

    def changes(self, before: Mapping[str, Json]) -> list[str]:
        """What is another than in an earlier recipe, in words."""
        said: list[str] = []
        for key in dict.fromkeys((*before, *self.parts)):
            old, new = before.get(key), self.parts.get(key)
            if old == new:
                continue
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                said += _differences(old, new)
            else:
                said.append(
                    f"{key} {'is new' if old is None else 'is not named any more' if new is None else 'changed'}"
                )
        return said


def recipe(
    pipeline: Pipeline, name: str, inputs: Mapping[str, Artifact], after: Mapping[str, str], contents: Contents
) -> Recipe:
    """The recipe of a stage whose dependencies are done.

    Args:
        inputs: what it takes, by name.
        after: what there must be before beside those -> by what it is known to be the same.
    """
    stage = pipeline.stages[name]
    parts: dict[str, Json] = {
        "settings": {stage.kind: stage.action.model_dump(mode="json", exclude_defaults=True)},
        **{f"input {key}": artifact.digest for key, artifact in inputs.items()},
        **after,
    }
    if stage.job is None:  # a job's program is its own
        parts["vlm-harness"] = metadata.version("vlm-harness")
    if stage.outputs:
        parts["outputs"] = {key: output.model_dump(mode="json") for key, output in stage.outputs.items()}
    return Recipe(parts | dict(_read(pipeline, stage, contents)))


def _read(pipeline: Pipeline, stage: Stage, contents: Contents) -> Iterator[tuple[str, str]]:
    """What is read beside the inputs."""
    action = stage.action
    if (named := named_file(pipeline, stage)) is not None:
        path, settings = named
        shown = os.path.relpath(path, pipeline.file.parent)
        yield f"file {shown}", contents.file(path)
        if has_variables(path):
            yield f"variables in {shown}", contents.settings(path, changes(settings))
        with suppress(HarnessError):  # the check has looked at it; if it went since, its absence is in the recipe
            content = read_any(path, changes(settings))
            yield from contents.named(content, path.parent).items()
            if stage.job is not None:
                yield from contents.named(words(content["entry_point"] or ()), path.parent, folders=False).items()
    match action:
        case Job():
            yield from contents.named(words(action.command), Path.cwd(), folders=False).items()
            for read in action.reads:
                yield f"file {read}", contents.file(read)
        case Evaluate():
            suite = () if action.suite is None else contents.suite(action.suite)
            for benchmark in dict.fromkeys((*action.benchmarks, *suite)):
                yield f"benchmark {benchmark}", contents.benchmark(benchmark)
            models = (text for model in action.model for text in (model, _after_plugin(model)))
            yield from contents.named(list(models), pipeline.file.parent).items()
        case Gate() | Promote() | Deploy():
            if action.policy is not None:
                yield f"policy {action.policy}", contents.policy(action.policy)
            yield from contents.named([action.model, _after_plugin(action.model)], pipeline.file.parent).items()


def _after_plugin(model: str) -> str:
    """What a model's reference names beside its plugin, such as a folder."""
    return model.partition(":")[2].partition(",")[0]


def _differences(old: Json, new: Json, at: str = "") -> Iterator[str]:
    if old == new:
        return
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        old, new = ({str(index): item for index, item in enumerate(items)} for items in (old, new))
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys((*old, *new)):
            yield from _differences(old.get(key), new.get(key), f"{at}.{key}" if at else key)
        return
    before, now = (("–" if value is None else msgspec.json.encode(value).decode()) for value in (old, new))
    differ = next((place for place, (one, other) in enumerate(zip(before, now, strict=False)) if one != other), 0)
    start = max(0, differ - NEAR)
    yield f"{at}: {_short(before, start)} → {_short(now, start)}"


def _short(text: str, start: int) -> str:
    text = f"…{text[start:]}" if start else text
    return text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"


def kept_input(source: Kept, store: Any) -> Artifact:
    """A version of the registry as it is now.

    Raises:
        UnknownName: it is not there.
    """
    version = store.get(source.name, source.ref)
    return Artifact(str(version), version.digest, version.type)
