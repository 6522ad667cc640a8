"""What flows through the harness. Frozen, and free of every framework.

Of samples and answers there are millions: those are msgspec structs, which are made ten times faster than frozen
dataclasses and are no work for the garbage collector; `msgspec.structs.replace` changes a copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import msgspec

from harness.errors import ImageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

Json: TypeAlias = Any
"""A value that JSON can hold."""

RESULTS = "results"
"""What stands for the model plugin and for the profile of a run whose answers were read from official results files."""


class _Nothing(Mapping[str, Json]):
    """The mapping of nothing. A read-only view of a dict would be one too, but can't be sent to other processes."""

    __slots__ = ()

    def __getitem__(self, name: str) -> Json:
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0

    def __repr__(self) -> str:
        return "{}"

    def __reduce__(self) -> str:
        return "NOTHING"  # the name of its only object, which copies are too


NOTHING: Mapping[str, Json] = _Nothing()


class ImageRef(Protocol):
    """Where a picture lies. Its bytes are read where they are used, never before; picklable."""

    @property
    def name(self) -> str:
        """The place, as an error message names it."""

    def read(self) -> bytes:
        """The encoded picture.

        Raises:
            ImageError: it is not there or cannot be read.
        """


@dataclass(frozen=True, slots=True)
class FileImage:
    """A picture in a file."""

    path: Path

    @property
    def name(self) -> str:
        return str(self.path)

    def read(self) -> bytes:
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise ImageError(f"{self.path}: cannot be read ({error.strerror})") from error


class Sample(msgspec.Struct, frozen=True, gc=False):
    """One question about pictures, and what is known of its answer. Belongs to the benchmark.

    Attributes:
        id: unique in the benchmark.
        images: lazy references.
        question: the question as the data has it; empty where the task is the same for all (captions).
        references: the accepted answers or captions, repetitions kept.
        group: what clusters its error, as a rule the picture.
        facts: what metrics and breakdowns need beyond that; JSON values only.
        shared: what they need of the whole dataset, such as a list of synonyms: one and the same mapping in all
            samples of it, stored once; JSON values only.
    """

    id: str
    images: tuple[ImageRef, ...]
    question: str
    references: tuple[str, ...]
    group: str
    facts: Mapping[str, Json] = msgspec.field(default_factory=dict)
    shared: Mapping[str, Json] = NOTHING


@dataclass(frozen=True, slots=True)
class Generation:
    """How an answer is generated. A temperature of 0 is greedy."""

    max_new_tokens: int
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Request:
    """What the model sees."""

    images: tuple[ImageRef, ...]
    prompt: str
    generation: Generation


class Usage(msgspec.Struct, frozen=True, gc=False):
    """What an output cost, in tokens and seconds.

    Attributes:
        prompt_tokens: text tokens of the prompt, pictures apart.
        visual_tokens: visual tokens that entered the language model.
        full_visual_tokens: visual tokens of the same pictures without any compression.
        generated_tokens: tokens of the answer, the end token apart.
        seconds: this sample's share of its batch's time on the device.
        peak_bytes: the most memory that its batch held on the device at once, the weights included; 0 where unknown.
    """

    prompt_tokens: int = 0
    visual_tokens: int = 0
    full_visual_tokens: int = 0
    generated_tokens: int = 0
    seconds: float = 0.0
    peak_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Trace:
    """What a model tells of how it came to its answer; the host knows none of the names.

    Attributes:
        maps: name -> rows of numbers over the picture's grid.
        scalars: name -> number.
    """

    maps: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    scalars: Mapping[str, float] = field(default_factory=dict)


class Output(msgspec.Struct, frozen=True, gc=False):
    """What the model said, raw. Belongs to the model."""

    text: str
    usage: Usage = Usage()
    trace: Trace | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """No answer. Never scored as one.

    Attributes:
        kind: a short stable name: "unreadable_image", "prepare", "generate", "out_of_memory" …
        message: what happened, and where.
    """

    kind: str
    message: str


class Prediction(msgspec.Struct, frozen=True, gc=False):
    """What became of one sample. `position` is the sample's place in the benchmark's order."""

    position: int
    sample_id: str
    result: Output | Failure


class Pair(msgspec.Struct, frozen=True, gc=False):
    """A sample and its answer, as metrics see them; failures are not among them.

    `answer` is the output's text as the benchmark's profile parses it.
    """

    sample: Sample
    answer: str
    output: Output


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What a metric found. n is the number of pairs that it was given, in their order.

    Attributes:
        value: the score; None where there is nothing to measure, such as the tokens of a model that uses none.
        per_sample: [n] a value a pair, NaN where the pair has none. Without `reduce`, `value` is their mean.
        statistics: [n, k] sufficient statistics a pair, of a corpus metric.
        reduce: [..., k] summed statistics -> [...] values; vectorised, so that resampling is a matrix product.
        labels: breakdown -> [n] key a pair, None where it belongs to no key.
        incomparable: why the value is not comparable with published ones; empty where it is.
        replicates: [b] the value without each of b disjoint parts of the pairs, cut along `Sample.group` and by the
            samples alone, so that they are the same for all models: the jackknife of a score that has neither.
    """

    value: float | None
    per_sample: FloatArray | None = None
    statistics: FloatArray | None = None
    reduce: Callable[[FloatArray], FloatArray] | None = None
    labels: Mapping[str, Sequence[str | None]] = field(default_factory=dict)
    incomparable: str = ""
    replicates: FloatArray | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """A measured value with its uncertainty.

    Attributes:
        value: the score, in its metric's unit.
        n: samples that it is made of.
        clusters: groups that they fall into.
        stderr, low, high: standard error and 95% interval, clustered by `Sample.group`; None where unknown.
        by: breakdown -> key -> score.
        note: what a reader must know, such as why it is not comparable.
    """

    value: float
    n: int
    clusters: int
    stderr: float | None = None
    low: float | None = None
    high: float | None = None
    by: Mapping[str, Mapping[str, Score]] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where a benchmark's data lies: a folder, or a dataset on the hub at a pinned revision.

    Attributes:
        path: a folder in the official layout, or a local copy of the dataset (`load_from_disk`, parquet files).
        hub: `org/name` of a dataset repository; needs `revision`, a full commit.
        config, split: of the dataset; `split` also picks the files of an official folder ("train", "val" …).
    """

    path: Path | None = None
    hub: str | None = None
    revision: str | None = None
    config: str | None = None
    split: str | None = None

    def __str__(self) -> str:
        where = str(self.path) if self.path is not None else f"{self.hub}@{self.revision}"
        return where + (f" [{self.split}]" if self.split else "")


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a checkpoint (or dataset, or evaluation) in a store.

    Attributes:
        digest: over all its files' names and contents, as W&B computes an artifact's.
        parents: digests of what it was made from.
    """

    name: str
    number: int
    digest: str
    type: str
    aliases: tuple[str, ...]
    created: str
    size: int
    metadata: Mapping[str, Json]
    parents: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}:v{self.number}"


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One move of an alias. `before` is None at its first, `after` None at its removal."""

    alias: str
    before: int | None
    after: int | None
    when: str
    who: str
    reason: str
