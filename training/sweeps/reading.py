"""From a sweep file to a sweep: checked whole, before anything begins."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from pydantic import BaseModel, ConfigDict

from harness import ConfigError, Json, Session, UnknownName, names_secret, near, read_yaml
from training.jobs.secrets import looks_secret
from training.pipelines.placeholders import texts
from training.sweeps import searching
from training.sweeps.constraints import Constraint, Unusable
from training.sweeps.settings import MACROS, REFUSED, SweepSettings
from training.sweeps.space import MOST, Point, Space
from training.sweeps.trial import VARIABLE

CHECKED: Final = 64
"""So many points are tried on a training config before the first begins."""


class _Any(BaseModel):
    model_config = ConfigDict(extra="allow")


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep file, read.

    Attributes:
        name: by which people call it.
        settings: the file, its paths from the current folder.
        space: its points.
        fixed: changes of a training config that all trials have.
    """

    name: str
    settings: SweepSettings
    space: Space
    fixed: Mapping[str, Json]

    def example(self) -> Point:
        """A point that is allowed.

        Raises:
            HarnessError: there is none.
        """
        if self.settings.include:
            return self.settings.include[0]
        some = searching.grid if self.space.allowed is not None else lambda space: searching.random(space, 0)
        return next(iter(some(self.space)))

    def changes(self, point: Point) -> list[str]:
        """The point as changes of a training config."""
        return [f"{name}={msgspec.json.encode(value).decode()}" for name, value in {**self.fixed, **point}.items()]

    def trained(self, session: Session, point: Point, metric: str) -> list[float]:
        """The metric's curve of the training that carries out a point, as far as it is."""
        from training.recipe import read_stage

        assert self.settings.train is not None
        settings = read_stage(self.settings.train, self.changes(point))[0].model_dump(mode="json")
        for training in session.trainings.all():
            if training.facts.get("settings") == settings:
                curves = session.trainings.curves(training)
                values = curves.get(f"eval_{metric}") or curves.get(metric) or []
                return [value for _, value in values if math.isfinite(value)]
        return []


def read_sweep(path: Path, changes: Sequence[str] = ()) -> Sweep:
    """A sweep file.

    Args:
        changes: `key.path=value`, each in the place of what the file has there.

    Raises:
        ConfigError: `file:line: what is wrong`.
        HarnessError: a training config that it names is wrong, or the constraints allow nothing.
    """
    return with_training(path, read_file(path, changes))


def read_file(path: Path, changes: Sequence[str] = ()) -> Sweep:
    """As `read_sweep`, without a look into the training config that it names."""
    _refuse(path)
    _refuse_secrets(path, changes)
    settings = read_yaml(path, SweepSettings, changes, keep=MACROS)
    space = Space(settings.parameters, _constraints(path, settings))
    _check_space(path, settings, space)
    settings = _with_paths(path, _included(path, settings, space))
    return Sweep(settings.name or path.stem, settings, space, {})


def _refuse(path: Path) -> None:
    given = read_yaml(path, _Any, keep=MACROS).model_extra or {}
    for key, reason in REFUSED.items():
        if key in given:
            raise ConfigError(f"a sweep here has no {key}: {reason}", path, _line(path, key))
    if given.get("method") == "custom":
        raise ConfigError("method: custom is searched by a scheduler of W&B's; write grid, random or bayes", path,
                          _line(path, "method"))  # fmt: skip
    if isinstance(metric := given.get("metric"), dict):
        for key in ("impute", "impute_while_running"):
            if key in metric:
                raise ConfigError(f"metric has no {key}: the search leaves trials out that failed", path,
                                  _line(path, "metric", key))  # fmt: skip


def _refuse_secrets(path: Path, changes: Sequence[str]) -> None:
    """The file is stored, its commands are logged, and W&B or a queue is sent them."""
    advice = "let the program take it from the environment, which trials have, too"
    given = read_yaml(path, _Any, changes, keep=MACROS).model_extra or {}
    for at, text in texts(given):
        if looks_secret(text) or any(names_secret(name) for name in VARIABLE.findall(text)):
            raise ConfigError(f"{'.'.join(map(str, at))}: holds a secret; {advice}", path, _line(path, *at))


def _constraints(path: Path, settings: SweepSettings) -> list[Constraint]:
    names = Space(settings.parameters).names
    found = []
    for number, text in enumerate(settings.constraints):
        try:
            found.append(Constraint.parse(text, names))
        except Unusable as error:
            raise ConfigError(f"constraints: {error}", path, _line(path, "constraints", number)) from error
    return found


def _check_space(path: Path, settings: SweepSettings, space: Space) -> None:
    if settings.method == "grid":
        for item in space.dimensions:
            if item.choices is None:
                raise ConfigError(
                    f"a grid needs values: that can be counted, and {item.name!r} is {item.parameter.kind}; give "
                    "values:, or another method", path, _line(path, "parameters", *item.name.split(".")),
                )  # fmt: skip
        if (space.size or 0) > MOST:
            raise ConfigError(f"a grid of {space.size:,} points; {MOST:,} at most", path, _line(path, "parameters"))
    elif settings.run_cap is None and space.size is None:
        raise ConfigError(f"method: {settings.method} has no end here; say how many trials with run_cap:", path,
                          _line(path, "method"))  # fmt: skip
    for number, constraint in enumerate(space.constraints):
        try:
            if (point := next(iter(space.grid()), None)) is not None:
                constraint.holds(point)
            if space.allowed is not None and not space.allowed:
                searching.ensure_some(space.allowed, space)
        except Unusable as error:
            raise ConfigError(f"constraints: {error}", path, _line(path, "constraints", number)) from error


