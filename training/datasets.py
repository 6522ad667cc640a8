"""A prepared dataset on disk: pictures with their lessons, in Arrow as `datasets` keeps it, one folder a split.

A folder that `datasets.load_from_disk` reads. A row is a picture: `image` (its encoded bytes), `digest` (their
sha256), `group` (what splits keep together) and `lessons`, a list of {benchmark, group, prompt, answers}.
`report.json` beside the splits says what the dataset is made of and what was left out. Equal content gives equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from harness import CheckpointError, DataError, ImageError, ImageRef, Json, Session, UnknownName, UsageError
from training.alignment import Scene
from training.lessons import Lesson, Picture

REPORT = "report.json"
TEXT = datasets.Value("string")
FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "digest": TEXT,
        "group": TEXT,
        "lessons": [{"benchmark": TEXT, "group": TEXT, "prompt": TEXT, "answers": [TEXT]}],
    }
)
SHARD = 500_000_000
"""Bytes of pictures in a file, about."""
BATCH = 16_000_000
"""Bytes of pictures that are held while writing, about."""


@dataclass(frozen=True, slots=True)
class Taught:
    """A lesson of a row. `group` is the benchmark's own name for the picture."""

    benchmark: str
    group: str
    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A picture as it will be written. `group` is the same for all that must stay in one split."""

    image: ImageRef
    digest: str
    group: str
    lessons: tuple[Taught, ...]

    def document(self) -> dict[str, Json]:
        """All but the picture's bytes, which `digest` stands for."""
        lessons = [
            {"benchmark": one.benchmark, "group": one.group, "prompt": one.prompt, "answers": list(one.answers)}
            for one in self.lessons
        ]
        return {"digest": self.digest, "group": self.group, "lessons": lessons}


@dataclass(frozen=True, slots=True)
class RowImage:
    """A picture in a row of a dataset; its bytes come from the memory-mapped table when they are wanted.

    Attributes:
        rows: the dataset, its pictures undecoded.
        name: the place, as an error message names it.
    """

    rows: datasets.Dataset = field(repr=False, compare=False)
    column: str
    row: int
    name: str

    def read(self) -> bytes:
        cell = self.rows[self.row][self.column]
        if isinstance(cell, bytes):
            return cell
        found = cell if isinstance(cell, dict) else {"path": cell}
        try:
            return bytes(found.get("bytes") or Path(found.get("path") or "").read_bytes())
        except OSError as error:
            raise ImageError(f"{self.name}: no picture in this row, and no file of it ({error.strerror})") from error


def undecoded(rows: datasets.Dataset) -> datasets.Dataset:
    """The dataset with pictures as they are encoded."""
    for column, feature in rows.features.items():
        if isinstance(feature, datasets.Image):
            rows = rows.cast_column(column, datasets.Image(decode=False))
    return rows


def content_digest(rows: Iterable[Row]) -> str:
    """The sha256 of all that rows hold, in their order, whatever files they lie in."""
    digest = hashlib.sha256()
    for row in rows:
        digest.update(json.dumps(row.document(), ensure_ascii=False, sort_keys=True).encode())
    return digest.hexdigest()


def write_dataset(folder: Path, splits: Mapping[str, Sequence[Row]], report: Mapping[str, Json]) -> None:
    """Writes the splits and the report into a new folder.

    Raises:
        DataError: a picture is not what it was when its digest was taken.
    """
    folder.mkdir(parents=True)
    for name, rows in splits.items():
        _write_split(folder / name, name, rows)
    (folder / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}), encoding="utf-8")
    text = json.dumps(dict(report), ensure_ascii=False, indent=1, sort_keys=True)
    (folder / REPORT).write_text(text + "\n", encoding="utf-8")


def _write_split(folder: Path, name: str, rows: Sequence[Row]) -> None:
    # `Dataset.save_to_disk` can only copy what is an Arrow file already, and calls it by chance: the pictures
    # would be written twice, and the same content would not be the same files.
    folder.mkdir()
    files = [file.name for file in _write_shards(folder, rows)]
    named = [f"data-{number:05}-of-{len(files):05}.arrow" for number in range(len(files))]
    for file, final in zip(files, named, strict=True):
        (folder / file).rename(folder / final)
    state: dict[str, Json] = {
        "_data_files": [{"filename": file} for file in named],
        "_fingerprint": content_digest(rows)[:16],
        "_format_columns": None,
        "_format_kwargs": {},
        "_format_type": None,
        "_output_all_columns": False,
        "_split": name,
    }
    (folder / "state.json").write_text(json.dumps(state, indent=2, sort_keys=True), encoding="utf-8")
    datasets.DatasetInfo(features=FEATURES).write_to_directory(str(folder), pretty_print=True)


def _write_shards(folder: Path, rows: Sequence[Row]) -> Iterator[Path]:
    waiting = iter(rows)
    row = next(waiting, None)
    number = 0
    while row is not None or not number:
        path = folder / f"part-{number}"
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, FEATURES.arrow_schema) as stream:
            written = 0
            while row is not None and written < SHARD:
                batch: list[dict[str, Json]] = []
                size = 0
                while row is not None and size < BATCH:
                    encoded = _read(row)
                    batch.append({**row.document(), "image": {"bytes": encoded, "path": None}})
                    size += len(encoded)
                    row = next(waiting, None)
                stream.write_batch(pa.RecordBatch.from_pylist(batch, schema=FEATURES.arrow_schema))
                written += size
        yield path
        number += 1


