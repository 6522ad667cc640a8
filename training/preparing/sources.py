"""Where training data comes from: benchmarks' training splits, files of records, tables that `datasets` reads.

A record of a file or a row of a table is

    {"image": "a.jpg", "prompt": "What is this?", "answer": "A cat."}      or "answers": ["A cat.", "Cat."]
    {"image": "a.jpg", "conversations": [{"from": "human", "value": "<image>\\nWhat is this?"},
                                         {"from": "gpt", "value": "A cat."}, …]}

the latter being LLaVA's layout, of which every question with its answer becomes a lesson of its own. `group` names the
scene, where several pictures show the same one.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import msgspec
from pydantic import model_validator

from harness import DataError, FileImage, ImageRef, Json, Session, near
from training.settings import Settings

OnBad: TypeAlias = Literal["error", "skip"]
SHOWN = 12
"""Bad records that an error or a report names; the others are counted."""
COMMIT = re.compile(r"[0-9a-f]{40}")
PLACEHOLDER = "<image>"


class Columns(Settings):
    """What the fields of a record, or a table's columns, are called."""

    image: str = "image"
    """The picture: a path in a file's records, the picture itself in a table."""
    prompt: str = "prompt"
    """What is asked."""
    answer: str = "answer"
    """The answer, where there is one."""
    answers: str = "answers"
    """A list of answers, all of them right; where it is there, `answer` is not looked at."""
    conversations: str = "conversations"
    """Turns in LLaVA's layout, in the place of prompt and answer."""
    group: str = "group"
    """The scene, where several pictures show the same one; without it every picture is a scene."""


class FileSource(Settings):
    """A file of one JSON record a line (`.jsonl`), or of a JSON list of records (`.json`)."""

    path: Path
    """The file."""
    images: Path | None = None
    """The folder that the pictures' paths start from; the file's own where none is given."""
    columns: Columns = Columns()


class TableSource(Settings):
    """A dataset of the hub at a commit, or a local folder of parquet files or of `save_to_disk`."""

    hub: str | None = None
    """`org/name` on the hub; needs `revision`."""
    revision: str | None = None
    """The hub's commit, 40 hexadecimal digits."""
    config: str | None = None
    """The hub dataset's configuration, where it has several."""
    path: Path | None = None
    """A local folder, in the place of `hub`."""
    split: str = "train"
    """The split that is read."""
    columns: Columns = Columns()

    @model_validator(mode="after")
    def _one_place(self) -> TableSource:
        if (self.hub is None) == (self.path is None):
            raise ValueError("name either `hub` and `revision`, or `path`")
        if self.hub is not None and not COMMIT.fullmatch(self.revision or ""):
            raise ValueError(
                f"revision: {self.revision!r} is no full commit (40 hexadecimal digits); branches and tags move"
            )
        return self

    def digest(self) -> str:
        """Of what the settings name; a commit never changes."""
        return hashlib.sha256(self.model_dump_json().encode()).hexdigest()

    def __str__(self) -> str:
        place = str(self.path) if self.hub is None else f"{self.hub}@{self.revision}"
        return f"{place} [{self.split}]"


@dataclass(frozen=True, slots=True)
class Record:
    """One prompt about a picture, as a source has it.

    Attributes:
        group: the source's own name for the scene; empty where it gives none.
        where: the file and record, as an error message names it.
    """

    source: str
    image: ImageRef
    prompt: str
    answers: tuple[str, ...]
    group: str
    where: str


class BadRecord(DataError):
    """A record that cannot be learnt from. `kind` is what such records are counted by."""

    def __init__(self, where: str, field: str, kind: str, hint: str) -> None:
        self.kind = kind
        super().__init__(f"{where}: {field}: {kind}; {hint}")


@dataclass(slots=True)
class Rejects:
    """The records that cannot be learnt from: what is wrong -> how many, and the first of them."""

    counts: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, error: BadRecord) -> None:
        """One more."""
        self.counts[error.kind] += 1
        if len(self.examples) < SHOWN:
            self.examples.append(str(error))

    def refuse(self, good: int) -> None:
        """For where nothing bad is let pass.

        Raises:
            DataError: there is something; the first are named.
        """
        bad = self.counts.total()
        if bad:
            named = "".join(f"\n  {example}" for example in self.examples)
            more = f"\n  and {bad - len(self.examples)} more" if bad > len(self.examples) else ""
            raise DataError(
                f"{bad} of {bad + good} records are bad (`on_bad: skip` leaves such out and counts them):{named}{more}"
            )


def read_benchmark(session: Session, name: str, split: str | None, rejects: Rejects) -> Iterator[Record]:
    """The samples of a benchmark's split, as the harness asks them.

    Raises:
        UnknownName, ConfigError, DataError: the benchmark is unknown, or its split is not there.
    """
    task = session.benchmark(name, split=split)
    for sample in task.samples():
        request, where = task.request(sample), f"{task.data}: sample {sample.id!r}"
        try:
            if len(request.images) != 1:
                raise BadRecord(where, "images", f"{len(request.images)} of them", "a lesson is about one picture")
            answers = _all_said(list(sample.references), "references", where)
        except BadRecord as error:
            rejects.add(error)
            continue
        yield Record(name, request.images[0], request.prompt, answers, sample.group, where)


