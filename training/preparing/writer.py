"""A prepared dataset on disk: pictures with their lessons, in Arrow as `datasets` keeps it, one folder a split.

A folder that `datasets.load_from_disk` reads. A row is a picture: `image` (its encoded bytes), `digest` (their
sha256), `group` (what splits keep together) and `lessons`, a list of {benchmark, group, prompt, answers}.
`report.json` beside the splits says what the dataset is made of and what was left out. Equal content gives equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import datasets
import pyarrow as pa

from harness import DataError, ImageRef, Json

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
