"""A workspace that is written straight into, and the viewer of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from starlette.testclient import TestClient

from harness.encoding import encode_sample
from harness.plan import Task
from harness.report.gather import Reporter
from harness.session import Session
from harness.store import Run
from harness.types import DataSource, Failure, Output, Prediction, Sample, Trace, Usage, Version
from harness.verdict import Verdict
from harness.view.app import make_app
from harness.view.guard import Guard
from harness.view.workspace import Workspace

Answer = Callable[[int, Sample], Output | Failure]
LOCAL = "http://127.0.0.1"


def right_until(share: float) -> Answer:
    """Right to that share of the questions, in an order that is none; wrong to the others."""

    def answer(number: int, sample: Sample) -> Output:
        right = (number * 7919 % 100) / 100 < share
        grid = [[float(number % 7 + row * column) for column in range(4)] for row in range(3)]
        text = sample.references[0] if right else f"no{number}"
        return Output(text, Usage(6, 5 + number % 5, 20, 1), Trace({"relevance": grid}, {"need": number / 10}))

    return answer


class Made:
    """A session with the trivia, the means to fill it, and clients of its viewer."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "trivia"
        self.session = Session(folder / "home", folder)

    @property
    def task(self) -> Task:
        return self.session.benchmark("acme-trivia", data=self.data)

    @property
    def workspace(self) -> Workspace:
        session = self.session
        reporter = Reporter(
            session.store, session.comparer, session.verdicts, session.trainings, session.benchmark,
            session.settings.source, print,
        )  # fmt: skip
        return Workspace(session.database, reporter, lambda: session.checkpoints)

    def client(self, **options: Any) -> TestClient:
        """A client of the viewer as it is served, its guard included."""
        return TestClient(Guard(make_app(self.workspace)), base_url=LOCAL, **options)

    def write_questions(self, rows: Sequence[Mapping[str, Any]]) -> None:
        (self.data / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def run(
        self,
        model: str,
        answer: Answer | None = None,
        *,
        version: str | None = None,
        digest: str | None = None,
        image: str = "real",
        limit: int | None = None,
        answered: int | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Run:
        """A run of the trivia; complete and scored, unless only some are `answered`."""
        store, task, answer = self.session.store, self.task, answer or right_until(0.5)
        samples = list(task.samples())[:limit]
        identity = {
            "model": {"plugin": "acme-parrot", "fingerprint": f"{model} {version} {image}", "image": image},
            "benchmark": {"name": task.name, "version": task.benchmark.info.version, "profile": task.profile},
            "data_digest": task.digest(), "prompt_digest": "p", "image_digest": None if image == "none" else "i",
            "limit": limit, "batch": 16, "seed": 0,
        }  # fmt: skip
        known = {"data": str(DataSource(path=self.data)), "command": f"harness eval --model {model}", **(facts or {})}
        run = store.begin(
            identity, known, len(samples), benchmark=task.name, model=model, version=version, digest=digest
        )
        store.keep_samples(run, [(sample, encode_sample(sample)) for sample in samples])
        predictions = [Prediction(number, item.id, answer(number, item)) for number, item in enumerate(samples)]
        store.add(run, predictions[:answered], 2.0)
        if answered is None:
            run = store.finish(run)
            self.session.rescore(run.id)
        return run

    def checkpoint(self, name: str, content: str, *aliases: str) -> Version:
        """A new version in the registry."""
        folder = self.folder / "made" / content
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights.txt").write_text(content)
        return self.session.checkpoints.publish(folder, name, aliases=aliases)

    def judge(self, run: Run, status: str = "fail", policy: str = "production", baseline: Run | None = None) -> Verdict:
        """A stored verdict on a run."""
        model, against = (
            {"ref": item.model, "version": item.version, "digest": item.digest, **item.identity["model"]}
            if item
            else None
            for item in (run, baseline)
        )
        finding = {
            "score": "acme-trivia.exact", "needed": "≥ 0.9", "status": status, "measured": 0.5, "low": 0.4,
            "high": 0.6, "reason": "too low",
        }  # fmt: skip
        verdict = msgspec.convert({
            "verdict": status, "policy": policy, "policy_digest": "p" * 64, "model": model, "baseline": against,
            "asked_baseline": baseline and baseline.model, "runs": {run.benchmark: run.id},
            "baseline_runs": {} if baseline is None else {baseline.benchmark: baseline.id},
            "protocols": {run.benchmark: "strict"}, "findings": [finding],
        }, Verdict)  # fmt: skip
        self.session.verdicts.keep(verdict)
        return verdict


@pytest.fixture
def made(trivia: Path, with_third_party: None) -> Iterator[Made]:
    """A workspace with the trivia and no runs."""
    workspace = Made(trivia.parent)
    yield workspace
    workspace.session.database.close()


@pytest.fixture
def answering() -> Callable[[float], Answer]:
    """See `right_until`."""
    return right_until
