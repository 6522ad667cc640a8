"""Reading tables with pictures, and the datasets that `data` stages made (see `training.preparing.writer`)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, overload

import datasets
import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from huggingface_hub.errors import HfHubHTTPError
from numpy.typing import NDArray

from harness import CheckpointError, DataError, ImageError, Session, UnknownName, UsageError
from training.arr_coc.alignment import Scene
from training.lessons import Lesson, Picture
from training.preparing.writer import REPORT

LOADING_ERRORS = (OSError, ValueError, datasets.exceptions.DatasetsError, HfHubHTTPError, httpx.HTTPError)


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


def open_rows(
    path: Path | None, hub: str | None, revision: str | None, config: str | None, split: str
) -> datasets.Dataset:
    """A split of a local folder (of parquet files, or of `save_to_disk`), or of a dataset on the hub at a commit.

    Raises:
        DataError: it cannot be loaded, or has no such split.
    """
    place = str(path) if hub is None else f"{hub}@{revision}"
    try:
        if path is None:
            return undecoded(datasets.load_dataset(hub, config, revision=revision, split=split))
        if not path.is_dir():
            raise DataError(f"{place}: no such folder")
        if (path / "dataset_dict.json").is_file():
            found = datasets.load_from_disk(place)
            if split not in found:
                raise DataError(str(UnknownName(f"split of {place}", split, found)))
            return undecoded(found[split])
        if (path / "state.json").is_file():
            return undecoded(datasets.load_from_disk(place))
        return undecoded(datasets.load_dataset(place, config, split=split))
    except LOADING_ERRORS as error:
        raise DataError(f"{place}: the split {split!r} cannot be loaded ({error})") from error


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
        return self._picture(row, self._texts.data.column("lessons")[row].as_py())

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
