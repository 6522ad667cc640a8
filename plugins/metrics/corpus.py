"""A saved corpus of captions, which CIDEr can take document frequencies from."""

from __future__ import annotations

from pathlib import Path

import msgspec

from harness import ConfigError, DataError, Json
from plugins.benchmarks.official import read

WANTED = "`corpus` is a captions annotation file in COCO's layout, .json or .json.gz, such as captions_val2014.json"


class Caption(msgspec.Struct, gc=False):
    image_id: int | str
    caption: str


class Captioned(msgspec.Struct):
    annotations: list[Caption]


def read_corpus(path: Json) -> tuple[tuple[str, ...], ...]:
    """Each picture's captions, raw; pictures in the order of the file.

    Args:
        path: as the option says it; relative to the current folder.

    Raises:
        ConfigError: there is no such file, or it is of a kind that is not read.
        DataError: it is not JSON, or not a captions annotation file.
    """
    if not isinstance(path, str):
        raise ConfigError(f"{path!r} is no path; {WANTED}")
    file = Path(path).expanduser()
    if file.suffix in (".p", ".pkl", ".pickle"):
        raise ConfigError(f"a pickle can run code and is not read; give the captions it was made from: {WANTED}", file)
    if not file.is_file():
        raise ConfigError(f"no such file; {WANTED}", file)
    try:
        document = read(file, Captioned)
    except DataError as error:
        raise DataError(f"{error}; {WANTED}") from error
    pictures: dict[int | str, list[str]] = {}
    for record in document.annotations:
        pictures.setdefault(record.image_id, []).append(record.caption)
    if not pictures:
        raise DataError(f"{file}: no captions in it; {WANTED}")
    return tuple(map(tuple, pictures.values()))
