"""Pictures of samples, made small when they are asked for.

No address holds a path: a run and a sample's id are looked up in the benchmark's data, which must still be what the run
was made of.
"""

from __future__ import annotations

import io
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import lru_cache
from typing import Final, TypeAlias

from harness.encoding import DataDigest, encode_sample
from harness.errors import DataError, HarnessError, ImageError
from harness.host import say
from harness.images import decode
from harness.plan import Task
from harness.report.content import Board, ScoredRun
from harness.report.gather import Reporter
from harness.store import Run
from harness.types import ImageRef

SIDE: Final = 640
"""The longest side of a picture, in pixels."""
QUALITY: Final = 80
KEPT: Final = 1024
"""Pictures that are kept, of about 40 kB each."""
DATASETS: Final = 4
"""Datasets of which is kept where their pictures lie."""
AT_ONCE: Final = 4
"""Pictures that are decoded at once; bounds the memory that it takes."""

Places: TypeAlias = Mapping[str, tuple[ImageRef, ...]]
"""Sample id -> where its pictures lie; samples without any are left out."""


class Shelf:
    """The pictures of runs' samples. For many threads."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._places: OrderedDict[tuple[str, str], Places] = OrderedDict()
        self._finding = threading.Lock()
        self._decoding = threading.BoundedSemaphore(AT_ONCE)
        self.picture = lru_cache(KEPT)(self._picture)
        self._board = lru_cache(KEPT)(lambda run: board_of(reporter.store.get(run)))

    def places(self, board: Board) -> Places:
        """Where the pictures of a board's samples lie. Reads the benchmark's data where it was not read lately.

        Raises:
            DataError: the data is not there any more, or is other data than the runs were made of.
        """
        key = (board.benchmark, board.data_digest)
        with self._finding:
            if key not in self._places:
                self._places[key] = _find(self._reporter.task(board), board.data_digest)
                if len(self._places) > DATASETS:
                    self._places.popitem(last=False)
            self._places.move_to_end(key)
            return self._places[key]

    def _picture(self, id: str, sample: str, number: int) -> bytes:
        """A sample's picture as WebP.

        Args:
            id: the run's.
            number: which of the sample's pictures, from 0 on.

        Raises:
            UnknownName: there is no such run.
            ImageError: the sample has no such picture, or it cannot be read.
            DataError: see `places`.
        """
        refs = self.places(self._board(id)).get(sample, ())
        if not 0 <= number < len(refs):
            raise ImageError(f"run {id}: sample {sample!r} has no picture {number}")
        with self._decoding:
            try:
                return _small(refs[number])
            except HarnessError:
                raise
            except Exception as error:  # where a picture lies is a plugin's to know
                raise ImageError(f"run {id}: picture {number} of sample {sample!r}: {say(error)}") from error


def board_of(run: Run) -> Board:
    """A board of nothing but a run, without its scores: enough to find its data."""
    return Board(run.benchmark, str(run.identity["data_digest"]), "", (ScoredRun("A", run, {}),), {}, {})


def _small(ref: ImageRef) -> bytes:
    image = decode(ref)
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", quality=QUALITY, method=3)
    return buffer.getvalue()


def _find(task: Task, data_digest: str) -> Places:
    digest = DataDigest()
    found: dict[str, tuple[ImageRef, ...]] = {}
    for sample in task.samples():
        digest.add(sample, encode_sample(sample))
        if sample.images:
            found[sample.id] = sample.images
    if digest.hexdigest() != data_digest:
        raise DataError(f"{task.data} holds other data than the run was made of")
    return found
