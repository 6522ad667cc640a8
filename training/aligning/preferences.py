"""Preferences: for a picture and a prompt, the better of two answers. All records are checked before any is used.

A file holds one JSON object a line: {"image": …, "prompt": …, "chosen": …, "rejected": …}, the image's path relative to
the file. A dataset of the hub, or a folder that `save_to_disk` wrote, has the same four columns, the image as itself.
"""

from __future__ import annotations

import hashlib
import io
import json
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

from PIL import Image

from harness import DataError, FileImage, ImageError, ImageRef, Json, Session, near

FIELDS = ("image", "prompt", "chosen", "rejected")
SHOWN = 12
"""Bad records that an error names; the others are counted."""
OnBad: TypeAlias = Literal["error", "skip"]


@dataclass(frozen=True, slots=True)
class Preference:
    """One record.

    Attributes:
        where: `file:line`, or the dataset's row.
    """

    where: str
    image: ImageRef
    prompt: str
    chosen: str
    rejected: str


@dataclass(frozen=True, slots=True)
class Preferences:
    """The records that can be used, in their order.

    Attributes:
        skipped: what was wrong -> how many records were left out for it.
    """

    records: Sequence[Preference]
    skipped: Mapping[str, int]

    def digest(self, session: Session) -> str:
        """The hash of all that is learnt from: pictures by content, and texts."""
        digest = hashlib.sha256()
        for record in self.records:
            texts = [session.store.hash_image(record.image), record.prompt, record.chosen, record.rejected]
            digest.update(json.dumps(texts).encode())
        return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Bad:
    """What is wrong with a record, in which field, and the next step; `kind` is what such records are counted by."""

    where: str
    field: str
    kind: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.field}: {self.kind}; {self.hint}"


@dataclass(frozen=True, slots=True)
class RowImage:
    """A picture in a dataset's row."""

    name: str
    rows: Any
    row: int

    def read(self) -> bytes:
        """The encoded picture.

        Raises:
            ImageError: the row has none.
        """
        value = self.rows[self.row]["image"] or {}
        if value.get("bytes"):
            return bytes(value["bytes"])
        if value.get("path"):
            return FileImage(Path(value["path"])).read()
        raise ImageError(f"{self.name}: the row has no picture")


def read_preferences(source: str, *, revision: str | None = None, on_bad: OnBad = "error") -> Preferences:
    """All records of a file (`….jsonl`), of a dataset's folder, or of a dataset on the hub at a commit.

    Args:
        on_bad: whether records that cannot be used are an error, or are left out and counted.

    Raises:
        DataError: the source is not there; records are bad, of which the first are named; or none is left.
    """
    path = Path(source).expanduser()
    if path.is_file():
        rows = _lines(path)
    elif path.is_dir():
        rows = _dataset(source, None)
    elif source.startswith((".", "/", "~")) or path.suffix in (".jsonl", ".json") or source.count("/") != 1:
        raise DataError(f"{source}: no such file; `harness data synth` writes preferences/train.jsonl")
    else:
        rows = _dataset(source, revision)
    checker = _Checker(path.parent)
    records = [record for where, row in rows if (record := checker.check(where, row)) is not None]
    bad = checker.bad
    if bad and on_bad == "error":
        named = "\n".join(f"  {problem}" for problem in bad[:SHOWN])
        more = f"\n  and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        total = len(bad) + len(records)
        raise DataError(f"{source}: {len(bad)} of {total} records are bad (`on_bad: skip` omits such):\n{named}{more}")
    if not records:
        raise DataError(f"{source}: no record that can be used; write {{{', '.join(FIELDS)}}} a line")
    return Preferences(records, dict(Counter(problem.kind for problem in bad)))


