"""What a pipeline file holds."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeAlias

from pydantic import BeforeValidator, Field, field_validator, model_validator

from training.jobs.needs import Needs
from training.pipelines.placeholders import fill
from training.settings import NAME, Settings

WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Stages, inputs, outputs and parameters: a dot stands between a stage and its output."""

Scalar: TypeAlias = bool | int | float | str | None


def _several(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names: TypeAlias = Annotated[tuple[str, ...], BeforeValidator(_several)]
"""One, or a list."""


class Train(Settings):
    """`harness train`."""

    config: Path
    """The training's config, from the folder of the pipeline file."""
    set: dict[str, Any] = Field(default={})
    """Settings that take the place of the config's; `save.every: 50` or sections within each other."""


class Evaluate(Settings):
    """`harness eval`."""

    model: Names = Field(min_length=1)
    """Models, as `harness eval --model` names them, such as `hf:registry/{inputs.model}`."""
    benchmarks: Names = ()
    """Benchmarks."""
    suite: str | None = None
    """The benchmarks of a suite of benchmarks.yaml, too."""
    split: str | None = None
    """The split of the data; as benchmarks.yaml has it where none is given."""
    limit: int | None = Field(default=None, ge=1)
    """Only the first samples of each benchmark. A gate judges whole runs."""
    batch: int | None = Field(default=None, ge=1)
    """Samples at a time."""

    @model_validator(mode="after")
    def _asked(self) -> Evaluate:
        if not self.benchmarks and self.suite is None:
            raise ValueError("asks nothing; name benchmarks: or a suite:")
        return self


class Sweep(Settings):
    """`harness sweep`."""

    file: Path
    """The sweep's file, from the folder of the pipeline file."""
    set: dict[str, Any] = Field(default={})
    """What takes the place of the file's, such as `evaluate.model: arr-coc:{inputs.model}`."""


class Gate(Settings):
    """`harness gate`: where the policy does not let the model pass, nothing that depends on it is carried out."""

    policy: str
    """A policy of benchmarks.yaml."""
    model: str
    """A model, as `harness gate` names it; its newest whole runs are judged."""
    baseline: str | None = None
    """What it is compared with; the policy's own where none is given."""


class Promote(Settings):
    """`harness promote`."""

    model: str
    """A version of the registry, such as `{inputs.model}`."""
    to: str
    """The alias that moves to it."""
    policy: str | None = None
    """The policy that it must have passed; as `harness promote` finds it where none is given."""


class Deploy(Settings):
    """`harness deploy`."""

    model: str
    """A version of the registry, such as `{inputs.model}`."""
    out: Path
    """The folder that is written, from the folder where the pipeline is run."""
    policy: str | None = None
    """The policy that it must have passed; as `harness deploy` finds it where none is given."""


class Job(Settings):
    """A job file, as `harness launch` takes it, or a command of its own."""

    file: Path | None = None
    """The job's file, from the folder of the pipeline file."""
    set: dict[str, Any] = Field(default={})
    """What takes the place of the file's, such as `parameters.steps: 5`."""
    command: tuple[str, ...] = ()
    """Program and arguments, carried out where the pipeline is run. It writes what it makes into {outputs.NAME}."""
    reads: tuple[Path, ...] = ()
    """Files and folders on which its result depends."""

    @model_validator(mode="after")
    def _one(self) -> Job:
        if (self.file is None) == (not self.command):
            raise ValueError("give either file: or command:")
        if self.set and self.file is None:
            raise ValueError("set: changes a job's file; a command is written as it should be")
        return self


class Output(Settings):
    """What a stage publishes in the registry."""

    name: str
    """Under which name."""
    type: Literal["model", "dataset", "evaluation"]
    """What it is."""

    @field_validator("name")
    @classmethod
    def _publishable(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                "is made of at most 122 letters, digits, '.', '_' and '-', and starts with a letter or digit"
            )
        return name


class Stage(Settings):
    """One stage: exactly one of train, evaluate, sweep, gate, promote, deploy and job."""

    depends_on: Names = ()
    """Stages that must be done before."""
    train: Train | None = None
    evaluate: Evaluate | None = None
    sweep: Sweep | None = None
    gate: Gate | None = None
    promote: Promote | None = None
    deploy: Deploy | None = None
    job: Job | None = None
    inputs: dict[str, str] = Field(default={})
    """Name -> what the stage takes: STAGE.OUTPUT, STAGE where that has one output, or `NAME:REF` of the registry. A
    stage depends on those whose outputs it takes."""
    outputs: dict[str, Output] = Field(default={})
    """Name -> what the stage publishes."""
    parallel: int | None = Field(default=None, ge=1)
    """Trials of a sweep at once."""
    resources: Needs | None = None
    """What it needs of a machine; one core where nothing is said."""
    retries: int = Field(default=3, ge=0)
    """How often it is started again after it was ended from outside, as by a machine that is taken away."""

    @model_validator(mode="after")
    def _one(self) -> Stage:
        given = [kind for kind in KINDS if getattr(self, kind) is not None]
        if len(given) != 1:
            raise ValueError(
                f"does {' and '.join(given)}, and must do one of them" if given else f"does nothing: add {_either()}"
            )
        if self.parallel is not None and self.sweep is None:
            raise ValueError(f"parallel: is how many trials of a sweep go on at once, and this stage does {given[0]}")
        return self

    @property
    def kind(self) -> str:
        return next(kind for kind in KINDS if getattr(self, kind) is not None)

    @property
    def action(self) -> Train | Evaluate | Sweep | Gate | Promote | Deploy | Job:
        """What it does."""
        found: Train | Evaluate | Sweep | Gate | Promote | Deploy | Job = getattr(self, self.kind)
        return found


KINDS: Final = ("train", "evaluate", "sweep", "gate", "promote", "deploy", "job")


def _either() -> str:
    return f"{', '.join(KINDS[:-1])} or {KINDS[-1]}"


class PipelineSettings(Settings):
    """The whole file."""

    name: str
    """How it is called; what was carried out is remembered under it."""
    parameters: dict[str, Scalar | list[Scalar]] = Field(default={})
    """Name -> its default. `{parameters.NAME}` in a stage stands for it; `--set NAME=VALUE` changes it."""
    parallel: int | None = Field(default=None, ge=1)
    """Stages at once, unless `--parallel` says otherwise; one a core where neither does."""
    stages: dict[str, Stage] = Field(min_length=1)
    """Name -> what is done."""

    @field_validator("name")
    @classmethod
    def _word(cls, name: str) -> str:
        if not WORD.fullmatch(name):
            raise ValueError("is made of at most 64 letters, digits, '_' and '-', and starts with a letter or digit")
        return name

    @model_validator(mode="before")
    @classmethod
    def _filled(cls, data: Any) -> Any:
        """The file with parameters in their places, so that what they stand for is looked at, too."""
        if not isinstance(data, dict) or not isinstance(data.get("parameters"), dict):
            return data
        known = {f"parameters.{name}": value for name, value in data["parameters"].items()}
        return {**data, "stages": fill(data.get("stages"), known, last=False)}

    @model_validator(mode="after")
    def _words(self) -> PipelineSettings:
        named = [*self.parameters, *self.stages]
        named += [name for stage in self.stages.values() for name in (*stage.inputs, *stage.outputs)]
        for name in named:
            if not WORD.fullmatch(name):
                raise ValueError(
                    f"{name!r}: stages, parameters, inputs and outputs have names of at most 64 letters, digits, '_' "
                    "and '-'"
                )
        return self
