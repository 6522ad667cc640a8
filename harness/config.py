"""benchmarks.yaml and harness.toml to typed settings. Every error names file, line and the nearest right word."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, ValidationError, model_validator
from pydantic_core import ErrorDetails

from harness.errors import ConfigError, UnknownName, UsageError, near
from harness.types import DataSource

BENCHMARKS = "benchmarks.yaml"
SETTINGS = "harness.toml"
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")

Settings_ = TypeVar("Settings_", bound=BaseModel)


class Strict(BaseModel):
    """A section of a file: no unknown keys, no silent conversions of type."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class HubData(Strict):
    """A dataset on the hub. The revision is pinned, since a benchmark that changes under its name is no benchmark."""

    hub: str
    revision: str = Field(pattern=r"^[0-9a-f]{40}$")
    config: str | None = None
    split: str | None = None


class BenchmarkSettings(Strict):
    """Where a benchmark's data lies, and how it is asked and scored."""

    data: str | HubData | None = None
    split: str | None = None
    profile: str | None = None
    protocol: str | None = None
    metrics: tuple[str | dict[str, dict[str, Any]], ...] | None = None


class Requirement(Strict):
    """One thing that a gate asks of a score; see `harness.gate` for what decides it.

    Attributes:
        score: `benchmark.score`, `benchmark.score.breakdown.key`, or `*.score` for each benchmark of the policy.
        min, max: bounds of the score itself.
        against: "baseline": the score is compared with the baseline's, by one of the following.
        margin: how much worse than the baseline it may be.
        gain: how much better than the baseline it must be.
        min_ratio, max_ratio: bounds of score / baseline's score.
        confidence: of the interval that must keep to `min` or `max`, and of a margin or gain (0.95 where not given).
    """

    score: str
    min: FiniteFloat | None = None
    max: FiniteFloat | None = None
    against: Literal["baseline"] | None = None
    margin: FiniteFloat | None = Field(default=None, ge=0)
    gain: FiniteFloat | None = Field(default=None, ge=0)
    min_ratio: FiniteFloat | None = Field(default=None, gt=0)
    max_ratio: FiniteFloat | None = Field(default=None, gt=0)
    confidence: FiniteFloat | None = Field(default=None, gt=0.5, lt=1)

    @model_validator(mode="after")
    def _asks_something(self) -> Requirement:
        absolute = [name for name in ("min", "max") if getattr(self, name) is not None]
        relative = [name for name in ("margin", "gain", "min_ratio", "max_ratio") if getattr(self, name) is not None]
        if self.against is None and relative:
            raise ValueError(f"{relative[0]!r} compares with a baseline: add `against: baseline`")
        if self.against is not None and (absolute or len(relative) != 1):
            raise ValueError("`against: baseline` takes exactly one of margin, gain, min_ratio and max_ratio")
        if self.confidence is not None and (self.min_ratio is not None or self.max_ratio is not None):
            raise ValueError("a ratio is judged as measured: `confidence` goes with min, max, margin and gain")
        if self.against is None and not absolute:
            raise ValueError("asks nothing: add min or max, or `against: baseline` with a margin")
        return self


class GateSettings(Strict):
    """A policy: what a checkpoint must show, and which one it is compared with.

    Attributes:
        baseline: a model reference, such as `PLUGIN:production`.
        require: what must hold, all of it.
    """

    baseline: str | None = None
    require: tuple[Requirement, ...] = Field(min_length=1)


class Benchmarks(Strict):
    """The whole of benchmarks.yaml."""

    benchmarks: dict[str, BenchmarkSettings] = {}
    suites: dict[str, tuple[str, ...]] = {}
    gates: dict[str, GateSettings] = {}


