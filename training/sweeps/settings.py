"""The sweep file: the keys of a W&B sweep, and those that are ours."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Literal

from pydantic import Field, FiniteFloat, field_validator, model_validator

from harness import near
from training.jobs.needs import Needs
from training.settings import NAME, Settings

MACROS: Final = (
    "env", "interpreter", "program", "args", "args_no_hyphens", "args_no_boolean_flags", "args_no_equals", "args_json",
    "args_json_file", "args_append_hydra", "args_override_hydra",
)  # fmt: skip
"""What stands for something in `command`, beside `${envvar:NAME}`."""
DEFAULT_COMMAND: Final = ("${env}", "${interpreter}", "${program}", "${args}")

REFUSED: Final = {
    "controller": "the search runs in this command; leave it out",
    "image_uri": "a sweep of container images is W&B Launch's own; use launch: and a command",
    "job": "a sweep of W&B jobs is W&B Launch's own; use launch: and a command",
    "metrics": "a sweep has one metric:",
    "scheduler": "the search is this command's; choose one with method:",
    "settings": "the search has seed: and no other settings",
    "trials": "say how many with run_cap:",
}
"""Keys of W&B's, or near ones, that a sweep here does not have -> what to do."""

DISTRIBUTIONS: Final = {
    "constant": ("value",),
    "categorical": ("values",),
    "categorical_w_probabilities": ("values", "probabilities"),
    "int_uniform": ("min", "max"),
    "uniform": ("min", "max"),
    "q_uniform": ("min", "max", "q"),
    "log_uniform": ("min", "max"),
    "log_uniform_values": ("min", "max"),
    "q_log_uniform": ("min", "max", "q"),
    "q_log_uniform_values": ("min", "max", "q"),
    "inv_log_uniform": ("min", "max"),
    "inv_log_uniform_values": ("min", "max"),
    "normal": ("mu", "sigma"),
    "q_normal": ("mu", "sigma", "q"),
    "log_normal": ("mu", "sigma"),
    "q_log_normal": ("mu", "sigma", "q"),
    "beta": ("a", "b"),
    "q_beta": ("a", "b", "q"),
}
"""Distribution -> the keys that say it."""
ON_VALUES: Final = ("log_uniform_values", "q_log_uniform_values", "inv_log_uniform_values")
"""Distributions whose bounds are values, and not their logarithms."""


class Parameter(Settings):
    """What a parameter may be."""

    distribution: str | None = None
    """How it is drawn; W&B's rule where it is not said: by which keys are there."""
    value: Any = None
    """The only one."""
    values: tuple[Any, ...] | None = Field(default=None, min_length=1)
    """One of these."""
    probabilities: tuple[float, ...] | None = None
    """Of `values`; they sum to 1."""
    min: FiniteFloat | int | None = None
    """The least, or its logarithm where the distribution says so."""
    max: FiniteFloat | int | None = None
    """The greatest, likewise."""
    q: FiniteFloat | int = Field(default=1, gt=0)
    """Values are multiples of it."""
    mu: FiniteFloat = 0.0
    """Mean of a normal distribution, or of the logarithm of a log-normal one."""
    sigma: FiniteFloat = Field(default=1.0, gt=0)
    """Its standard deviation."""
    a: FiniteFloat = Field(default=1.0, gt=0)
    """Of a beta distribution."""
    b: FiniteFloat = Field(default=1.0, gt=0)
    """Of a beta distribution."""
    parameters: dict[str, Parameter] | None = Field(default=None, min_length=1)
    """Parameters within this one."""

    @property
    def kind(self) -> str:
        """The distribution, said or by W&B's rule."""
        if self.distribution is not None:
            return self.distribution
        if self.values is not None:
            return "categorical" if self.probabilities is None else "categorical_w_probabilities"
        if "value" in self.model_fields_set:
            return "constant"
        return "int_uniform" if isinstance(self.min, int) and isinstance(self.max, int) else "uniform"

    @model_validator(mode="before")
    @classmethod
    def _mapping(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            raise ValueError("is a mapping, such as `{value: 3}` or `{values: [1, 2, 3]}`")
        return given

    @model_validator(mode="after")
    def _drawable(self) -> Parameter:
        given = self.model_fields_set - {"distribution"}
        if self.parameters is not None:
            if given != {"parameters"} or self.distribution is not None:
                raise ValueError("`parameters` are within this one: it has no value of its own")
            return self
        if self.kind not in DISTRIBUTIONS:
            nearest = near(self.kind, DISTRIBUTIONS)
            tail = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(DISTRIBUTIONS)}"
            raise ValueError(f"unknown distribution {self.kind!r} ({tail})")
        keys = DISTRIBUTIONS[self.kind]
        if missing := [key for key in keys if key not in given and key in ("value", "values", "min", "max")]:
            raise ValueError(f"{self.kind} needs {' and '.join(f'`{key}`' for key in missing)}")
        if self.kind == "categorical" and "probabilities" in given:
            keys = DISTRIBUTIONS["categorical_w_probabilities"]
        if extra := sorted(given - set(keys)):
            raise ValueError(f"`{extra[0]}` does not go with {self.kind}, which takes {', '.join(keys)}")
        self._check_bounds()
        self._check_probabilities()
        return self

    def _check_bounds(self) -> None:
        if self.min is None or self.max is None:
            return
        if self.min > self.max:
            raise ValueError(f"min {self.min} is above max {self.max}")
        if self.kind in ON_VALUES and self.min <= 0:
            raise ValueError(f"{self.kind} is of values above 0, not of {self.min}")
        if self.kind == "int_uniform" and not (float(self.min).is_integer() and float(self.max).is_integer()):
            raise ValueError(f"int_uniform is between integers, not {self.min} and {self.max}")

    def _check_probabilities(self) -> None:
        if self.probabilities is None:
            return
        if len(self.probabilities) != len(self.values or ()):
            raise ValueError(f"{len(self.probabilities)} probabilities for {len(self.values or ())} values")
        if min(self.probabilities) < 0 or abs(sum(self.probabilities) - 1) > 1e-6:
            raise ValueError(f"probabilities are not negative and sum to 1, not to {sum(self.probabilities):g}")


