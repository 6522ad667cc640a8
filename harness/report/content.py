"""What a report says of its runs as a whole: their scores side by side, their differences, the verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import msgspec

from harness.compare import Comparison
from harness.protocols import MetricInfo
from harness.report.calibration import Calibration, calibrations
from harness.report.courses import Course
from harness.report.document import run_document
from harness.report.maps import MeanMap, mean_maps
from harness.store import Run, RunStore
from harness.types import Json
from harness.verdict import Verdict

Infos: TypeAlias = Mapping[str, MetricInfo]


@dataclass(frozen=True, slots=True, eq=False)
class Duel:
    """Two runs of one board, by their letters, and how the second differs from the first.

    Attributes:
        comparison: None where the two cannot be compared; `reason` says why.
    """

    first: str
    second: str
    comparison: Comparison | None
    reason: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class ScoredRun:
    """A run with its document.

    Attributes:
        letter: its short name within the report.
    """

    letter: str
    run: Run
    document: Mapping[str, Json]

    @property
    def shown(self) -> str:
        """Which pictures the model was shown: "real", "none" or "shuffled" ones; "real" where nothing is known."""
        return str(self.run.identity["model"]["image"] or "real")


@dataclass(frozen=True, slots=True, eq=False)
class Board:
    """Runs on the same data, scored by the same rules.

    Attributes:
        infos: what is known of the scores, by name.
        calibrations: by the runs' letters.
        maps: by the runs' letters, where the run looks on average, by the maps' names.
    """

    benchmark: str
    data_digest: str
    protocol: str
    runs: tuple[ScoredRun, ...]
    infos: Infos
    calibrations: Mapping[str, tuple[Calibration, ...]]
    duels: tuple[Duel, ...] = ()
    maps: Mapping[str, Mapping[str, MeanMap]] = field(default_factory=dict)

    @property
    def main(self) -> str | None:
        """The main figure: the first score of the first run that has any."""
        return next((next(iter(item.document["scores"])) for item in self.runs if item.document["scores"]), None)

    @property
    def scores(self) -> tuple[str, ...]:
        """All scores of the runs, the main figure first."""
        return tuple(dict.fromkeys(name for item in self.runs for name in item.document["scores"]))

    def score(self, letter: str, name: str) -> Mapping[str, Json] | None:
        """A run's score, if it has it."""
        found: Mapping[str, Json] | None = next(
            (item.document["scores"].get(name) for item in self.runs if item.letter == letter), None
        )
        return found

    def is_fraction(self, name: str) -> bool:
        """Whether the score lies between 0 and 1 by its nature; by its values where nothing is known of it."""
        if name in self.infos:
            return self.infos[name].unit == "fraction"
        values = [score["value"] for item in self.runs if (score := self.score(item.letter, name))]
        return all(0 <= value <= 1 for value in values)

    def rises(self, name: str) -> bool | None:
        """Whether more of the score is better; None where neither way is, or nothing is known of it."""
        info = self.infos.get(name)
        return None if info is None else info.higher_is_better


@dataclass(frozen=True, slots=True, eq=False)
class Report:
    """All that a report says of its runs.

    Attributes:
        verdicts: the newest of each policy that judged runs of this report, and no others.
        courses: the trainings that made the runs' checkpoints, and those that were asked for.
    """

    boards: tuple[Board, ...]
    verdicts: tuple[Verdict, ...] = ()
    courses: tuple[Course, ...] = ()

    @property
    def runs(self) -> tuple[ScoredRun, ...]:
        return tuple(item for board in self.boards for item in board.runs)


def boards(store: RunStore, runs: Sequence[Run], protocol: str | None, infos: Mapping[str, Infos]) -> tuple[Board, ...]:
    """The runs by benchmark, data and scoring rules, in the order of the first of each.

    Args:
        protocol: the scoring rules; None takes those that all runs on the same data were scored by, else a run's own.
        infos: benchmark -> what is known of its scores.
    """
    groups: dict[tuple[str, str, str], list[ScoredRun]] = {}
    for number, run in enumerate({run.id: run for run in runs}.values()):
        rules = protocol or _rules(store, run, runs)
        item = ScoredRun(letter(number), run, run_document(store, run, rules))
        groups.setdefault((run.benchmark, _data(run), rules), []).append(item)
    return tuple(
        _observed(store, Board(benchmark, data, rules, tuple(items), infos.get(benchmark, {}), {}))
        for (benchmark, data, rules), items in groups.items()
    )


def letter(number: int) -> str:
    """A, B, … Z, A1, B1 …"""
    turn, place = divmod(number, 26)
    return chr(ord("A") + place) + (str(turn) if turn else "")


def report_document(report: Report) -> dict[str, Json]:
    """The report for programs: the runs' documents, and what was found by looking at them together."""
    return {
        "runs": [item.document for item in report.runs],
        "comparisons": [
            duel.comparison.document() for board in report.boards for duel in board.duels if duel.comparison is not None
        ],
        "calibration": {
            item.run.id: msgspec.to_builtins(board.calibrations[item.letter])
            for board in report.boards
            for item in board.runs
        },
        "maps": {
            item.run.id: msgspec.to_builtins(board.maps[item.letter]) for board in report.boards for item in board.runs
        },
        "verdicts": [verdict.document() for verdict in report.verdicts],
        "trainings": [course.document() for course in report.courses],
    }


def _data(run: Run) -> str:
    return str(run.identity["data_digest"])


def _rules(store: RunStore, run: Run, runs: Sequence[Run]) -> str:
    own = store.protocols(run)
    alike = [store.protocols(other) for other in runs if (other.benchmark, _data(other)) == (run.benchmark, _data(run))]
    shared = [rules for rules in own if all(rules in others for others in alike)]
    return next(iter([*shared, *own]), "")


def _observed(store: RunStore, board: Board) -> Board:
    """The board with what the answers of each run show by themselves."""
    return replace(
        board,
        calibrations={item.letter: calibrations(store, item.run, board.protocol, board.main) for item in board.runs},
        maps={item.letter: mean_maps(store, item.run) for item in board.runs},
    )
