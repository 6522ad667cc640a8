"""What the workspace keeps of a run."""

from __future__ import annotations

from pathlib import Path

from harness.plan import choose_model, choose_task, make_plan
from harness.session import Session
from harness.types import DataSource, Failure, Output, Prediction, Trace


def test_a_failure_never_replaces_an_answer(trivia: Path, with_third_party: None) -> None:
    session = Session(trivia.parent / "home")
    model = choose_model("acme-parrot:last", session.catalog, session.checkpoints)
    task = choose_task("acme-trivia", session.catalog, session.settings, data=DataSource(path=trivia))
    plan = make_plan(
        model, task, limit=2, batch=2, seed=0, device="cpu", hash_image=session.store.hash_image
    )  # fmt: skip
    run = session.store.begin(
        plan.identity, {}, plan.n, benchmark="acme-trivia", model=model.text, version=None, digest=None
    )
    session.store.keep_samples(run, (sample for _, sample in plan.samples()))
    surrogate = "half a pair: \ud800"
    session.store.add(run, [Prediction(0, "q0", Output(surrogate)), Prediction(1, "q1", Failure("busy", surrogate))], 1)
    answer = Output("yes", trace=Trace({"relevance": [[0.5]]}, {"words": 3.0}))
    session.store.add(run, [Prediction(0, "q0", Failure("busy", "")), Prediction(1, "q1", answer)], 1)
    (_, first), (sample, second) = session.store.predictions(run)
    assert isinstance(first.result, Output)
    assert first.result.text.startswith("half a pair: \ufffd")
    assert second.result == answer
    assert sample.id == "q1"
    assert session.store.failed(run) == set()
    assert session.store.get(run.id).seconds == 2
    session.database.close()
