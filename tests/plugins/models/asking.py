"""Requests, a store of folders, and asking a model, for the model plugins' tests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transformers import AutoModelForImageTextToText, AutoProcessor

from harness import Generation, ImageRef, Request, UnknownName, digest_directory

QUESTIONS = (
    "what color is the dog?",
    "is there a man near the white table on the left of the picture?",
    "why",
    "how many people are standing in the street and holding a brown board?\nAnswer the question using a single word.",
    "which kind of food is on the plate?\nAnswer the question using a single word or phrase.",
)


@dataclass(frozen=True)
class Folder:
    """A checkpoint that lies in a folder."""

    path: Path
    version: str | None = None

    @property
    def digest(self) -> str:
        return digest_directory(self.path)

    def checkout(self) -> Path:
        return self.path


@dataclass(frozen=True)
class Folders:
    """The part of a CheckpointStore that finds: `name:ref` among the given, or a folder."""

    known: Mapping[str, Path]

    def names(self) -> list[str]:
        return sorted({key.split(":")[0] for key in self.known})

    def resolve(self, name: str, ref: str) -> Folder:
        if ref.startswith((".", "/", "~")):
            return Folder(Path(ref).expanduser())
        if name not in self.names():
            raise UnknownName("checkpoint", name, self.names())
        return Folder(self.known[f"{name}:{ref}"], "v1")


def ask(images: Sequence[ImageRef], question: str = QUESTIONS[0], new: int = 8) -> Request:
    return Request(tuple(images), question, Generation(new))


def loaded(folder: Path) -> tuple[Any, Any]:
    """The processor and the model of a folder, as transformers' documentation loads them."""
    kinds: tuple[Any, Any] = (AutoProcessor, AutoModelForImageTextToText)
    return kinds[0].from_pretrained(folder), kinds[1].from_pretrained(folder)


def answers(spec: Any, requests: Sequence[Request], batch: int) -> list[Any]:
    """What the model of a spec says to requests, asked in batches of that size."""
    preparer, model = spec.preparer(), spec.load("cpu")
    prepared = [preparer.prepare(request) for request in requests]
    outputs: list[Any] = []
    for start in range(0, len(prepared), batch):
        outputs += model.generate(preparer.collate(prepared[start : start + batch]))
    model.close()
    return outputs
