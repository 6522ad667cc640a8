"""From stored runs to a report: what belongs together, how runs differ, what was judged, where the pictures are."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from harness.compare import Comparer, Comparison, corrected
from harness.errors import HarnessError
from harness.plan import Task
from harness.report.content import Board, Duel, Infos, Report, ScoredRun, boards, letter
from harness.report.courses import Course
from harness.store import Run, RunStore
from harness.trainings import Training, TrainingStore
from harness.types import DataSource
from harness.verdict import Verdict
from harness.verdicts import VerdictStore


class Benchmarks(Protocol):
    """How a benchmark is found: as `Session.benchmark` does it."""

    def __call__(self, name: str, *, data: Path | None = None) -> Task: ...


@dataclass(frozen=True, slots=True)
class Reporter:
    """Makes reports of a workspace's runs.

    Attributes:
        benchmark: gives a benchmark with its configured data, or with that of a folder.
        source: where a benchmark's data lies by the configuration, if that says so.
        remark: takes what the user should know.
    """

    store: RunStore
    comparer: Comparer
    verdicts: VerdictStore
    trainings: TrainingStore
    benchmark: Benchmarks
    source: Callable[[str], DataSource | None]
    remark: Callable[[str], None]

    def report(self, runs: Sequence[Run], protocol: str | None = None, trainings: Sequence[Training] = ()) -> Report:
        """The runs side by side, each compared with the first on the same data; and how their checkpoints were trained.

        Args:
            protocol: the scoring rules, where the runs were scored by several.
            trainings: other trainings to be shown.
        """
        infos = {name: self._infos(name) for name in {run.benchmark for run in runs}}
        made = boards(self.store, runs, protocol, infos)
        duels = [self._duel(board, number) for board in made for number in range(1, len(board.runs))]
        tested = iter(corrected([duel.comparison for duel in duels if duel.comparison is not None]))
        duels = [replace(duel, comparison=duel.comparison and next(tested)) for duel in duels]
        remaining = iter(duels)
        made = tuple(replace(board, duels=tuple(next(remaining) for _ in board.runs[1:])) for board in made)
        courses = self._courses([item for board in made for item in board.runs], trainings)
        return Report(made, self._verdicts({run.id for run in runs}), courses)

    def task(self, board: Board, data: Path | None = None) -> Task:
        """The benchmark with the data that the board's runs were made of.

        Args:
            data: the folder where that data is now; None looks where it was.
        """
        return self.task_of(board.runs[0].run, data)

    def task_of(self, run: Run, data: Path | None = None) -> Task:
        """The benchmark with the data that a run was made of; `data` as for `task`."""
        named = str(run.facts["data"])
        configured = self.source(run.benchmark)
        if data is None and configured is not None and str(configured) == named:
            return self.benchmark(run.benchmark)
        match = re.fullmatch(r"(?P<path>.*?)(?: \[(?P<split>[^\[\]]*)\])?", named, re.DOTALL)
        assert match is not None
        path = data or Path(match["path"])
        task = self.benchmark(run.benchmark, data=path)
        return replace(task, data=DataSource(path=path, split=match["split"]))

    def _infos(self, benchmark: str) -> Infos:
        """What the benchmark's metrics say of their scores; nothing where a plugin is not here any more."""
        try:
            choices = self.benchmark(benchmark, data=Path()).metrics
            found = [choice.listing.load(**choice.options).info for choice in choices]
        except HarnessError as error:
            self.remark(f"{benchmark}: nothing is known of its scores' units and directions: {error}")
            return {}
        return {name: info for infos in found for name, info in infos.items()}

    def _duel(self, board: Board, number: int) -> Duel:
        first, second = board.runs[0], board.runs[number]
        comparison: Comparison | None = None
        reason = ""
        try:
            comparison = self.comparer.compare(
                first.run, second.run, lambda text: None, protocol=board.protocol or None
            )  # fmt: skip
        except HarnessError as error:
            reason = str(error)
        return Duel(first.letter, second.letter, comparison, reason)

    def _courses(self, items: Sequence[ScoredRun], others: Sequence[Training]) -> tuple[Course, ...]:
        """One for each training: those that published a run's checkpoint, then the others."""
        found: dict[str, tuple[Training, dict[str, int | None]]] = {}
        for item in sorted(items, key=lambda item: (item.letter[1:], item.letter)):
            made = self.trainings.of_digest(item.run.digest) if item.run.digest else None
            if made is not None:
                found.setdefault(made[0].id, (made[0], {}))[1][item.letter] = made[1]
        spare = iter([letter(number) for number in range(len(items), len(items) + len(others))])
        for training in others:
            found.setdefault(training.id, (training, {}))
        return tuple(
            Course.of(self.trainings, training, next(iter(runs), None) or next(spare), runs)
            for training, runs in found.values()
        )

    def _verdicts(self, runs: set[str]) -> tuple[Verdict, ...]:
        newest: Mapping[str, Verdict] = {}
        for kept in self.verdicts.of():
            verdict = kept.verdict
            if verdict.runs and set(verdict.runs.values()) <= runs:
                newest = {verdict.policy: verdict, **newest}
        return tuple(newest.values())