def read_file(name: str, source: FileSource, rejects: Rejects) -> Iterator[Record]:
    """The records of a file.

    Raises:
        DataError: it is not there, or not of this layout as a whole.
    """
    folder = source.images or source.path.parent
    for where, row in _rows_of(source.path, rejects):
        try:
            if not isinstance(row, dict):
                raise BadRecord(where, "record", f"a {type(row).__name__}", "write an object")
            image = FileImage(folder / _text(row, source.columns.image, where))
            lessons, group = _lessons(row, source.columns, where), _group(row, source.columns, where)
        except BadRecord as error:
            rejects.add(error)
            continue
        for prompt, answers in lessons:
            yield Record(name, image, prompt, answers, group, where)


def _rows_of(path: Path, rejects: Rejects) -> Iterator[tuple[str, Json]]:
    try:
        if path.suffix != ".jsonl":
            for number, row in enumerate(msgspec.json.decode(path.read_bytes(), type=list[Any])):
                yield f"{path}, record {number}", row
            return
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                where = f"{path}:{number}"
                try:
                    if line.strip():
                        yield where, msgspec.json.decode(line)
                except msgspec.DecodeError as error:
                    rejects.add(BadRecord(where, "record", "not JSON", f"one object a line is expected ({error})"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except msgspec.DecodeError as error:
        raise DataError(f"{path}: not a JSON list of records ({error}); one record a line is `.jsonl`") from error


def read_table(name: str, source: TableSource, rejects: Rejects) -> Iterator[Record]:
    """The rows of a table; pictures stay where they are.

    Raises:
        DataError: it cannot be loaded, or lacks a column.
    """
    from training.preparing.datasets import RowImage, open_rows

    rows = open_rows(source.path, source.hub, source.revision, source.config, source.split)
    columns, there = source.columns, rows.column_names
    needed = {columns.image, *(getattr(columns, column) for column in columns.model_fields_set)}
    if columns.conversations not in there:
        needed |= {columns.prompt, *(() if columns.answers in there else (columns.answer,))}
    for column in sorted(needed):
        if column not in there:
            guess = near(column, there)
            hint = f"did you mean {guess[0]!r}? " if guess else ""
            raise DataError(
                f"{source}: no column {column!r} ({hint}there is: {', '.join(there)}); name it in `columns`"
            )
    images = rows.select_columns([columns.image])
    wanted = {columns.prompt, columns.answer, columns.answers, columns.conversations, columns.group}
    texts = rows.select_columns([column for column in there if column in wanted])
    for number, row in enumerate(texts):
        where = f"{source}, row {number}"
        row = {column: value for column, value in row.items() if value is not None}
        try:
            lessons, group = _lessons(row, columns, where), _group(row, columns, where)
        except BadRecord as error:
            rejects.add(error)
            continue
        for prompt, answers in lessons:
            yield Record(name, RowImage(images, columns.image, number, where), prompt, answers, group, where)


def _lessons(row: Mapping[str, Json], columns: Columns, where: str) -> list[tuple[str, tuple[str, ...]]]:
    """Prompts with their answers."""
    if columns.conversations in row:
        return _turns(row[columns.conversations], columns.conversations, where)
    prompt = _text(row, columns.prompt, where)
    if columns.answers in row:
        return [(prompt, _all_said(row[columns.answers], columns.answers, where))]
    return [(prompt, (_text(row, columns.answer, where),))]


def _turns(turns: Json, name: str, where: str) -> list[tuple[str, tuple[str, ...]]]:
    if not isinstance(turns, list) or not turns or len(turns) % 2:
        raise BadRecord(where, name, "not turns in pairs", "list them as human, gpt, human, gpt …")
    said = []
    for number, turn in enumerate(turns):
        speaker = "gpt" if number % 2 else "human"
        if not isinstance(turn, dict) or turn.get("from") != speaker:
            raise BadRecord(where, f"{name}[{number}].from", f"not {speaker!r}", "the two take turns")
        text = _text(turn, "value", where, f"{name}[{number}].")
        said.append(text.replace(PLACEHOLDER, "").strip() if speaker == "human" else text)
        if not said[-1]:
            raise BadRecord(where, f"{name}[{number}].value", "empty", "write it, or remove the record")
    return [(prompt, (answer,)) for prompt, answer in zip(said[::2], said[1::2], strict=True)]


def _text(row: Mapping[str, Json], name: str, where: str, inside: str = "") -> str:
    if name not in row:
        guess = near(name, row)
        raise BadRecord(where, inside + name, "missing", f"did you mean {guess[0]!r}?" if guess else "add it")
    value = row[name]
    if not isinstance(value, str):
        raise BadRecord(where, inside + name, f"a {type(value).__name__}, not text", "write it as text")
    if not value.strip():
        raise BadRecord(where, inside + name, "empty", "write it, or remove the record")
    return value


def _all_said(value: Json, name: str, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise BadRecord(where, name, "no answers", "list them as texts")
    return tuple(_text({f"{name}[{number}]": one}, f"{name}[{number}]", where) for number, one in enumerate(value))


def _group(row: Mapping[str, Json], columns: Columns, where: str) -> str:
    value = row.get(columns.group, "")
    if not isinstance(value, str | int):
        raise BadRecord(where, columns.group, f"a {type(value).__name__}, not text", "write it as text")
    return str(value)
