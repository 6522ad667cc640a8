"""Loading datasets of the hub, and local copies of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import datasets
import httpx
from huggingface_hub.errors import HfHubHTTPError

from harness import DataError, DataSource
from plugins.benchmarks.hub import parquet_files
from plugins.benchmarks.official import ELSEWHERE

COMMIT = re.compile(r"[0-9a-f]{40}")
LOADING_ERRORS = (OSError, ValueError, datasets.exceptions.DatasetsError, HfHubHTTPError, httpx.HTTPError)


def from_hub(data: DataSource, config: str | None, default_split: str) -> tuple[datasets.Dataset, str]:
    """A split of a dataset on the hub, and its place as error messages name it."""
    if data.hub is None or not COMMIT.fullmatch(data.revision or ""):
        raise DataError(
            f"{data.hub}: revision {data.revision!r} is not a full commit (40 hexadecimal digits): branches and "
            "tags move, and the same run could not be repeated; take the newest from "
            f"https://huggingface.co/datasets/{data.hub}/commits/main"
        )
    place = f"{data.hub}@{data.revision}" + (f" [{config}]" if config else "")
    with _explained(place):
        splits = datasets.get_dataset_split_names(data.hub, config, revision=data.revision)
        split = choose(splits, data.split, default_split, place)
        dataset = datasets.load_dataset(data.hub, config, revision=data.revision, split=split)
    return _undecoded(dataset), place


def from_copy(root: Path, split: str | None, default_split: str) -> datasets.Dataset:
    """A split of a folder that `save_to_disk` wrote, or of parquet files."""
    place = str(root)
    with _explained(place):
        if (root / "dataset_dict.json").is_file():
            loaded = datasets.load_from_disk(place)
            return _undecoded(loaded[choose(list(loaded), split, default_split, place)])
        if (root / "state.json").is_file():
            dataset = datasets.load_from_disk(place)
            choose([str(dataset.split or split or default_split)], split, default_split, place)
            return _undecoded(dataset)
        files = parquet_files(root)
        chosen = files[choose(list(files), split, default_split, place)]
        return _undecoded(datasets.load_dataset("parquet", data_files={"rows": chosen}, split="rows"))


def choose(splits: Sequence[str], split: str | None, default_split: str, place: str) -> str:
    """The split of this name; else the only one whose name begins so; else, if none was asked for, the only one.

    Raises:
        DataError: there is none, or several.
    """
    wanted = split or default_split
    if wanted in splits:
        return wanted
    longer = [name for name in splits if name.startswith(wanted)]
    if len(longer) == 1:
        return longer[0]
    if wanted == default_split and len(splits) == 1 and "train" not in splits[0]:
        return splits[0]
    there = ", ".join(splits) or "none"
    raise DataError(f"{place}: no split {wanted!r} (there is: {there}); choose one with `split:` in benchmarks.yaml")


@contextmanager
def _explained(place: str) -> Iterator[None]:
    try:
        yield
    except LOADING_ERRORS as error:
        raise DataError(f"{place}: cannot be loaded ({error}); {ELSEWHERE}") from error


def _undecoded(dataset: datasets.Dataset) -> datasets.Dataset:
    if isinstance(dataset.features.get("image"), datasets.Image):
        return dataset.cast_column("image", datasets.Image(decode=False))
    return dataset
