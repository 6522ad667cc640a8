"""A pipeline file as it is meant: parameters in their places, and where each input comes from."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict

from harness import ConfigError, UnknownName, UsageError, read_yaml
from training.pipelines.graph import Graph
from training.pipelines.placeholders import DEPENDENCY, Location, found
from training.pipelines.settings import PipelineSettings, Stage


@dataclass(frozen=True, slots=True)
class Made:
    """An input that another stage makes."""

    stage: str
    output: str


@dataclass(frozen=True, slots=True)
class Kept:
    """An input that the registry has."""

    name: str
    ref: str

    def __str__(self) -> str:
        return f"{self.name}:{self.ref}"


@dataclass(frozen=True)
class Pipeline:
    """A pipeline file that was read.

    Attributes:
        file: where it lies.
        settings: what it holds, parameters filled in.
        lines: the line of every value, by keys and indices from the outermost.
    """

    file: Path
    settings: PipelineSettings
    lines: Mapping[Location, int]

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def stages(self) -> Mapping[str, Stage]:
        return self.settings.stages

    def path(self, path: Path) -> Path:
        """A file that the pipeline names."""
        return Path(os.path.normpath(self.file.parent / path))

    def error(self, message: str, *at: Any) -> ConfigError:
        """An error with the line of a value, or of the nearest around it that has one."""
        while at and at not in self.lines:
            at = at[:-1]
        return ConfigError(message, self.file, self.lines.get(at) if at else None)

    def sources(self, name: str) -> dict[str, Made | Kept]:
        """A stage's inputs by name, and under `depends_on_artifact` what that stands for where it is used.

        Raises:
            ConfigError: an input, or that, cannot be told.
        """
        stage = self.stages[name]
        inputs = {key: self._source(text, "stages", name, "inputs", key) for key, text in stage.inputs.items()}
        for at, placeholder in found(stage.model_dump(), ("stages", name)):
            if placeholder == DEPENDENCY:
                inputs[DEPENDENCY] = self._dependency(name, *at)
        return inputs

    @cached_property
    def graph(self) -> Graph:
        """Stage -> the stages that must be done before: those named, and those whose outputs it takes."""
        return {name: self._before(name) for name in self.stages}

    def _before(self, name: str) -> list[str]:
        taken = [source.stage for source in self.sources(name).values() if isinstance(source, Made)]
        return list(dict.fromkeys([*self.stages[name].depends_on, *taken]))

    def _source(self, text: str, *at: Any) -> Made | Kept:
        if text == f"{{{DEPENDENCY}}}":
            return self._dependency(at[1], *at)
        if ":" in text:
            name, _, ref = text.partition(":")
            return Kept(name, ref)
        stage, _, output = text.partition(".")
        if stage not in self.stages:
            hint = "an input is STAGE.OUTPUT, or NAME:REF of the registry"
            raise self.error(f"{at[-1]}: {UnknownName('stage', stage, self.stages, hint)}", *at)
        outputs = self.stages[stage].outputs
        if not output and len(outputs) == 1:
            return Made(stage, next(iter(outputs)))
        if output not in outputs:
            if not output:
                said = f"the stage {stage!r} publishes {_several(outputs)}: write {stage}.OUTPUT"
            else:
                said = str(UnknownName(f"output of the stage {stage!r}", output, outputs))
            raise self.error(f"{at[-1]}: {said}", *at)
        return Made(stage, output)

    def _dependency(self, name: str, *at: Any) -> Made:
        made = [
            Made(other, output)
            for other in self.stages[name].depends_on
            if other in self.stages
            for output in self.stages[other].outputs
        ]
        if len(made) != 1:
            there = _several([f"{one.stage}.{one.output}" for one in made])
            raise self.error(
                f"{{{DEPENDENCY}}} is the one artifact of the stages depended on, and these publish {there}; name it "
                "under inputs:, as STAGE.OUTPUT",
                *at,
            )
        return made[0]


class _Parameters(BaseModel):
    model_config = ConfigDict(extra="allow")

    parameters: dict[str, Any] = {}


def read_pipeline(file: Path, changes: Sequence[str] = ()) -> Pipeline:
    """A pipeline file, with parameters in their places. Whether its parts fit is not looked at.

    Args:
        changes: `PARAMETER=VALUE` (the value in YAML), each in the place of a default.

    Raises:
        ConfigError: the file cannot be read, or holds what is no pipeline; with the line.
        UsageError: there is no such parameter, or a change is malformed.
    """
    parameters = read_yaml(file, _Parameters).parameters
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name or not value.strip():
            raise UsageError(f"--set {change}: write NAME=VALUE, with a parameter of {file}: --set limit=100")
        try:
            yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"--set {change}: the value is not valid YAML; put it in quotes") from error
        if name not in parameters:
            raise UnknownName("parameter", name, parameters, f"parameters are those of {file}")
    with file.open(encoding="utf-8") as text:
        lines = dict(_lines(yaml.compose(text, Loader=yaml.SafeLoader)))
    changed = [f"parameters.{change}" for change in changes]
    for at, placeholder in found(read_yaml(file, _Raw, changed).stages, ("stages",)):
        section, _, name = placeholder.partition(".")
        if section == "parameters" and name not in parameters:
            raise ConfigError(str(UnknownName("parameter", name, parameters)), file, lines.get(at))
    return Pipeline(file, _settings(file, changed), lines)


def _settings(file: Path, changed: Sequence[str]) -> PipelineSettings:
    """The file with parameters changed; where one of them is what is wrong, the error names it."""
    try:
        return read_yaml(file, PipelineSettings, changed)
    except ConfigError as error:
        for change in changed:
            try:
                read_yaml(file, PipelineSettings, [other for other in changed if other != change])
            except ConfigError as other:
                if str(other) == str(error):
                    continue
            said = str(error).removesuffix(f" (--set {change})")
            raise ConfigError(f"{said} (--set {change.removeprefix('parameters.')})") from error
        raise


class _Raw(BaseModel):
    model_config = ConfigDict(extra="allow")

    stages: Any = None


def _several(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names) if names else "none"


def _lines(node: yaml.Node | None, at: Location = ()) -> Iterator[tuple[Location, int]]:
    """The line of every value, by its place in the file; a key's own line for what is under it."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from _lines(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _lines(value, (*at, index))
