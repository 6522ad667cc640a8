"""The samples of a board with every run's answers, as the page's browser takes them: columns of JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from harness.report.content import Board, ScoredRun
from harness.report.text import short
from harness.stats import FloatArray
from harness.store import RunStore
from harness.types import Json, Output, Prediction, Sample, Trace

SAMPLES = 20_000
"""Samples in a page, at most."""
CUT = 2_000
"""Characters of a text that are searched and shown at once; the rest comes on demand."""
WHOLE = 1_000_000
"""Characters of a text that are kept at all."""
HALF = 0.5
"""An answer is right from this score on, where scores are fractions."""
KEYS = 200
"""Different values of a fact that samples can be filtered by, at most."""


@dataclass(frozen=True, slots=True)
class Answers:
    """A run's answers. Lists have one item a row of the table, None where the run has none.

    Attributes:
        failures: row -> kind and message.
        usage: row -> prompt, visual, full visual and generated tokens.
        scores: score -> the rows' own values.
        traces: row -> trace.
    """

    text: list[str | None]
    usage: list[list[int] | None]
    failures: dict[int, tuple[str, str]]
    scores: dict[str, list[float | None]]
    traces: dict[int, Trace]

    @classmethod
    def none(cls, rows: int) -> Answers:
        """No answer to any of so many rows."""
        return cls([None] * rows, [None] * rows, {}, {}, {})


@dataclass(frozen=True, slots=True)
class Table:
    """Samples and all runs' answers to them.

    Attributes:
        total: samples that any of the runs has answered, of which these are all, or evenly spaced ones.
        places: place in the benchmark's order -> row.
        samples: one a row.
        answers: one a run of the board.
    """

    board: Board
    total: int
    places: Mapping[int, int]
    samples: list[Sample]
    answers: tuple[Answers, ...]

    @property
    def halving(self) -> float | None:
        """From which value of the main figure on an answer counts as right; None where it has no value a sample."""
        main = self.board.main
        columns = [answers.scores[main] for answers in self.answers if main in answers.scores]
        values = [value for column in columns for value in column if value is not None]
        if main is None or not values:
            return None
        return HALF if self.board.is_fraction(main) else float(np.median(values))


def read_table(store: RunStore, board: Board, limit: int = SAMPLES) -> Table:
    """The board's samples, evenly spaced ones where there are more than `limit`."""
    asked = sorted(set().union(*(store.answered(item.run) for item in board.runs)))
    chosen = (
        asked if len(asked) <= limit else [asked[place] for place in np.linspace(0, len(asked) - 1, limit, dtype=int)]
    )
    places = {position: row for row, position in enumerate(chosen)}
    samples: dict[int, Sample] = {}
    answers = tuple(_read(store, board, item, places, samples) for item in board.runs)
    return Table(board, len(asked), places, [samples[row] for row in range(len(places))], answers)


def _read(
    store: RunStore, board: Board, item: ScoredRun, places: Mapping[int, int], samples: dict[int, Sample]
) -> Answers:
    """A run's answers; the samples that they belong to are put into `samples`."""
    found = Answers.none(len(places))
    columns = store.per_sample(item.run, board.protocol)
    found.scores.update({name: [None] * len(places) for name in columns})
    answered = -1
    for sample, prediction in store.predictions(item.run):
        answered += isinstance(prediction.result, Output)
        row = places.get(prediction.position)
        if row is not None:
            samples.setdefault(row, sample)
            _put(found, row, prediction, columns, answered)
    return found


def _put(found: Answers, row: int, prediction: Prediction, columns: Mapping[str, FloatArray], answered: int) -> None:
    result = prediction.result
    if not isinstance(result, Output):
        found.failures[row] = (result.kind, result.message)
        return
    usage = result.usage
    found.text[row] = result.text
    found.usage[row] = [usage.prompt_tokens, usage.visual_tokens, usage.full_visual_tokens, usage.generated_tokens]
    if result.trace is not None:
        found.traces[row] = result.trace
    for name, values in columns.items():
        found.scores[name][row] = short(values[answered].item())


