"""Runs written straight into a workspace, as if models had answered the trivia."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from harness.encoding import encode_sample
from harness.plan import Task
from harness.report.content import Board
from harness.report.gather import Reporter
from harness.session import Session
from harness.store import Run
from harness.types import DataSource, Failure, Output, Prediction, Sample, Trace, Usage

Answer = Callable[[int, Sample], Output | Failure]


class Workspace:
    """A session with the trivia, and the means to fill it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "trivia"
        self.session = Session(folder / "home", folder)

    @property
    def task(self) -> Task:
        return self.session.benchmark("acme-trivia", data=self.data)

    def write_questions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        (self.data / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(
        self,
        model: str,
        answer: Answer,
        *,
        image: str = "real",
        limit: int | None = None,
        complete: bool = True,
        facts: Mapping[str, Any] | None = None,
    ) -> Run:
        """A run of the trivia; scored where it is complete."""
        store, task = self.session.store, self.task
        samples = list(task.samples())[:limit]
        identity = {
            "model": {"plugin": "acme-parrot", "fingerprint": f"{model} {image}", "image": image},
            "benchmark": {"name": task.name, "version": task.benchmark.info.version, "profile": task.profile},
            "data_digest": task.digest(), "prompt_digest": "p", "image_digest": None if image == "none" else "i",
            "limit": limit, "batch": 16, "seed": 0,
        }  # fmt: skip
        known = {"data": str(DataSource(path=self.data)), "command": f"harness eval --model {model}", **(facts or {})}
        run = store.begin(
            identity, known, len(samples), benchmark=task.name, model=model, version="v1", digest="d" * 64
        )
        store.keep_samples(run, [(sample, encode_sample(sample)) for sample in samples])
        store.add(
            run, [Prediction(number, sample.id, answer(number, sample)) for number, sample in enumerate(samples)], 2.0
        )
        if complete:
            run = store.finish(run)
            self.session.rescore(run.id)
        return run

    def board(self, *runs: Run) -> Board:
        """What a report says of runs on the same data."""
        parts = self.session
        reporter = Reporter(
            parts.store, parts.comparer, parts.verdicts, parts.trainings, parts.benchmark, parts.settings.source, print
        )  # fmt: skip
        (board,) = reporter.report(runs).boards
        return board

    def report(self, *arguments: str | Run) -> Result:
        """`harness report` with these arguments; the page's text is in `report.html` unless they say otherwise."""
        from harness.cli.report import command

        texts = [argument.id if isinstance(argument, Run) else argument for argument in arguments]
        return CliRunner().invoke(command, [*texts, "--config", str(self.folder)], catch_exceptions=False)

    def page(self, *arguments: str | Run) -> str:
        """The HTML page of these runs."""
        out = self.folder / "report.html"
        result = self.report(*arguments, "--out", str(out))
        assert result.exit_code == 0, result.output
        return out.read_text()


def right_until(share: float, *, tokens: int = 5) -> Answer:
    """Right to that share of the questions, in an order that is none; wrong to the others."""

    def answer(number: int, sample: Sample) -> Output:
        right = (number * 7919 % 100) / 100 < share
        usage = Usage(6, tokens + number % 5, 20, 1)
        grid = [[float(number % 7 + row * column) for column in range(4)] for row in range(3)]
        trace = Trace({"relevance": grid, "budget": [[1.0, float("nan")]]}, {"need": number / 10})
        return Output(sample.references[0] if right else f"no{number}", usage, trace)

    return answer


@pytest.fixture
def made(trivia: Path, with_third_party: None) -> Iterator[Workspace]:
    """A workspace with the trivia and no runs."""
    workspace = Workspace(trivia.parent)
    yield workspace
    workspace.session.database.close()


@pytest.fixture
def answering() -> Callable[..., Answer]:
    """See `right_until`."""
    return right_until