def _included(path: Path, settings: SweepSettings, space: Space) -> SweepSettings:
    """The settings with whole points: what has only one value need not be written."""
    points = []
    only = {
        item.name: item.choices[0] for item in space.dimensions if item.choices is not None and len(item.choices) == 1
    }
    for number, given in enumerate(settings.include):
        line = _line(path, "include", number)
        for name in given.keys() - set(space.names):
            nearest = near(name, space.names)
            tail = f"did you mean {nearest[0]!r}?" if nearest else f"known: {', '.join(space.names)}"
            raise ConfigError(f"include: unknown parameter {name!r} ({tail})", path, line)
        if missing := [name for name in space.names if name not in {**only, **given}]:
            raise ConfigError(f"include: {', '.join(missing)} is missing; a point has all parameters", path, line)
        point = {name: {**only, **given}[name] for name in space.names}
        for constraint in space.constraints:
            if not constraint.holds(point):
                raise ConfigError(f"include: this point does not meet {constraint.text!r}", path, line)
        points.append(point)
    return settings.model_copy(update={"include": tuple(points)})


def _with_paths(path: Path, settings: SweepSettings) -> SweepSettings:
    if settings.train is not None:
        beside = path.parent / settings.train
        found = beside if beside.is_file() else settings.train
        if not found.is_file():
            message = f"train: there is no {settings.train}, neither beside this file nor in the current folder"
            raise ConfigError(message, path, _line(path, "train"))
        return settings.model_copy(update={"train": Path(os.path.normpath(found))})
    if settings.program is not None:
        beside = path.parent / settings.program
        if not Path(settings.program).is_file() and beside.is_file():
            return settings.model_copy(update={"program": str(beside)})
    return settings


def with_training(path: Path, sweep: Sweep) -> Sweep:
    """The sweep with what its training config adds, checked.

    Trials publish under a name of their own: `latest` of the config's would be whichever trial ended last.

    Raises:
        HarnessError: the config is wrong, or does not take the parameters.
    """
    if (config := sweep.settings.train) is None:
        return sweep
    from training.recipe import read_stage

    stage, _ = read_stage(config, sweep.changes(sweep.example()))
    if "name" not in sweep.space.names:
        name = f"{sweep.name}-sweep" if sweep.name == stage.name else sweep.name
        sweep = Sweep(sweep.name, sweep.settings, sweep.space, {"name": name})
    for point in (sweep.space.allowed or ())[:CHECKED]:
        read_stage(config, sweep.changes(point))
    return sweep


def check_metric(path: Path, sweep: Sweep, session: Session) -> None:
    """Refuses a metric that no trial will give, where it is known what they give.

    A training's metric may be a curve as well: it is refused where its name begins like a benchmark's.

    Raises:
        ConfigError: its benchmark is not evaluated, or has no such score.
        UnknownName: there is no such benchmark.
    """
    settings = sweep.settings
    if settings.metric is None or (asked := _evaluated(sweep)) is None:
        return
    name, line = settings.metric.name, _line(path, "metric", "name")
    benchmark, dot, score = name.partition(".")
    if settings.train is not None:
        benchmark = benchmark.removeprefix("eval_")  # so its curve is called
        if not dot or not (near(benchmark, asked) or benchmark in (*asked, *session.settings.benchmarks)):
            return
    if not dot or benchmark not in asked:
        error = UnknownName("benchmark", benchmark, asked, "a metric is BENCHMARK.SCORE, of those that are evaluated")
        raise ConfigError(f"metric: {name}: {error}", path, line)
    try:
        task = session.benchmark(benchmark)
    except ConfigError:
        return  # where its data lies is not said yet
    known = [given for choice in task.metrics for given in choice.scores]
    if score not in known:
        raise ConfigError(f"metric: {UnknownName(f'score of {benchmark}', score, known)}", path, line)


def _evaluated(sweep: Sweep) -> tuple[str, ...] | None:
    """The benchmarks that each trial is evaluated on; None where that is not known."""
    if sweep.settings.evaluate is not None:
        return sweep.settings.evaluate.benchmarks
    if sweep.settings.train is None or {"evaluate", "evaluate.benchmarks"} & set(sweep.space.names):
        return None
    from training.recipe import read_stage

    evaluate = getattr(read_stage(sweep.settings.train, sweep.changes(sweep.example()))[0], "evaluate", None)
    return None if evaluate is None else evaluate.benchmarks


def _line(path: Path, *keys: str | int) -> int | None:
    """Where a value stands in a file."""
    node: Any = yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    line: int | None = None
    for key in keys:
        if isinstance(node, yaml.MappingNode):
            found = next((pair for pair in node.value if pair[0].value == key), None)
            if found is None:
                return line
            line, node = found[0].start_mark.line + 1, found[1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
    return line