class CheckpointSettings(BaseModel):
    """Which checkpoint store is used; the other keys are its own options."""

    model_config = ConfigDict(extra="allow", frozen=True)

    store: str | None = None

    @property
    def options(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class Workspace(Strict):
    """The whole of harness.toml."""

    home: str | None = None
    device: str = "auto"
    trackers: tuple[str, ...] | dict[str, dict[str, Any]] = ()
    checkpoints: CheckpointSettings = CheckpointSettings()

    @property
    def tracker_options(self) -> dict[str, dict[str, Any]]:
        """Tracker -> its options: those of `[trackers.NAME]`, none where only names are listed."""
        return self.trackers if isinstance(self.trackers, dict) else {name: {} for name in self.trackers}


class Settings(BaseModel):
    """All configuration, and the folder that relative data paths are meant from."""

    model_config = ConfigDict(frozen=True)

    file: Path | None
    base: Path
    benchmarks: Mapping[str, BenchmarkSettings]
    suites: Mapping[str, tuple[str, ...]]
    gates: Mapping[str, GateSettings]
    workspace: Workspace

    def suite(self, name: str) -> tuple[str, ...]:
        """The benchmarks of a suite.

        Raises:
            UnknownName: there is no such suite.
        """
        if name not in self.suites:
            raise UnknownName("suite", name, self.suites, f"suites are written in {self.file}")
        return self.suites[name]

    def gate(self, name: str) -> GateSettings:
        """The policy of that name.

        Raises:
            UnknownName: there is no such policy.
        """
        if name not in self.gates:
            raise UnknownName("gate policy", name, self.gates, f"policies are written in {self.file} under `gates`")
        return self.gates[name]

    def source(self, benchmark: str) -> DataSource | None:
        """Where that benchmark's data lies, if the configuration says so."""
        settings = self.benchmarks.get(benchmark, BenchmarkSettings())
        if settings.data is None:
            return None
        if isinstance(settings.data, HubData):
            data = settings.data
            return DataSource(
                hub=data.hub, revision=data.revision, config=data.config, split=settings.split or data.split
            )
        return DataSource(path=self.base / Path(settings.data).expanduser(), split=settings.split)


def load_settings(config: Path | None = None) -> Settings:
    """The settings that hold in the current folder.

    `benchmarks.yaml` is the one named, or that of the current folder, of the user's configuration folder, or of the
    package; `harness.toml` is looked for beside it in the same way. `${NAME}` and `${NAME:-default}` in values are
    taken from the environment.

    Raises:
        ConfigError: a file cannot be read, or holds an unknown key or a wrong type.
    """
    folders = _folders(config)
    file = config if config is not None and not config.is_dir() else _first(folders, BENCHMARKS)
    if config is not None and (file is None or not file.is_file()):
        raise ConfigError(
            f"no such file, and no folder with a {BENCHMARKS}; give --config a file or its folder", config
        )
    benchmarks = Benchmarks() if file is None else read_yaml(file, Benchmarks)
    shipped = file is not None and file == _shipped()
    toml = _first(folders, SETTINGS)
    return Settings(
        file=file,
        base=Path.cwd() if file is None or (shipped and file.parent.name == "harness") else file.parent.absolute(),
        benchmarks=benchmarks.benchmarks,
        suites=benchmarks.suites,
        gates=benchmarks.gates,
        workspace=Workspace() if toml is None else _read_toml(toml),
    )


def read_yaml(path: Path, model: type[Settings_], changes: Sequence[str] = (), keep: Collection[str] = ()) -> Settings_:
    """A YAML file as a pydantic model, with `${NAME:-default}` taken from the environment.

    Args:
        changes: `key.path=value` (the value in YAML), each in the place of what the file has there.
        keep: names that are no variables: `${NAME}` is left for whoever uses the value.

    Raises:
        ConfigError: `file:line: what is wrong (did you mean …?)`, with the change that it is wrong of.
        UsageError: a change is malformed.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"cannot be read ({error.strerror})", path) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"is not UTF-8 text ({error.reason} at byte {error.start})", path) from error
    try:
        loader = yaml.SafeLoader(text)
        tree = loader.get_single_node()
        _refuse_repeated_keys(tree, path)
        lines: dict[tuple[Any, ...], int | None] = dict(_lines(tree, ()))
        value = None if tree is None else loader.construct_document(tree)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"not valid YAML: {error.problem or error.context}", path, line) from error
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"not valid YAML: {error}", path) from error
    if value is not None and not isinstance(value, dict):
        raise ConfigError(f"is {_named(value)}, not a mapping of keys", path)
    value = {} if value is None else _expand(value, path, lines, (), keep)
    changed: dict[tuple[Any, ...], str] = {}
    for change in changes:
        value = _changed(value, change)
        keys = change.partition("=")[0].split(".")
        lines |= {tuple(keys[: depth + 1]): None for depth in range(len(keys))}
        changed[tuple(keys)] = change
    try:
        return _validate(value, path, model, lines, changed)
    except ConfigError as error:
        if tree is None and not changes:
            raise ConfigError("the file is empty", path) from error
        raise


def _changed(value: Any, change: str) -> Any:
    """The file's content with one value changed, in sections that are made where there are none."""
    place, equals, text = change.partition("=")
    keys = place.split(".")
    if not equals or not text.strip() or not all(keys):
        raise UsageError(f"--set {change}: write KEY=VALUE, with dots between keys: --set save.every=50")
    try:
        new = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise UsageError(f"--set {change}: the value is not valid YAML; put it in quotes") from error
    changed = section = dict(value) if isinstance(value, dict) else {}
    for key in keys[:-1]:
        section[key] = dict(section[key]) if isinstance(section.get(key), dict) else {}
        section = section[key]
    section[keys[-1]] = new
    return changed


def _read_toml(path: Path) -> Workspace:
    try:
        with path.open("rb") as file:
            value = tomllib.load(file)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot be read: {error}", path) from error
    return _validate(_expand(value, path, {}, ()), path, Workspace, {})


def _validate(
    value: Any,
    path: Path,
    model: type[Settings_],
    lines: Mapping[tuple[Any, ...], int | None],
    changed: Mapping[tuple[Any, ...], str] = {},
) -> Settings_:
    if isinstance(value, dict):  # a section with nothing under it is none
        value = {key: section for key, section in value.items() if section is not None}
    try:
        # As JSON, so that strictness about types knows of a file's few types, to which a tuple is a list.
        return model.model_validate_json(json.dumps(value, default=str))
    except ValidationError as error:
        details = max(error.errors(), key=lambda item: len(_known_path(item["loc"], lines)))
        place = _known_path(details["loc"], lines)
        said, line = _said(details, place, lines.get(place), model)
        change = next((text for keys, text in changed.items() if place[: len(keys)] == keys), None)
        raise ConfigError(said if change is None else f"{said} (--set {change})", path, line) from error


def _folders(config: Path | None) -> list[Path]:
    if config is not None:
        return [config if config.is_dir() else config.parent]
    import platformdirs

    return [Path(), Path(platformdirs.user_config_dir("harness", appauthor=False)), _shipped().parent]


def _shipped() -> Path:
    """The configuration of the package: inside it where it was installed, at the root of a checkout."""
    package = Path(__file__).parent
    inside = package / BENCHMARKS
    return inside if inside.is_file() else package.parent / BENCHMARKS


def _first(folders: Sequence[Path], name: str) -> Path | None:
    return next((folder / name for folder in folders if (folder / name).is_file()), None)


def _expand(
    value: Any, path: Path, lines: Mapping[tuple[Any, ...], int | None], at: tuple[Any, ...], keep: Collection[str] = ()
) -> Any:
    if isinstance(value, dict):
        return {key: _expand(item, path, lines, (*at, key), keep) for key, item in value.items()}
    if isinstance(value, list):
        return [_expand(item, path, lines, (*at, index), keep) for index, item in enumerate(value)]
    if not isinstance(value, str):
        return value

    def replace(match: re.Match[str]) -> str:
        name, default = match.groups()
        if name in keep:
            return match.group()
        found = os.environ.get(name) or default  # as in a shell, an empty variable takes the default
        if found is None:
            raise ConfigError(
                f"the environment variable {name} is not set or empty; set it, or write ${{{name}:-default}}",
                path,
                lines.get(at),
            )
        return found

    return _VARIABLE.sub(replace, value)


def _lines(node: yaml.Node | None, at: tuple[Any, ...]) -> Iterator[tuple[tuple[Any, ...], int]]:
    """The line of every value, by its path in the document; a key's own line for what is under it."""
    if node is None:
        return
    if not at:
        yield (), node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield (*at, key.value), key.start_mark.line + 1
            yield from _lines(value, (*at, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield (*at, index), value.start_mark.line + 1
            yield from _lines(value, (*at, index))


def _refuse_repeated_keys(node: yaml.Node | None, path: Path) -> None:
    """YAML forbids a key twice; the parser would let the last one win in silence."""
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if key.value in seen:
                raise ConfigError(f"the key {key.value!r} stands here and in line {seen[key.value]}", path, line)
            seen[key.value] = line
            _refuse_repeated_keys(value, path)
    elif isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _refuse_repeated_keys(item, path)


def _said(
    details: ErrorDetails, place: tuple[Any, ...], line: int | None, model: type[BaseModel]
) -> tuple[str, int | None]:
    """An error in words, and the line that it is at, where it is at one."""
    where = ".".join(map(str, place))
    if details["type"] == "extra_forbidden":
        key = str(details["loc"][-1])
        known = _keys(model, details["loc"][:-1])
        matches = near(key, known)
        tail = f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(sorted(known))}"
        section = "" if line else "".join(f"{part}: " for part in place[:-1])
        return f"{section}unknown key {key!r} ({tail})", line
    if details["type"] == "missing":
        return f"{details['loc'][-1]!r} is missing" + (f" in {where!r}" if where else ""), line
    got = details["input"]
    at = f"{where}: " if where else ""
    if details["type"] in ("model_type", "dict_type"):
        return f"{at}is {_named(got)}, not a mapping of keys", line
    if details["type"] == "too_short":
        needed, there = details["ctx"]["min_length"], details["ctx"]["actual_length"]
        return f"{at}{'is empty' if there == 0 else f'has {there}'}; at least {needed} must be there", line
    message = details["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:]
    return at + message + (f", not {got!r}" if not isinstance(got, dict) else ""), line if where else None


def _named(value: Any) -> str:
    """What a value of a file is, in words."""
    if value is None:
        return "empty"
    return "a list" if isinstance(value, list) else f"the one value {value!r}"


def _known_path(location: tuple[Any, ...], lines: Mapping[tuple[Any, ...], int | None]) -> tuple[Any, ...]:
    """A validation error's location without the names of models and types that a union adds to it."""
    place: tuple[Any, ...] = ()
    for part in location:
        if (*place, part) in lines or not lines:
            place = (*place, part)
    return place


def _keys(model: type[BaseModel], location: Sequence[Any]) -> set[str]:
    """The keys that the section at a location may have."""
    current: Any = model
    for part in location:
        if get_origin(current) is dict:  # a name that the file gives, whatever a field of its section is called
            current = get_args(current)[1]
        elif isinstance(current, type) and issubclass(current, BaseModel):
            if part in current.model_fields:
                current = current.model_fields[part].annotation
            elif isinstance(part, str) and part == current.__name__:
                continue
        if get_origin(current) is not dict:
            current = _model_in(current, str(part)) or current
    if get_origin(current) is dict:
        current = _model_in(current, "")
    return set(current.model_fields) if isinstance(current, type) and issubclass(current, BaseModel) else set()


def _model_in(annotation: Any, name: str) -> type[BaseModel] | None:
    """The model inside an annotation such as `dict[str, Model]` or `str | Model`, by preference the one so named."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = [_model_in(argument, name) for argument in getattr(annotation, "__args__", ())]
    models = [model for model in inner if model is not None]
    return next((model for model in models if model.__name__ == name), models[0] if models else None)
