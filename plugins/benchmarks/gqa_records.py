"""GQA's official files: questions, the answers that would fit them, and the boxes of scene graphs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from harness import DataError, Json
from plugins.benchmarks import official

T = TypeVar("T")

Number = int | float
Length = Annotated[int, msgspec.Meta(gt=0)] | Annotated[float, msgspec.Meta(gt=0)]

SPLIT_OF_FILE = re.compile(r"(?P<split>.+?)(_balanced|_all)?_questions\.json")
# eval.py leaves out steps whose text has one of these in it: they look something up and reason no further.
NO_REASONING = ("exist", "query: name", "choose name")


class Types(msgspec.Struct, gc=False):
    structural: str | None = None
    semantic: str | None = None
    detailed: str | None = None


class Groups(msgspec.Struct, gc=False, rename={"all": "global"}):
    all: str | None = None


class Step(msgspec.Struct, gc=False):
    operation: str
    argument: str | None = None


class Question(msgspec.Struct, gc=False, rename="camel"):
    """A question as the official files have it; the hub's copy writes lists of ids as text."""

    image_id: str
    question: str
    answer: str
    types: Types = msgspec.field(default_factory=Types)
    groups: Groups = msgspec.field(default_factory=Groups)
    full_answer: str | None = None
    is_balanced: bool = True
    entailed: list[str] | str = msgspec.field(default_factory=list)
    equivalent: list[str] | str = msgspec.field(default_factory=list)
    semantic: list[Step] | None = None

    @property
    def steps(self) -> int | None:
        """Steps of reasoning in the functional program, as eval.py counts them."""
        if self.semantic is None:
            return None
        texts = (f"{step.operation}: {step.argument}" for step in self.semantic)
        return sum(not any(part in text for part in NO_REASONING) for text in texts)


class Annotations(msgspec.Struct, gc=False, rename="camel"):
    """Words of a text, by their places -> the id of the object that they name."""

    question: dict[str, str] = msgspec.field(default_factory=dict)
    full_answer: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def objects(self) -> list[str]:
        """Those of the question, then those of the full answer, as often as they are named."""
        return [*self.question.values(), *self.full_answer.values()]


class Pointing(msgspec.Struct, gc=False, rename="camel", kw_only=True):
    image_id: str
    annotations: Annotations | None = None


class Record(Question, gc=False, kw_only=True, rename="camel"):
    annotations: Annotations | None = None


class Choices(msgspec.Struct, gc=False):
    valid: msgspec.Raw
    plausible: msgspec.Raw


class Scene(msgspec.Struct, gc=False):
    width: Length
    height: Length
    objects: dict[str, msgspec.Raw]


class Box(msgspec.Struct, gc=False):
    x: Number
    y: Number
    w: Number
    h: Number


def decoded(records: Mapping[str, msgspec.Raw], type: type[T], place: str) -> Iterator[tuple[str, T]]:
    """Records by their keys, one after the other.

    Args:
        place: what errors begin with; the record's key follows.

    Raises:
        DataError: one is not of this type.
    """
    decoder = msgspec.json.Decoder(type)
    for key, raw in records.items():
        try:
            record = decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise DataError(f"{place} {key}: {official.explain(str(error), bytes(raw))}") from error
        except UnicodeDecodeError as error:
            raise DataError(f"{place} {key}: {error}; download it again") from error
        yield key, record


def beside(root: Path, questions: Path, what: str) -> Path | None:
    """The file of this kind that belongs to a file of questions: by its split's name, or by no split's.

    It lies in the folder of the data, or in a folder in it (`eval/`, `sceneGraphs/`), gzipped or not.
    """
    split = SPLIT_OF_FILE.match(questions.name)
    for name in ([f"{split['split']}_{what}.json"] if split else []) + [f"{what}.json"]:
        for pattern in (name, f"{name}.gz", f"*/{name}", f"*/{name}.gz"):
            for path in sorted(root.glob(pattern)):
                return path
    return None


def read_choices(path: Path, ids: Iterable[str]) -> tuple[list[list[str]], dict[str, tuple[int, int]]]:
    """The answers that would fit questions. The lists are long, and many questions share them.

    Returns:
        the distinct lists, and question -> the places among them of its valid and of its plausible answers.

    Raises:
        DataError: the file is of another layout.
    """
    records = official.read(path, dict[str, msgspec.Raw])
    wanted = {key: records[key] for key in ids if key in records}
    numbers: dict[bytes, int] = {}
    lists: dict[str, msgspec.Raw] = {}

    def number(key: str, raw: msgspec.Raw) -> int:
        content = bytes(raw)
        if content not in numbers:
            numbers[content] = len(numbers)
            lists[key] = raw
        return numbers[content]

    places = {
        key: (number(f"{key}, valid", found.valid), number(f"{key}, plausible", found.plausible))
        for key, found in decoded(wanted, Choices, f"{path}: question")
    }
    return [entries for _, entries in decoded(lists, list[str], f"{path}: question")], places


def read_scenes(path: Path, wanted: Mapping[str, Iterable[str]]) -> dict[str, Json]:
    """The boxes of objects in pictures.

    Args:
        wanted: picture -> the ids of objects. Pictures without a scene graph are left out.

    Returns:
        picture -> `size` [width, height] and `boxes`: object -> [x, y, w, h], in pixels.

    Raises:
        DataError: the file is of another layout, or a picture lacks an object.
    """
    records = official.read(path, dict[str, msgspec.Raw])
    graphs = {image: records[image] for image in wanted if image in records}
    scenes: dict[str, Json] = {}
    for image, scene in decoded(graphs, Scene, f"{path}: image"):
        for name in wanted[image]:
            if name not in scene.objects:
                raise DataError(f"{path}: image {image}: no object {name!r}, which a question points to")
        objects = {name: scene.objects[name] for name in wanted[image]}
        boxes = decoded(objects, Box, f"{path}: image {image}, object")
        scenes[image] = {
            "size": [scene.width, scene.height],
            "boxes": {name: list(msgspec.structs.astuple(box)) for name, box in boxes},
        }
    return scenes