class _Checker:
    """Looks at records one after another, remembering those before; paths are relative to `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.bad: list[Bad] = []
        self._seen: dict[tuple[str, ...], str] = {}
        self._images: dict[str, str | None] = {}

    def check(self, where: str, row: Json | Bad) -> Preference | None:
        """The record, or None where it is bad."""
        found = row if isinstance(row, Bad) else self._first_problem(where, row)
        if isinstance(found, Bad):
            self.bad.append(found)
            return None
        return found

    def _first_problem(self, where: str, row: Json) -> Bad | Preference:
        if not isinstance(row, dict):
            return Bad(where, "record", f"a {type(row).__name__}", f"write an object {{{', '.join(FIELDS)}}}")
        if unknown := [key for key in row if key not in FIELDS]:
            guess = near(unknown[0], FIELDS)
            return Bad(where, unknown[0], "unknown key", f"did you mean {guess[0]!r}?" if guess else "remove it")
        for name in FIELDS:
            if name not in row:
                return Bad(where, name, "missing", "add it")
            value = row[name]
            if not isinstance(value, str) and not (name == "image" and isinstance(value, RowImage)):
                return Bad(where, name, f"a {type(value).__name__}, not text", "write it as text")
            if isinstance(value, str) and not value.strip():
                return Bad(where, name, "empty", "write it, or remove the record")
        image = row["image"] if isinstance(row["image"], RowImage) else FileImage(self._folder / row["image"])
        if (fault := self._fault(image)) is not None:
            return Bad(where, "image", fault, f"{image.name}: put a picture there, or correct the path")
        record = Preference(where, image, row["prompt"], row["chosen"], row["rejected"])
        return self._compared(record) or record

    def _fault(self, image: ImageRef) -> str | None:
        if image.name not in self._images:
            self._images[image.name] = _picture_fault(image)
        return self._images[image.name]

    def _compared(self, record: Preference) -> Bad | None:
        """What is wrong with it beside its own other side, and the records before it."""
        chosen, rejected = normalised(record.chosen), normalised(record.rejected)
        if chosen == rejected:
            return Bad(record.where, "rejected", "identical to chosen", "write a worse answer, or remove the record")
        about = (record.image.name, normalised(record.prompt))
        for sides, kind in (((chosen, rejected), "duplicate"), ((rejected, chosen), "contradiction")):
            if (before := self._seen.get((*about, *sides))) is not None:
                return Bad(record.where, "record", kind, f"remove it or {before}, which says the {_SAYS[kind]}")
        self._seen[(*about, chosen, rejected)] = record.where
        return None


_SAYS = {"duplicate": "same", "contradiction": "opposite"}


def normalised(text: str) -> str:
    """Texts that a reader would take for the same one become equal: case, white space and Unicode's variants."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def _picture_fault(image: ImageRef) -> str | None:
    """What is wrong with a picture, as its first bytes tell."""
    source: Path | io.BytesIO
    try:
        source = image.path if isinstance(image, FileImage) else io.BytesIO(image.read())
        with Image.open(source):
            return None
    except FileNotFoundError:
        return "no such file"
    except (ImageError, OSError, SyntaxError, ValueError):
        return "no picture that can be read"


def _lines(path: Path) -> Iterator[tuple[str, Json | Bad]]:
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                where = f"{path}:{number}"
                if not line.strip():
                    continue
                try:
                    yield where, json.loads(line)
                except ValueError as error:
                    yield where, Bad(where, "record", f"not JSON ({error})", "write one JSON object a line")
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _dataset(source: str, revision: str | None) -> Iterator[tuple[str, Json | Bad]]:
    """Rows of a dataset's folder, or of one on the hub at its revision; of several splits, `train`."""
    import datasets

    folder = Path(source).expanduser()
    try:
        if folder.is_dir():
            found = datasets.load_from_disk(str(folder))
            rows = found["train"] if isinstance(found, datasets.DatasetDict) else found
        elif revision is None:
            raise DataError(f"{source}: no such file; of one on the hub, pin the commit with preferences_revision:")
        else:
            rows = datasets.load_dataset(source, revision=revision, split="train")
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{source}: no dataset with a split `train` can be read ({error})") from error
    if isinstance(rows.features.get("image"), datasets.Image):
        rows = rows.cast_column("image", datasets.Image(decode=False))
    for number, texts in enumerate(rows.remove_columns("image") if "image" in rows.column_names else rows):
        where = f"{source}[{number}]"
        yield where, {"image": RowImage(where, rows, number), **texts}
