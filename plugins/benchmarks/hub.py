"""Datasets in Hugging Face's format: on the hub at a pinned commit, or as a local copy. Nothing is held in memory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from harness import DataError, DataSource, ImageError, near
from plugins.benchmarks.official import ELSEWHERE, explain

if TYPE_CHECKING:
    import datasets

R = TypeVar("R", bound=msgspec.Struct)

SHARD = re.compile(r"-\d{5}-of-\d{5}(-\w+)?$")
ROWS_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class RowImage:
    """A picture in a row of a dataset; its bytes come from the memory-mapped table when they are wanted.

    Attributes:
        name: the place, as an error message names it.
    """

    dataset: datasets.Dataset = field(repr=False, compare=False)
    row: int
    name: str

    def read(self) -> bytes:
        cell = self.dataset[self.row]["image"] or {}
        try:
            content = cell.get("bytes") or Path(cell.get("path") or "").read_bytes()
        except OSError as error:
            raise ImageError(f"{self.name}: no picture in this row, and no file of it ({error.strerror})") from error
        return bytes(content)


@dataclass(frozen=True, slots=True)
class Table:
    """One split of a dataset, memory-mapped; its pictures are not decoded."""

    dataset: datasets.Dataset
    place: str

    def rows(self, type: type[R]) -> Iterator[tuple[int, R]]:
        """Row numbers and rows; pictures are not touched.

        Args:
            type: its fields are the columns that are read; those without a default must be there.

        Raises:
            DataError: a column is missing, or a row is not of this type.
        """
        names = self._columns(type)
        number = 0
        for batch in self.dataset.select_columns(names).iter(ROWS_AT_ONCE):
            for values in zip(*(batch[name] for name in names), strict=True):
                row = dict(zip(names, values, strict=True))
                try:
                    yield number, msgspec.convert(row, type)
                except msgspec.ValidationError as error:
                    raise DataError(f"{self.place}, row {number}: {explain(str(error), row)}") from error
                number += 1

    @property
    def has_images(self) -> bool:
        return "image" in self.dataset.column_names

    def image(self, row: int) -> RowImage:
        """The picture of a row.

        Raises:
            DataError: the dataset has none.
        """
        if not self.has_images:
            raise self._no_column("image")
        return RowImage(self.dataset, row, f"{self.place}, row {row}")

    def _columns(self, type: type[R]) -> list[str]:
        columns = []
        for wanted in msgspec.structs.fields(type):
            if wanted.encode_name in self.dataset.column_names:
                columns.append(wanted.encode_name)
            elif wanted.required:
                raise self._no_column(wanted.encode_name)
        return columns

    def _no_column(self, name: str) -> DataError:
        guesses = near(name, self.dataset.column_names)
        hint = f"did you mean {guesses[0]!r}? " if guesses else ""
        there = ", ".join(self.dataset.column_names)
        return DataError(f"{self.place}: no column {name!r} ({hint}there is: {there}); {ELSEWHERE}")


def is_dataset(data: DataSource, config: str | None = None) -> bool:
    """Whether a data source is a dataset of the hub, or a copy of one, and not a folder in an official layout."""
    if data.path is None:
        return data.hub is not None
    return is_copy(data.path) or (config is not None and is_copy(data.path / config))


def is_copy(root: Path) -> bool:
    """Whether a folder was written by `save_to_disk`, or holds parquet files as the hub does."""
    marks = ("dataset_dict.json", "state.json")
    return any((root / mark).is_file() for mark in marks) or bool(parquet_files(root))


def parquet_files(root: Path) -> dict[str, list[str]]:
    """Split -> its files, in order: `SPLIT.parquet` or `SPLIT-00000-of-00002.parquet`, here or in `data/`."""
    files: dict[str, list[str]] = {}
    for path in sorted(root.glob("*.parquet")) + sorted(root.glob("data/*.parquet")):
        files.setdefault(SHARD.sub("", path.stem), []).append(str(path))
    return files


def open_table(data: DataSource, default_split: str, config: str | None = None) -> Table:
    """One split of a dataset.

    Args:
        default_split: the split where `data` names none. "val" finds "validation" and "val2014" too.
        config: of the dataset; in a local copy, a folder of this name.

    Raises:
        DataError: it cannot be found or loaded, its revision is not pinned, or it has no such split.
    """
    # The library takes a second and 150 MB, which official folders need not pay.
    from plugins.benchmarks import loading

    if data.path is None:
        return Table(*loading.from_hub(data, config, default_split))
    folders = [data.path / (config or ""), data.path]
    root = next((folder for folder in folders if is_copy(folder)), None)
    if root is None:
        raise DataError(f"{folders[0]}: no dataset here, neither of `save_to_disk` nor of parquet files; {ELSEWHERE}")
    return Table(loading.from_copy(root, data.split, default_split), str(root))