def _read(row: Row) -> bytes:
    encoded = row.image.read()
    if hashlib.sha256(encoded).hexdigest() != row.digest:
        raise DataError(f"{row.image.name}: changed while it was read; start again when it is finished")
    return encoded


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset of the registry.

    Attributes:
        name: `NAME:vN`, or `NAME:FOLDER`.
        digest: of its files, as the registry has it.
    """

    name: str
    digest: str
    session: Session = field(repr=False)

    @classmethod
    def of(cls, text: str, session: Session) -> Prepared:
        """What `NAME:ref` stands for.

        Raises:
            UsageError: it is no such reference.
            UnknownName: there is no such dataset or version.
            CheckpointError: it is not a dataset.
        """
        name, colon, ref = text.partition(":")
        if not colon or not name or not ref:
            raise UsageError(f"dataset: {text!r} is no reference of a dataset; write NAME:ref, such as {name}:latest")
        resolved = session.checkpoints.resolve(name, ref)
        if resolved.version is not None:
            kind = session.checkpoints.get(name, resolved.version).type
            if kind != "dataset":
                raise CheckpointError(f"dataset: {name}:{resolved.version} is a {kind}, not a dataset")
        return cls(f"{name}:{resolved.version or ref}", resolved.digest, session)

    def folder(self) -> Path:
        """Its files, verified."""
        name, _, ref = self.name.partition(":")
        return self.session.checkpoints.resolve(name, ref).checkout()

    def pictures(
        self, benchmarks: Iterable[str], split: str, scenes: Mapping[tuple[str, str], Scene] | None = None
    ) -> PreparedPictures:
        """The pictures of a split that have lessons of the benchmarks, with these lessons alone.

        Raises:
            UnknownName: the dataset has no such split, or no such benchmark in it.
            DataError: it was not made by a `data` stage.
        """
        folder = self.folder()
        try:
            splits = json.loads((folder / REPORT).read_text(encoding="utf-8"))["splits"]
            known = {name: tuple(facts["lessons"]) for name, facts in splits.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DataError(f"{self.name}: no {REPORT} of a `data` stage in it ({error!r})") from error
        if split not in known:
            raise UnknownName(f"split of {self.name}", split, known)
        for benchmark in benchmarks:
            if benchmark not in known[split]:
                raise UnknownName(f"share of {self.name} [{split}]", benchmark, known[split])
        rows = undecoded(datasets.load_from_disk(str(folder / split)))
        return PreparedPictures(rows, f"{self.name} [{split}]", frozenset(benchmarks), scenes or {})


class PreparedPictures(Sequence[Picture]):
    """Pictures of a dataset, read from the memory-mapped table where they are asked for; picklable.

    Args:
        rows: the dataset, its pictures undecoded.
        name: the place, as an error message names it.
        benchmarks: whose lessons are given; pictures without one are left out.
        scenes: of pictures, by benchmark and its name for the picture.
    """

    def __init__(
        self,
        rows: datasets.Dataset,
        name: str,
        benchmarks: frozenset[str],
        scenes: Mapping[tuple[str, str], Scene],
    ) -> None:
        self.name = name
        self.benchmarks = benchmarks
        self.scenes = scenes
        self._images = rows.select_columns(["image"])
        self._texts = rows.select_columns(["lessons"])
        self._places = _having(self._texts, benchmarks)

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Picture: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Picture]: ...
    def __getitem__(self, index: int | slice) -> Picture | Sequence[Picture]:
        if isinstance(index, slice):
            return [self[place] for place in range(len(self))[index]]
        row = int(self._places[index])
        return self._picture(row, self._texts[row]["lessons"])

    def __iter__(self) -> Iterator[Picture]:
        row = 0
        wanted = set(self._places.tolist())
        for batch in self._texts.iter(1000):
            for lessons in batch["lessons"]:
                if row in wanted:
                    yield self._picture(row, lessons)
                row += 1

    def _picture(self, row: int, lessons: Sequence[Mapping[str, Any]]) -> Picture:
        chosen = [lesson for lesson in lessons if lesson["benchmark"] in self.benchmarks]
        keys = [(lesson["benchmark"], lesson["group"]) for lesson in chosen]
        return Picture(
            RowImage(self._images, "image", row, f"{self.name}, row {row}"),
            tuple(Lesson(one["benchmark"], one["prompt"], tuple(one["answers"])) for one in chosen),
            next((self.scenes[key] for key in reversed(keys) if key in self.scenes), None),
        )


def _having(texts: datasets.Dataset, benchmarks: frozenset[str]) -> NDArray[np.int64]:
    """The rows with lessons of the benchmarks, in order."""
    wanted = pa.array(sorted(benchmarks), pa.string())
    found, start = [np.empty(0, np.int64)], 0
    for chunk in texts.data.column("lessons").chunks:
        names = pc.struct_field(pc.list_flatten(chunk), "benchmark")
        chosen = pc.is_in(names, value_set=wanted).to_numpy(zero_copy_only=False)
        found.append(start + np.unique(pc.list_parent_indices(chunk).to_numpy()[chosen]))
        start += len(chunk)
    return np.concatenate(found)
