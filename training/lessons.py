"""What a model learns from: pictures with all that is asked about them, and which of it is drawn when."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, field_validator
from torch.utils.data import Dataset

from harness import DataError, ImageRef, Session
from training.arr_coc.alignment import Scene
from training.identity import seen
from training.processes import WORLD
from training.settings import TrainerSettings

if TYPE_CHECKING:
    from training.preparing.datasets import Prepared


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
        UnknownName, ConfigError, DataError: a benchmark is unknown, its split is not there or empty, or a sample has
            no answer.
        ImageError: a picture's file is not there.
    """
    images: dict[str, ImageRef] = {}
    lessons: dict[str, list[Lesson]] = {}
    known: dict[str, Scene] = {}
    for name in benchmarks:
        task = session.benchmark(name, split=split)
        digests: dict[str, str] = {}
        for sample in task.samples():
            request = task.request(sample)
            if len(request.images) != 1:
                raise DataError(
                    f"{task.data}: sample {sample.id!r} has {len(request.images)} pictures; one is learnt from"
                )
            answers = tuple(answer for answer in sample.references if answer.strip())
            if not answers:
                raise DataError(f"{task.data}: sample {sample.id!r} of {name} has no answer, or none but empty ones")
            (image,) = request.images
            if image.name not in digests:
                digests[image.name] = hashlib.sha256(image.read()).hexdigest()
            digest = digests[image.name]
            images.setdefault(digest, image)
            lessons.setdefault(digest, []).append(Lesson(name, request.prompt, answers))
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
    group_by_length: int = Field(default=0, ge=0)
    """Steps whose samples are sorted by the length of their texts, for less padding; 0 sorts none."""
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
        """What is learnt from: benchmark (or dataset and split) -> digest."""
        if (found := self._prepared(session)) is not None:
            return {f"{found.name} [{self.split}]": found.digest}
        return {name: seen(session, session.benchmark(name, split=self.split)) for name in self.shares}

    def parents(self, session: Session) -> dict[str, str]:
        """What it starts from: the dataset, where there is one."""
        found = self._prepared(session)
        return {} if found is None else {found.name: found.digest}

    def pictures(self, session: Session, scenes: Mapping[tuple[str, str], Scene] | None = None) -> Sequence[Picture]:
        """What is learnt from: the dataset's pictures, or those of the benchmarks' own files.

        Args:
            session: the workspace.
            scenes: what is where in pictures, by benchmark and sample group.

        Raises:
            UnknownName, ConfigError, DataError: a share names nothing there, or the split is not there or empty.
            CheckpointError: the dataset is none.
        """
        found = self._prepared(session)
        if found is None:
            return read_pictures(session, list(self.shares), split=self.split, scenes=scenes)
        return found.pictures(list(self.shares), self.split, scenes)

    def _prepared(self, session: Session) -> "Prepared | None":
        if self.dataset is None:
            return None
        # The library takes a second and 150 MB, which benchmarks' own files need not pay.
        from training.preparing.datasets import Prepared

        return Prepared.of(self.dataset, session)

    def draws(self, pictures: Sequence[Picture]) -> "Draws":
        """The training samples in the order in which they are used; each process takes its part of a step."""
        step = self.batch * self.accumulate * WORLD
        return Draws(
            pictures,
            shares=self.shares,
            prompts=self.prompts,
            image_drop=self.image_drop,
            length=self.steps * step,
            seed=self.seed,
            step=step,
            group_by_length=self.group_by_length,
            shown=self.batch if self.scale.strategy == "fsdp" else 0,
        )


class Draws(Dataset[Draw]):
    """The training samples in the order in which they are used.

    What is drawn at a place depends on the seed and the place alone, so training goes on anywhere as if it had never
    stopped. Every picture comes once an epoch.

    Where samples are grouped by length, those of `group_by_length` steps are sorted by the length of their texts and
    dealt out to these steps in runs, the steps in random order. A step, and within it each device's batch, then holds
    texts of about one length, on however many devices the step is spread.
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
        step: int = 1,
        group_by_length: int = 0,
        shown: int = 0,
    ) -> None:
        """Draws `prompts` lessons a picture, benchmarks by their `shares`; `image_drop` of them without the picture.

        Args:
            step: samples of an optimizer step, on all devices together.
            shown: of every so many samples, which are one device's batch, the first has its picture: where weights
                are spread, all devices have to run the same layers. 0 where that doesn't matter.
        """
        self.pictures = pictures
        self.shares = shares
        self.prompts = prompts
        self.image_drop = image_drop
        self.length = length
        self.seed = seed
        self.step = step
        self.shown = shown
        self.group_by_length = group_by_length
        self._order: tuple[int, NDArray[np.int64]] = (-1, np.empty(0, np.int64))
        self._sorted: tuple[int, list[Draw]] = (-1, [])

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, place: int) -> Draw:
        draw = self._draw(place) if not self.group_by_length else self._of_group(place)
        if self.shown and place % self.shown == 0 and not any(draw.seen):
            return replace(draw, seen=(True, *draw.seen[1:]))
        return draw

    def _of_group(self, place: int) -> Draw:
        first, end = self._group(place)
        if self._sorted[0] != first:
            self._sorted = first, self._by_length(first, end)
        return self._sorted[1][place - first]

    def _group(self, place: int) -> tuple[int, int]:
        """The places that are sorted together with this one: of its steps, and of its epoch."""
        size, epoch = self.step * self.group_by_length, place // len(self.pictures)
        first, begin = place // size * size, epoch * len(self.pictures)
        return max(first, begin), min(first + size, begin + len(self.pictures))

    def _by_length(self, first: int, end: int) -> list[Draw]:
        draws = sorted((self._draw(place) for place in range(first, end)), key=text_length)
        start = first // self.step
        of_step = [
            range(max(first, step * self.step), min(end, (step + 1) * self.step))
            for step in range(start, -(-end // self.step))
        ]
        random = np.random.default_rng((self.seed, first, end, self.step))
        waiting = iter(draws)
        dealt = {place: next(waiting) for step in random.permutation(len(of_step)) for place in of_step[step]}
        return [dealt[place] for place in range(first, end)]

    def _draw(self, place: int) -> Draw:
        epoch, index = divmod(place, len(self.pictures))
        if self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self.seed, epoch)).permutation(len(self.pictures))
        picture = self.pictures[int(self._order[1][index])]
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


def text_length(draw: Draw) -> int:
    """Characters of the longest row, to which the others are padded; tokens go with them."""
    return max(len(prompt) + len(answer) for prompt, answer in zip(draw.prompts, draw.answers, strict=True))
