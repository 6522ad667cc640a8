"""What stands behind the words of a stage: files, benchmarks and versions of the registry, each by its content."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import msgspec
from pydantic import BaseModel, ConfigDict

from harness import HarnessError, Json, Session, UnknownName, file_sha256, read_yaml
from training.pipelines.reading import Pipeline
from training.pipelines.settings import Stage
from training.sweeps.settings import MACROS

ABSENT: Final = "absent"
YAML: Final = (".yaml", ".yml")
LONGEST: Final = 400
"""Characters of a text that may be a path or a name."""

_VERSION: Final = re.compile(r"(?:[\w-]+:registry/)?([A-Za-z0-9][\w.-]*):([\w.-]+)")
"""`NAME:REF`, also as the model plugins that load any version of the registry write it."""


class _Anything(BaseModel):
    """Any YAML file."""

    model_config = ConfigDict(extra="allow")


class Contents:
    """Digests, each taken once: the same command sees one state of the world."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._folders: dict[Path, str] = {}

    def file(self, path: Path) -> str:
        """Of a file's content; of a folder by the names, sizes and times of its files."""
        if path.is_dir():
            return self._folder(path.resolve())
        return file_sha256(path) if path.is_file() else ABSENT

    def version(self, name: str, ref: str) -> str:
        """The digest of a version of the registry."""
        try:
            return self._session.checkpoints.get(name, ref).digest
        except UnknownName:
            return ABSENT

    def benchmark(self, name: str) -> str:
        """Of its settings, and of the state of its data."""
        settings = self._session.settings
        if name not in settings.benchmarks:
            return ABSENT
        rules = settings.benchmarks[name].model_dump(mode="json")
        source = settings.source(name)
        data = None if source is None or source.path is None else self.file(source.path)
        return _hash([rules, data])

    def suite(self, name: str) -> tuple[str, ...]:
        """The benchmarks of a suite; none where there is no such suite."""
        return self._session.settings.suites.get(name, ())

    def policy(self, name: str) -> str:
        """Of what it asks, and of the benchmarks that it names."""
        settings = self._session.settings
        if name not in settings.gates:
            return ABSENT
        policy = settings.gates[name].model_dump(mode="json")
        named = sorted({item["score"].partition(".")[0] for item in policy["require"]} - {"*"})
        return _hash([policy, [self.benchmark(benchmark) for benchmark in named]])

    def settings(self, path: Path, changes: Sequence[str] = ()) -> str:
        """Of what a YAML file says here and now, variables of the environment filled in."""
        try:
            return _hash(read_any(path, changes))
        except HarnessError:  # the check has looked at it; if it went since, its absence is in the recipe
            return ABSENT

    def named(self, value: Any, base: Path, *, folders: bool = True) -> dict[str, str]:
        """What the texts within a value name -> its digest; YAML files with what is named in them.

        Too much rather than too little: what turns out to be the same is found out by whoever is asked.

        Args:
            base: the folder of the file that the value is from.
            folders: whether folders count. Those that a command names are as often what it fills as what it reads.
        """
        found: dict[str, str] = {}
        seen: set[Path] = set()
        waiting = [(value, base)]
        while waiting:
            value, base = waiting.pop()
            for text in _texts(value):
                if text in self._session.settings.benchmarks:
                    found[f"benchmark {text}"] = self.benchmark(text)
                elif (match := _VERSION.fullmatch(text.partition(",")[0])) and match[1] in self._names:
                    found[f"registry {match[1]}:{match[2]}"] = self.version(match[1], match[2])
                elif (path := _existing(text, base)) is not None and path not in seen:
                    seen.add(path)
                    if folders or path.is_file():
                        found[f"file {text}"] = self.file(path)
                    if path.suffix in YAML:
                        waiting.append((_read(path), path.parent))
                        if has_variables(path):
                            found[f"variables in {text}"] = self.settings(path)
        return found

    @cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(self._session.checkpoints.names())

    def _folder(self, folder: Path) -> str:
        if folder not in self._folders:
            self._folders[folder] = _hash([list(line) for line in sorted(_walk(folder))])
        return self._folders[folder]


def words(command: Sequence[str] | str) -> list[str]:
    """The words of a command, and those of the texts that it hands to a shell; not the files that it writes by `>`."""
    found: list[str] = []
    written: set[str] = set()
    for text in [command] if isinstance(command, str) else command:
        found.append(text)
        lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
        lexer.commenters, lexer.whitespace_split = "", True
        with suppress(ValueError):  # a quotation that does not end: it is no command
            parts = list(lexer)
            written |= {after for sign, after in pairwise(parts) if sign.startswith(">")}
            found += [name for part in parts for name in (part, part.partition("=")[2]) if name]
    return [word for word in found if word not in written]


def has_variables(path: Path) -> bool:
    """Whether a file takes something from the environment."""
    try:
        return "${" in path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False


def _walk(top: Path) -> Iterator[tuple[str, int, int]]:
    """A folder's files, links followed: name, size, time of change."""
    waiting, seen = [str(top)], {os.path.realpath(top)}
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    if (real := os.path.realpath(entry.path)) not in seen:
                        seen.add(real)
                        waiting.append(entry.path)
                elif entry.is_file():
                    stat = entry.stat()
                    yield os.path.relpath(entry.path, top), stat.st_size, stat.st_mtime_ns


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield str(key)
            yield from _texts(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, str | Path) and len(str(value)) <= LONGEST:
        yield str(value)


def _existing(text: str, base: Path) -> Path | None:
    """The file or folder that a text names, from the current folder or the one of its file; not what holds those."""
    if "/" not in text and "." not in text:
        return None
    here = (Path.cwd(), *Path.cwd().parents, base.resolve(), *base.resolve().parents)
    for path in (Path(text).expanduser(), base / text):
        try:
            if path.exists() and path.resolve() not in here:
                return path
        except (OSError, ValueError):
            continue
    return None


def named_file(pipeline: Pipeline, stage: Stage) -> tuple[Path, Mapping[str, Any]] | None:
    """The file that says what a stage does, and the settings that take the place of its own; None without one."""
    if stage.train is not None:
        return pipeline.path(stage.train.config), stage.train.set
    if stage.sweep is not None:
        return pipeline.path(stage.sweep.file), stage.sweep.set
    if stage.job is not None and stage.job.file is not None:
        return pipeline.path(stage.job.file), stage.job.set
    return None


def read_any(path: Path, changes: Sequence[str] = ()) -> Any:
    """The content of a YAML file, variables of the environment filled in.

    Raises:
        ConfigError: it cannot be read.
    """
    return read_yaml(path, _Anything, changes, keep=MACROS).model_dump(mode="json")


def _read(path: Path) -> Any:
    try:
        return read_any(path)
    except HarnessError:  # it is no configuration; its content counts all the same
        return None


def _hash(value: Json) -> str:
    return hashlib.sha256(msgspec.json.encode(value, order="sorted")).hexdigest()
