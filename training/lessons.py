"""What a model learns from: pictures with all that is asked about them, and which of it is drawn when."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import Field, field_validator
from torch.utils.data import Dataset

from harness import DataError, ImageRef, Session
from training.alignment import Scene
from training.processes import WORLD as WORLD
from training.settings import TrainerSettings


@dataclass(frozen=True, slots=True)
class Lesson:
    """One prompt about a picture with its accepted answers, repetitions kept."""

    benchmark: str
    prompt: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and its lessons, from whatever benchmarks it is in, and what is where in it, if that is known."""

    image: ImageRef
    lessons: tuple[Lesson, ...]
    scene: Scene | None = None


@dataclass(frozen=True, slots=True)
class Draw:
    """A picture with the prompts and answers drawn for it. Where `seen` is False the prompt goes without it."""

    picture: Picture
    prompts: tuple[str, ...]
    answers: tuple[str, ...]
    seen: tuple[bool, ...]


def read_pictures(
    session: Session,
    benchmarks: Sequence[str],
    *,
    split: str,
    scenes: Mapping[tuple[str, str], Scene] | None = None,
) -> list[Picture]:
    """All samples of a split, one entry a picture. The same picture in several benchmarks, by its bytes, is one.

    `scenes` are those of pictures by benchmark and sample group.

    Raises:
        UnknownName, ConfigError, DataError: a benchmark is unknown, or its split is not there or empty.
    """
    images: dict[str, ImageRef] = {}
    lessons: dict[str, list[Lesson]] = {}
    known: dict[str, Scene] = {}
    for name in benchmarks:
        task = session.benchmark(name, split=split)
        digests: dict[str, str] = {}
        for sample in task.samples():
            request = task.request(sample)
            (image,) = request.images
            if image.name not in digests:
                digests[image.name] = hashlib.sha256(image.read()).hexdigest()
            digest = digests[image.name]
            images.setdefault(digest, image)
            lessons.setdefault(digest, []).append(Lesson(name, request.prompt, sample.references))
            if scenes and (scene := scenes.get((name, sample.group))):
                known[digest] = scene
        if not digests:
            raise DataError(f"{task.data}: the split {split!r} of {name} holds nothing to learn")
    return [Picture(images[digest], tuple(found), known.get(digest)) for digest, found in lessons.items()]


class LearningSettings(TrainerSettings):
    """What the stages that learn from prompts and answers have."""

    shares: dict[str, float] = Field(min_length=1)
    """Benchmarks that are learnt, and how much of the prompts each gets."""
    split: str = "train"
    """The split that is learnt from."""
    dataset: str | None = None
    """`NAME:ref` of a dataset that a `data` stage published; without one the benchmarks' own files are read."""
    prompts: int = Field(default=1, ge=1)
    """Prompts a picture."""
    image_drop: float = Field(default=0.0, ge=0, le=1)
    """Share of prompts that go without their picture."""

    @field_validator("shares")
    @classmethod
    def _positive(cls, shares: dict[str, float]) -> dict[str, float]:
        if not all(share > 0 for share in shares.values()):
            raise ValueError(f"every share must be above 0, got {shares}")
        return shares

    def data_digests(self, session: Session) -> dict[str, str]:
        """What is learnt from: benchmark -> digest of its samples."""
        return {name: session.benchmark(name, split=self.split).digest() for name in self.shares}

    def draws(self, pictures: Sequence[Picture]) -> "Draws":
        """The training samples in the order in which they are used; each process takes its part of a step."""
        return Draws(
            pictures,
            shares=self.shares,
            prompts=self.prompts,
            image_drop=self.image_drop,
            length=self.steps * self.batch * self.accumulate * WORLD,
            seed=self.seed,
        )


class Draws(Dataset[Draw]):
    """The training samples in the order in which they are used.

    What is drawn at a place depends on the seed and the place alone, so training goes on anywhere as if it had never
    stopped. Every picture comes once an epoch.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        *,
        shares: Mapping[str, float],
        prompts: int,
        image_drop: float,
        length: int,
        seed: int,
    ) -> None:
        """Draws `prompts` lessons a picture, benchmarks by their `shares`; `image_drop` of them without the picture."""
        self.pictures = pictures
        self.shares = shares
        self.prompts = prompts
        self.image_drop = image_drop
        self.length = length
        self.seed = seed

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> Draw:
        epoch, index = divmod(place, len(self.pictures))
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.pictures))
        picture = self.pictures[int(order[index])]
        random = np.random.default_rng((self.seed, epoch, index))
        counts = Counter(lesson.benchmark for lesson in picture.lessons)
        weights = np.array([self.shares[lesson.benchmark] / counts[lesson.benchmark] for lesson in picture.lessons])
        few = np.count_nonzero(weights) < self.prompts
        chosen = random.choice(len(weights), self.prompts, replace=bool(few), p=weights / weights.sum())
        lessons = [picture.lessons[int(index)] for index in chosen]
        return Draw(
            picture,
            tuple(lesson.prompt for lesson in lessons),
            tuple(lesson.answers[int(random.integers(len(lesson.answers)))] for lesson in lessons),
            tuple(bool(chance >= self.image_drop) for chance in random.random(len(lessons))),
        )
