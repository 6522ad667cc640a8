"""METEOR 1.5 (Denkowski and Lavie, 2014), by the program that pycocoevalcap brings; it needs Java."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pycocoevalcap.meteor import meteor

from harness import HarnessError, Measured, MetricInfo, Pair
from plugins.metrics.captions import POINTS, captions
from plugins.metrics.java import java

JAR = Path(meteor.__file__).with_name(meteor.METEOR_JAR)
SEPARATOR = "|||"

# The program's parameters for English. Stages of matching: exact, stem, synonym, paraphrase.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
STAGE_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])

Floats = NDArray[np.float64]
Ask = Callable[[str, int], list[str]]


class Meteor:
    """METEOR with pycocoevalcap's settings (English, normalised); the score of the set comes from summed statistics.

    Statistics of a pair: [23] the program's own counts (see `corpus_meteor`).
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"meteor": replace(POINTS, needs=("java",))}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        read, labels = captions(pairs)
        if not read.groups:
            return {"meteor": Measured(None)}
        with _program() as ask:
            counts: list[str] = []
            for answer, *references in read.groups:
                try:
                    counts += ask(_line("SCORE", *references, answer), 1)
                except HarnessError as error:
                    pair = next(islice(iter(pairs), len(counts), None))
                    size = f"{len(pair.answer):,} characters"
                    raise HarnessError(f"{error}; it was given the answer to {pair.sample.id!r}, {size}") from error
            *per_pair, value = map(float, ask(_line("EVAL", *counts), len(counts) + 1))
        statistics = _unbroken(np.array([line.split() for line in counts], np.float64))
        return {"meteor": Measured(value, np.array(per_pair), statistics, corpus_meteor, labels=labels)}


def corpus_meteor(sums: Floats) -> Floats:
    """[..., 23] summed counts -> [...] scores.

    Counts: words of answer and reference; function words of answer and reference; for each stage, matched content
    words of answer and reference, matched function words of answer and reference; chunks (none where the two are
    the same throughout); matched words of answer and reference.

    Content and function words weigh δ and 1 - δ, matches by stage besides; the score is
    Fα(precision, recall) · (1 - γ · fragmentation^β).
    """
    lengths, function = sums[..., 0:2], sums[..., 2:4]
    stages = sums[..., 4:20].reshape(*sums.shape[:-1], 4, 2, 2)  # stage, content or function, answer or reference
    matched = np.einsum("s,k,...skt->...t", STAGE_WEIGHTS, [DELTA, 1 - DELTA], stages)
    weight = DELTA * (lengths - function) + (1 - DELTA) * function
    precision, recall = np.moveaxis(_ratio(matched, weight), -1, 0)
    mean = _ratio(precision * recall, ALPHA * precision + (1 - ALPHA) * recall)
    fragmentation = _ratio(sums[..., 20], sums[..., 21:23].mean(axis=-1))
    return mean * (1 - GAMMA * fragmentation**BETA)


def _unbroken(counts: Floats) -> Floats:
    """[n, 23] counts, no chunk in a pair that is matched throughout as one: the program drops these when it sums."""
    whole = np.all(counts[:, 21:23] == counts[:, 0:2], axis=1) & (counts[:, 20] == 1)
    counts[whole, 20] = 0
    return counts


def _ratio(part: Floats, whole: Floats) -> Floats:
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)


def _line(command: str, *parts: str) -> str:
    return f" {SEPARATOR} ".join([command, *(part.replace(SEPARATOR, "") for part in parts)])


@contextmanager
def _program() -> Iterator[Ask]:
    """The running program: a line to write, and the number of lines that it answers with.

    Raises:
        MissingExtra: there is no Java.
        HarnessError: the program ended early.
    """
    command = [java(), "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(JAR), "-", "-", "-stdio", "-l", "en", "-norm"]
    with subprocess.Popen(
        command,
        cwd=JAR.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        encoding="utf-8",
        errors="replace",
    ) as program:
        stdin, stdout = program.stdin, program.stdout
        assert stdin is not None
        assert stdout is not None

        def ask(line: str, answers: int) -> list[str]:
            try:
                stdin.write(line + "\n")
                stdin.flush()
            except BrokenPipeError as error:
                raise HarnessError(f"{JAR}: ended early; run it by hand to see why: {' '.join(command)}") from error
            lines = [stdout.readline().strip() for _ in range(answers)]
            if not lines[-1]:
                raise HarnessError(f"{JAR}: ended early; run it by hand to see why: {' '.join(command)}")
            return lines

        try:
            yield ask
        finally:
            program.kill()
            with suppress(BrokenPipeError):  # closing writes what the program did not take
                stdin.close()
