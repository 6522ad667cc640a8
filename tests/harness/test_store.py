"""What the workspace keeps of a run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

import harness.store
from harness.database import Database
from harness.encoding import encode_sample
from harness.errors import UnknownName
from harness.plan import choose_model, choose_task, make_plan
from harness.schema import BLOCK, MIGRATIONS
from harness.scoring import Scored
from harness.session import Session
from harness.store import Run, RunStore
from harness.types import DataSource, Failure, Output, Prediction, Sample, Score, Trace, Usage


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunStore]:
    database = Database(tmp_path)
    yield RunStore(database)
    database.close()


def begin(store: RunStore, data: str = "d", n: int = 2) -> Run:
    samples = [Sample(f"q{number}", (), "", (), "g") for number in range(n)]
    run = store.begin({"data_digest": data}, {}, n, benchmark="b", model="m", version=None, digest=None)
    store.keep_samples(run, [(sample, encode_sample(sample)) for sample in samples])
    return run


def outputs(*seconds: float) -> Sequence[Prediction]:
    trace = Trace(scalars={"words": 1.0})
    return [
        Prediction(number, f"q{number}", Output("a", Usage(seconds=spent), trace))
        for number, spent in enumerate(seconds)
    ]


def test_scores_are_void_only_where_an_answer_changed(store: RunStore) -> None:
    """Another process that began on the same batch commits it once more, after the first has scored the run."""
    run = begin(store)
    store.add(run, [*outputs(1.0), Prediction(1, "q1", Failure("busy", ""))], 1)
    scored = Scored({"exact": Score(1.0, 1, 1)}, {}, {}, ())
    store.keep_scores(run, "rules", scored, {"exact": "digest"})
    store.add(run, outputs(5.0), 5)
    assert list(store.scored(run, "rules").scores) == ["exact"]
    (_, first), _ = store.predictions(run)
    assert isinstance(first.result, Output)
    assert first.result.usage.seconds == 1.0, "the time is that of the answer that stays"
    store.add(run, outputs(5.0, 5.0), 5)
    assert not store.scored(run, "rules").scores
    _, (_, second) = store.predictions(run)
    assert isinstance(second.result, Output)
    assert (second.result.usage.seconds, second.result.trace) == (5.0, Trace(scalars={"words": 1.0}))


def test_scores_of_other_names_stay_and_the_main_figure_comes_first(store: RunStore) -> None:
    run = begin(store)

    def keep(*names: str, unscored: Sequence[str] = (), digest: str = "1", order: Sequence[str] = ()) -> Scored:
        made = Scored(
            {name: Score(float(digest), 1, 1) for name in names},
            {name: np.array([float(digest)]) for name in names},
            dict.fromkeys(unscored, "broken"),
            (),
        )
        return store.keep_scores(run, "rules", made, dict.fromkeys([*names, *unscored], digest), order)

    store.keep_scores(run, "other", Scored({"a": Score(7.0, 1, 1)}, {}, {}, ()), {"a": "7"})
    keep("z")
    keep("b", "a", order=["b", "a"])
    keep("a", digest="2", order=["b", "a"])
    kept = keep("c", unscored=["d"], digest="3", order=["b", "a"])
    assert [(name, score.value) for name, score in kept.scores.items()] == [("b", 1), ("a", 2), ("z", 1), ("c", 3)]
    assert (kept.scores, kept.unscored) == (store.scored(run, "rules").scores, {"d": "broken"})
    assert store.made_by(run, "rules") == {"b": "1", "a": "2", "z": "1", "c": "3"}
    assert {name: column.tolist() for name, column in store.per_sample(run, "rules").items()} == {
        "b": [1], "a": [2], "z": [1], "c": [3]
    }  # fmt: skip
    # A main figure that could not be made this time leaves its place to one that has a value.
    keep(unscored=["b"], digest="4", order=["b", "a"])
    assert list(store.scored(run, "rules").scores) == ["a", "z", "c"]
    keep("b", "d", digest="5", order=["b", "a"])
    assert list(store.scored(run, "rules").scores) == ["b", "a", "z", "c", "d"]
    assert store.scored(run, "other").scores["a"].value == 7


def test_a_run_is_found_by_what_its_id_starts_with(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = [begin(store, str(number)) for number in range(20)]
    read: list[str] = []
    make = harness.store._run
    monkeypatch.setattr(harness.store, "_run", lambda row: read.append(row["id"]) or make(row))
    for run in runs:
        assert store.get(run.id) == store.get(run.id[:9]) == run
    assert len(read) == 40, "no other runs are read"
    with store._database.transaction() as connection:
        connection.execute("UPDATE runs SET id = 'zab' WHERE key = 1")
        connection.execute("UPDATE runs SET id = 'zabc' WHERE key = 2")
        connection.execute("UPDATE runs SET id = 'za%_' WHERE key = 3")
    assert [store.get(name).key for name in ("zab", "zabc", "za%")] == [1, 2, 3]
    with pytest.raises(UnknownName, match="several runs start so: za%_, zabc, zab"):
        store.get("za")
    with pytest.raises(UnknownName, match="see `harness list runs`"):
        store.get("_b")


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
    session.store.keep_samples(run, ((sample, encode_sample(sample)) for _, sample in plan.samples()))
    surrogate = "half a pair: \ud800"
    session.store.add(run, [Prediction(0, "q0", Output(surrogate)), Prediction(1, "q1", Failure("busy", surrogate))], 1)
    answer = Output("yes", trace=Trace({"relevance": [[0.5]]}, {"words": 3.0}))
    session.store.add(run, [Prediction(0, "q0", Failure("busy", "")), Prediction(1, "q1", answer)], 1)
    (_, first), (sample, second) = session.store.predictions(run)
    assert isinstance(first.result, Output)
    assert first.result.text == "half a pair: \ufffd"
    assert second.result == answer
    assert sample.id == "q1"
    assert session.store.failed(run) == set()
    assert session.store.get(run.id).seconds == 2
    session.database.close()


def test_a_workspace_of_the_first_schema_keeps_its_samples(tmp_path: Path) -> None:
    """Samples lay in a row each; now many lie in one, in their order, limited runs' included."""
    database = Database(tmp_path, MIGRATIONS[:1])
    samples = [Sample(f"q{n}", (), f"{n}; 'what'?", (str(n),), "g", {"n": n}) for n in range(BLOCK + 3)]
    with database.transaction() as connection:
        rows = [("whole", n, encode_sample(sample)) for n, sample in enumerate(samples)] + [
            ("limited", n, encode_sample(sample)) for n, sample in enumerate(samples[:2])
        ]
        connection.executemany("INSERT INTO samples VALUES (?, ?, ?)", reversed(rows))
    database.close()
    store = RunStore(Database(tmp_path))
    for data, count in (("whole", BLOCK + 3), ("limited", 2)):
        run = store.begin({"data_digest": data}, {}, count, benchmark="b", model="m", version=None, digest=None)
        store.add(run, [Prediction(n, f"q{n}", Output("x")) for n in range(count)], 1)
        assert [sample for sample, _ in store.predictions(run)] == samples[:count]
    # A later run on more of the data completes what a limited one stored.
    more = store.begin(
        {"data_digest": "limited", "limit": None}, {}, 300, benchmark="b", model="n", version=None, digest=None
    )
    others = [Sample(f"r{n}", (), "", (), "") for n in range(300 - len(samples))]
    store.keep_samples(more, [(sample, encode_sample(sample)) for sample in [*samples, *others]])
    store.add(more, [Prediction(n, "", Output("x")) for n in range(BLOCK + 3)], 1)
    assert [sample for sample, _ in store.predictions(more)] == samples