class Goal(Settings):
    """What is to be made small or large."""

    name: str = Field(min_length=1)
    """What trials say: `benchmark.score`, a curve, or a key of what a program prints as JSON."""
    goal: Literal["minimize", "maximize"] = "minimize"
    """Minimize where nothing is said, as at W&B."""
    target: FiniteFloat | None = None
    """No further trial begins once one is as good."""


class EarlyTerminate(Settings):
    """Trials that do badly are stopped, by Hyperband."""

    type: Literal["hyperband"]
    """The rule."""
    min_iter: int | None = Field(default=None, ge=1)
    """How many values of the metric a trial gives before it is first judged; then times `eta`, again and again."""
    max_iter: int | None = Field(default=None, ge=1)
    """Instead: how many it gives at most; it is judged at that divided by `eta`, `s` times."""
    s: int | None = Field(default=None, ge=1)
    """How often a trial is judged, with `max_iter`."""
    eta: FiniteFloat = Field(default=3, gt=1)
    """One in so many goes on."""
    strict: bool = False
    """Judge a trial by its value at that very time, and not by the best that it had."""

    @model_validator(mode="after")
    def _one_way(self) -> EarlyTerminate:
        if (self.min_iter is None) == (self.max_iter is None):
            raise ValueError("takes either min_iter, or max_iter with s")
        if (self.max_iter is None) != (self.s is None):
            raise ValueError("max_iter and s go together")
        return self


class Evaluation(Settings):
    """A trial is an evaluation: parameters become options of the model."""

    model: str = Field(min_length=1)
    """`PLUGIN:REF`, as `harness eval --model` takes it."""
    benchmarks: tuple[str, ...] = Field(min_length=1)
    """Their names."""
    split: str | None = None
    """Which split; as benchmarks.yaml has it where none is given."""
    limit: int | None = Field(default=None, ge=1)
    """Samples of each benchmark; null for all."""
    batch: int | None = Field(default=None, ge=1)
    """Samples that are answered together."""


class Launch(Settings):
    """Where trials run."""

    queue: str | None = None
    """A queue (`harness queue create`), whose agents carry the trials out."""
    resources: Needs = Needs()
    """Of each trial."""


class SweepSettings(Settings):
    """A sweep file."""

    name: str | None = None
    """By which people call it; the file's name where none is given."""
    description: str | None = None
    """For people."""
    method: Literal["grid", "random", "bayes"]
    """All points, points drawn at random, or points drawn where trials did well (a tree of Parzen estimators)."""
    metric: Goal | None = None
    """Needed by bayes and early_terminate; without it trials are only carried out."""
    parameters: dict[str, Parameter] = Field(min_length=1)
    """Name -> what it may be. A dot in a name goes into a section of a config, as `parameters` within do."""
    constraints: tuple[str, ...] = ()
    """Conditions that every trial's parameters meet."""
    include: tuple[dict[str, Any], ...] = ()
    """Points that are tried first, whatever the method; values need not be among the parameter's."""
    early_terminate: EarlyTerminate | None = None
    """How trials that do badly are stopped."""
    run_cap: int | None = Field(default=None, ge=1)
    """Trials, at most."""
    seed: int = 0
    """Of what is drawn."""
    program: str | None = None
    """A Python program; what it prints as lines of JSON is what the metric is read from."""
    command: tuple[str | int | float, ...] = Field(default=DEFAULT_COMMAND, min_length=1)
    """How the program is started, with W&B's macros."""
    train: Path | None = None
    """A training config instead, as `harness train` takes it, from this folder; parameters are changes of its keys."""
    evaluate: Evaluation | None = None
    """An evaluation instead."""
    launch: Launch = Launch()
    """What a trial needs, and which queue takes it."""
    entity: str | None = None
    """W&B's, with --engine wandb."""
    project: str | None = None
    """W&B's, with --engine wandb."""

    @field_validator("name")
    @classmethod
    def _callable(cls, name: str | None) -> str | None:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError("is made of letters, digits, '.', '_' and '-', and starts with a letter or digit")
        return name

    @model_validator(mode="after")
    def _whole(self) -> SweepSettings:
        if self.metric is None and (self.method == "bayes" or self.early_terminate is not None):
            what = "method: bayes" if self.method == "bayes" else "early_terminate:"
            raise ValueError(f"{what} needs metric: with its name and goal")
        own = "program" if self.program is not None else "command" if "command" in self.model_fields_set else None
        given = [key for key in (own, "train", "evaluate") if key is not None and getattr(self, key) is not None]
        if len(given) != 1:
            what = " and ".join(f"`{key}:`" for key in given) or "nothing"
            raise ValueError(f"says {what} of what a trial is; write one of program:, command:, train: and evaluate:")
        if "${program}" in self.command and own and self.program is None:
            raise ValueError("command: has ${program}, and there is no program:")
        return self