@dataclass(frozen=True, slots=True)
class Columns:
    """A table as the page's script takes it.

    Attributes:
        document: everything but the ends of long texts.
        long: place -> the whole of a text of which the document holds the beginning, up to `WHOLE` characters.
    """

    document: dict[str, Json]
    long: dict[str, str]


def columns(table: Table) -> Columns:
    """The table as columns of JSON."""
    board, samples, long = table.board, table.samples, dict[str, str]()

    def cut(text: str, place: str) -> Json:
        """The text; its beginning and its length where it is long."""
        if len(text) <= CUT:
            return text
        long[place] = text[:WHOLE]
        return [text[:CUT], len(text), place]

    runs = [
        {
            "letter": item.letter,
            "name": item.document["model"]["ref"],
            "shown": item.shown,
            "text": [
                None if text is None else cut(text, f"a{item.letter}.{row}") for row, text in enumerate(answers.text)
            ],
            "usage": answers.usage,
            "failures": {
                row: [kind, cut(text, f"f{item.letter}.{row}")] for row, (kind, text) in answers.failures.items()
            },
            "scores": answers.scores,
        }
        for item, answers in zip(board.runs, table.answers, strict=True)
    ]
    document = {
        "benchmark": board.benchmark,
        "main": board.main,
        "halving": short(table.halving),
        "fraction": board.main is not None and board.is_fraction(board.main),
        "rises": board.main is None or board.rises(board.main) is not False,
        "total": table.total,
        "ids": [sample.id for sample in samples],
        "questions": [cut(sample.question, f"q.{row}") for row, sample in enumerate(samples)],
        "references": [
            [[cut(text, f"r{place}.{row}"), times] for place, (text, times) in enumerate(_counted(sample.references))]
            for row, sample in enumerate(samples)
        ],
        "facets": facets(samples, _breakdowns(board)),
        "runs": runs,
    }
    return Columns(document, long)


def facets(samples: Sequence[Sample], breakdowns: Sequence[str]) -> dict[str, dict[str, Json]]:
    """What samples can be filtered by: their facts that have few values, those that scores are broken down by first.

    Returns:
        Name -> keys, and the number of each row's key, -1 where it has none.
    """
    columns: dict[str, list[str | None]] = {}
    for row, sample in enumerate(samples):
        for name, value in _flat(sample.facts):
            columns.setdefault(name, [None] * len(samples))[row] = value
    leaves = Counter(name.rpartition(".")[2] for name in columns)
    named = {
        (leaf if leaves[leaf := name.rpartition(".")[2]] == 1 else name): column for name, column in columns.items()
    }
    found: dict[str, dict[str, Json]] = {}
    for name in sorted(named, key=lambda name: (name not in breakdowns, name)):
        keys = sorted({key for key in named[name] if key is not None})
        if 1 < len(keys) <= (KEYS if name in breakdowns else min(KEYS, len(samples) // 4)):
            numbers = {key: place for place, key in enumerate(keys)}
            found[name] = {"keys": keys, "codes": [-1 if key is None else numbers[key] for key in named[name]]}
    return found


def _flat(facts: Mapping[str, Json], before: str = "") -> list[tuple[str, str]]:
    """The facts that are words, numbers or truths, by their path."""
    found: list[tuple[str, str]] = []
    for name, value in facts.items():
        if isinstance(value, Mapping):
            found += _flat(value, f"{before}{name}.")
        elif isinstance(value, bool):
            found.append((f"{before}{name}", "yes" if value else "no"))
        elif isinstance(value, str | int):
            found.append((f"{before}{name}", str(value)))
    return found


def _breakdowns(board: Board) -> list[str]:
    scores = [score for item in board.runs for score in item.document["scores"].values()]
    return list(dict.fromkeys(name for score in scores for name in score.get("by", {})))


def _counted(references: Sequence[str]) -> list[tuple[str, int]]:
    return Counter(references).most_common()
