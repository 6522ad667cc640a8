"""Official annotation files: finding them, and reading them with errors that name file and record."""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from harness import DataError, DataSource, Sample, near

T = TypeVar("T")

# Half of a surrogate pair, which JSON can spell and text cannot hold; other escapes come first, to be passed over.
_LONE_SURROGATE = re.compile(
    rb"(?P<other>\\[^u]|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w)|\\u[dD][89a-fA-F]\w\w",
)

ELSEWHERE = "name the right place with --data or with `data:` in benchmarks.yaml"


def folder(data: DataSource) -> Path:
    """The folder of a data source, which must exist."""
    if data.path is None:
        raise DataError(f"no data: {ELSEWHERE}")
    if not data.path.is_dir():
        state = "is a file, not a folder" if data.path.exists() else "no such folder"
        raise DataError(f"{data.path}: {state}; {ELSEWHERE}")
    return data.path


def find(data: DataSource, default_split: str, names: Sequence[str], any_name: str) -> Path:
    """The official file of a split, plain or gzipped.

    Args:
        default_split: the split where `data` names none.
        names: the file's official names, as patterns below the folder; `{split}` stands for the split.
        any_name: the pattern of other names. For the default split, the one file that has such a name is
            taken, unless it says that it is the training split's.

    Raises:
        DataError: there is no such file, or several.
    """
    root = folder(data)
    split = data.split or default_split
    wanted = [name.format(split=split) for name in names]
    for name in wanted:
        if found := _matches(root, name):
            return found[0]
    others = _matches(root, any_name)
    if split == default_split:
        neutral = [path for path in others if "train" not in path.name]
        if len(neutral) == 1:
            return neutral[0]
    there = ", ".join(str(path.relative_to(root)) for path in others) or f"no {any_name} at all"
    raise DataError(
        f"{root}: no file of split {split!r} (looked for {' and '.join(wanted)}, .gz too; there is: {there}); "
        f"{ELSEWHERE}, and the split with `split:`"
    )


def read(path: Path, type: type[T]) -> T:
    """A JSON file, gzipped where its name ends with .gz, as a msgspec type.

    Raises:
        DataError: it cannot be read, is no JSON (with line and column), or is not of this type (with the
            record, and the field that was perhaps meant).
    """
    return _decode(_bytes(path), type, path)


def records(paths: Sequence[Path], type: type[T]) -> Iterator[T]:
    """The records of results files: JSON lists, or JSON lines, gzipped where the name ends with .gz.

    Raises:
        DataError: as `read` does, naming the record or the line.
    """
    for path in paths:
        content = _bytes(path)
        if not content.strip():
            raise DataError(f"{path}: is empty; a results file has a record for each question")
        if content.lstrip().startswith(b"{"):
            for number, line in enumerate(content.splitlines(), 1):
                if line.strip():
                    yield _decode(line, type, f"{path}:{number}", "JSON lines with one record each")
        else:
            yield from _decode(content, list[type], path)  # type: ignore[valid-type]


def _decode(content: bytes, type: type[T], place: Path | str, wanted: str = "JSON") -> T:
    try:
        return msgspec.json.decode(content, type=type)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        position = _position(content)
        if not position and isinstance(error, msgspec.ValidationError):
            raise DataError(f"{place}: {explain(str(error), content)}") from error
        whole = _LONE_SURROGATE.sub(_replaced, content)
        if whole != content:
            return _decode(whole, type, place, wanted)
        raise DataError(f"{place}{position}: not {wanted} ({error}); download or export it again") from error
    except RecursionError as error:
        raise DataError(f"{place}: lists or objects lie too deep in each other; download or export it again") from error


def _replaced(escape: re.Match[bytes]) -> bytes:
    return escape[0] if escape["other"] else rb"\ufffd"


def distinct(samples: Iterable[Sample], place: Path | str) -> Iterator[Sample]:
    """The samples, as long as no id comes twice.

    Raises:
        DataError: one does.
    """
    seen: set[str] = set()
    for sample in samples:
        if sample.id in seen:
            raise DataError(f"{place}: id {sample.id} is there twice; export the data again")
        seen.add(sample.id)
        yield sample


def explain(problem: str, record: Any) -> str:
    """A msgspec validation error in plain words, with a did-you-mean for a missing field.

    Args:
        problem: the error's message.
        record: what was validated, decoded or as JSON.
    """
    what, _, at = problem.partition(" - at ")
    place = at.strip("`").removeprefix("$").removeprefix(".")
    missing = re.fullmatch(r"Object missing required field `(.+)`", what)
    if missing:
        what = f"no field {missing[1]!r}{_hint(missing[1], record, place)}"
    elif what in ("Integer value out of range", "Number out of range"):
        what = "a number of too many digits; download or export it again"
    else:
        what = what[0].lower() + what[1:]
    return f"{place}: {what}" if place else what


def _hint(field: str, record: Any, place: str) -> str:
    """What a missing field is called there; nothing where the record cannot be read apart from its type."""
    try:
        document = msgspec.json.decode(record) if isinstance(record, bytes) else record
    except msgspec.DecodeError:
        return ""
    there = sorted(_at(document, place))
    guesses = near(field, there)
    return f" (did you mean {guesses[0]!r}?)" if guesses else f" (it has: {', '.join(there) or 'none'})"


def _matches(root: Path, pattern: str) -> list[Path]:
    plain = sorted(root.glob(pattern))
    names = {path.name for path in plain}
    return plain + [path for path in sorted(root.glob(pattern + ".gz")) if path.stem not in names]


def _bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(f"{path}: truncated, or no gzip file ({error}); download it again") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return content.removeprefix(b"\xef\xbb\xbf")


def _position(content: bytes) -> str:
    """`:line:column` of the first byte that is no JSON, if any; the standard library's parser counts lines."""
    try:
        json.loads(content)
    except json.JSONDecodeError as error:
        return f":{error.lineno}:{error.colno}"
    except UnicodeDecodeError as error:
        lines = content.count(b"\n", 0, error.start)
        return f":{lines + 1}"
    except (ValueError, RecursionError):  # JSON, but with a number of too many digits, or too deep
        return ""
    return ""


def _at(document: Any, place: str) -> dict[str, Any]:
    """The object at a path such as `questions[3].answers[0]`."""
    for index, key in re.findall(r"\[(\d+)\]|([^.\[\]]+)", place):
        document = document[int(index)] if index else document[key]
    return document if isinstance(document, dict) else {}
