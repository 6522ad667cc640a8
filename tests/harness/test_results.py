"""Official results files: scored without a model, exactly matched, stored like any run."""

from __future__ import annotations

import json
import math
import pickle
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command, write_settings

from harness.database import Database
from harness.session import Options, Session, open_session
from harness.store import Run, RunStore


def questions(trivia: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (trivia / "trivia.jsonl").read_text().splitlines()]


def answers(trivia: Path) -> list[dict[str, str]]:
    """The last word of each question, which is right for about every second one."""
    return [{"id": row["id"], "said": row["question"].split()[-1]} for row in questions(trivia)]


def write(trivia: Path, rows: Sequence[Any], name: str = "said.json") -> str:
    path = trivia.parent / name
    path.write_text(json.dumps(rows))
    return str(path)


def score(cli: Command, file: str, *more: str) -> tuple[int, Any, str]:
    result = cli("score", "--bench", "acme-trivia", "--results", file, "--json", *more)
    return result.returncode, json.loads(result.stdout)["runs"][0] if result.stdout else None, result.stderr


def test_a_results_file_is_scored_and_stored_like_a_run(cli: Command, trivia: Path) -> None:
    for picture in trivia.glob("*.jpg"):
        picture.unlink()
    code, run, _ = score(cli, write(trivia, answers(trivia)))
    rows = questions(trivia)
    right = sum(row["question"].split()[-1] in row["answers"] for row in rows) / len(rows)
    assert code == 0
    assert run["scores"]["exact"]["value"] == right
    assert run["scores"]["exact"]["clusters"] == 10
    assert run["model"]["ref"] == "results:said.json"
    assert (run["benchmark"]["profile"], run["benchmark"]["protocol"]) == ("results", "strict")
    assert (run["coverage"], run["status"]) == (1, "complete")
    assert run["run"] in cli("list", "runs").stdout
    # The data's digest is that of an evaluation on the same data: the two can be compared.
    evaluated = cli("eval", "--model", "acme-parrot:last,image=none", "--bench", "acme-trivia", "--json")
    other = json.loads(evaluated.stdout)["runs"][0]
    assert other["benchmark"]["data_digest"] == run["benchmark"]["data_digest"]
    assert other["scores"]["exact"] == run["scores"]["exact"]


def test_scoring_twice_gives_the_same_bytes_and_needs_no_files(cli: Command, trivia: Path) -> None:
    file = write(trivia, answers(trivia))
    first = cli("score", "--bench", "acme-trivia", "--results", file, "--json")
    again = cli("score", "--bench", "acme-trivia", "--results", file, "--json")
    run = json.loads(first.stdout)["runs"][0]["run"]
    (trivia / "trivia.jsonl").unlink()
    Path(file).unlink()
    assert first.stdout == again.stdout == cli("score", run, "--json").stdout


def test_a_run_is_known_by_its_answers_and_not_by_their_file(cli: Command, trivia: Path) -> None:
    rows = answers(trivia)
    _, first, _ = score(cli, write(trivia, rows))
    _, shuffled, _ = score(cli, write(trivia, rows[::-1], "other.json"))
    rows[3]["said"] += "!"
    _, changed, _ = score(cli, write(trivia, rows))
    assert first["run"] == shuffled["run"] != changed["run"]
    assert first["scores"] == shuffled["scores"]


def test_the_same_answers_go_by_the_names_of_all_their_files(cli: Command, trivia: Path) -> None:
    rows = answers(trivia)
    elsewhere = trivia.rename(trivia.parent / "elsewhere")
    _, first, _ = score(cli, write(elsewhere, rows), "--data", str(elsewhere))
    elsewhere.rename(trivia)
    for name in ("other.json", "said.json", "other.json"):
        _, run, _ = score(cli, write(trivia, rows, name))
        assert run["run"] == first["run"]
        assert (run["model"]["ref"], run["benchmark"]["data"]) == (f"results:{name}", str(trivia))
    (file, part) = (write(trivia, rows[:7], "a.json"), write(trivia, rows[7:], "b.json"))
    score(cli, file, "--results", part)
    with closing(Database(trivia.parent / "home")) as database:
        (stored,) = RunStore(database).runs()
    assert stored.names == ("results:said.json", "results:other.json", "results:a.json,b.json")
    assert stored.model == stored.names[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[2:], "2 of 40 samples have no answer ('q0', 'q1')"),
        (lambda rows: rows[:30], "10 of 40 samples have no answer ('q30', 'q31', 'q32', 'q33', 'q34', …)"),
        (lambda rows: [*rows, {"id": "zz", "said": "x"}], "1 answers are to unknown samples ('zz')"),
        (lambda rows: [*rows, rows[7]], "1 samples are answered more than once ('q7')"),
        (
            lambda rows: [*rows[1:], {"id": "zz", "said": "x"}, rows[7]],
            "1 of 40 samples have no answer ('q0'); 1 answers are to unknown samples ('zz'); 1 samples are answered "
            "more than once ('q7')",
        ),
    ],
)
def test_a_file_that_does_not_fit_is_reported_exactly(cli: Command, trivia: Path, change: Any, message: str) -> None:
    file = write(trivia, change(answers(trivia)))
    code, run, error = score(cli, file)
    assert (code, run) == (2, None)
    assert f"{file}: {message}; mend the file, or score what is there with --allow-partial" in error
    assert "no runs yet" in cli("list", "runs").stderr


def test_what_is_there_is_scored_where_that_is_allowed(cli: Command, trivia: Path) -> None:
    rows = answers(trivia)
    wrong = {"id": rows[5]["id"], "said": "nonsense"}
    file = write(trivia, [wrong, *rows[4:], {"id": "zz", "said": ""}])
    code, run, error = score(cli, file, "--allow-partial", "--metric", "exact", "--metric", "exact_words")
    kept = questions(trivia)[4:]
    assert code == 0
    assert run["coverage"] == 36 / 40
    assert run["failures"] == {"missing": 4}
    assert run["scores"]["exact"]["n"] == 36
    # Of repeated answers the last counts, as in the official scripts.
    assert run["scores"]["exact"]["value"] == sum(row["question"].split()[-1] in row["answers"] for row in kept) / 36
    assert run["scores"]["exact_words"]["note"] == "not comparable: only 36 of 40 samples were answered"
    assert "4 of 40 samples have no answer" in error
    assert "unknown samples ('zz')" in error
    assert "more than once ('q5')" in error
    assert cli("score", run["run"]).returncode == 3
    assert cli("score", run["run"], "--allow-partial").returncode == 0


def test_answers_to_another_benchmark_are_no_partial_results(cli: Command, trivia: Path) -> None:
    code, _, error = score(cli, write(trivia, [{"id": 7, "said": "x"}, {"id": "8", "said": "y"}]), "--allow-partial")
    assert code == 2
    assert "answers none of the 40 samples" in error
    assert "such as 'q0'; it answers 7, '8'" in error


def test_text_that_cannot_be_stored_is_scored_as_what_is_stored(cli: Command, trivia: Path) -> None:
    """A reader of somebody else's may give half a surrogate pair, which JSON can spell."""
    rows = [json.loads(line) for line in (trivia / "trivia.jsonl").read_text().splitlines()]
    rows[0]["answers"] = ["a \ufffd b"]
    (trivia / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    said = answers(trivia)
    said[0]["said"] = "a \ud800 b"
    code, run, error = score(cli, write(trivia, said))
    assert code == 0, error
    again = json.loads(cli("score", run["run"], "--json").stdout)["runs"][0]
    assert again["scores"] == run["scores"]
    said[0]["said"] = "a \ufffd b"
    assert score(cli, write(trivia, said))[1] == run


@pytest.mark.parametrize(("answer", "kind"), [(None, "NoneType"), (5, "int"), (["yes"], "list")])
def test_an_answer_that_is_no_text_is_the_readers_fault(cli: Command, trivia: Path, answer: Any, kind: str) -> None:
    rows: list[Any] = [*answers(trivia)[:-1], {"id": "q39", "said": answer}]
    code, _, error = score(cli, write(trivia, rows))
    assert code == 2
    assert f"benchmark 'acme-trivia': the answer to sample 'q39' is no text, but {kind}" in error
    assert "unexpected" not in error


def test_samples_own_scores_can_be_written(cli: Command, trivia: Path) -> None:
    out = trivia.parent / "samples.jsonl"
    code, run, _ = score(cli, write(trivia, answers(trivia)), "--per-sample", str(out))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert code == 0
    assert [row["id"] for row in rows] == [row["id"] for row in questions(trivia)]
    assert math.fsum(row["scores"]["exact"] for row in rows) / 40 == run["scores"]["exact"]["value"]
    code, _, error = score(cli, write(trivia, answers(trivia)), "--per-sample", str(trivia / "no" / "folder.jsonl"))
    assert code == 3
    assert "folder.jsonl: cannot be written (No such file or directory)" in error


def test_only_the_scores_that_are_asked_for(cli: Command, trivia: Path) -> None:
    file = write(trivia, answers(trivia))
    _, run, _ = score(cli, file, "--metric", "exact_words")
    assert list(run["scores"]) == ["exact_words"]
    code, _, error = score(cli, file, "--metric", "exat")
    assert code == 2
    assert "did you mean 'exact'" in error


def stored(trivia: Path, run: str) -> dict[str, float]:
    with closing(Database(trivia.parent / "home")) as database:
        store = RunStore(database)
        return {name: score.value for name, score in store.scored(store.get(run), "strict").scores.items()}


def test_scoring_one_metric_keeps_the_others(cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from acme_vlm.metric import Exact

    made: list[str] = []
    compute = Exact.compute

    def counted(self: Exact, pairs: Any, protocol: str) -> Any:
        made.append(protocol)
        return compute(self, pairs, protocol)

    monkeypatch.setattr(Exact, "compute", counted)
    file = write(trivia, answers(trivia))
    _, first, _ = score(cli, file)
    # Its document has what was asked for; the workspace keeps what was there.
    for number, command in enumerate((["score", first["run"]], ["score", "--bench", "acme-trivia", "--results", file])):
        asked = json.loads(cli(*command, "--metric", "exact_words", "--json").stdout)["runs"][0]
        assert list(asked["scores"]) == ["exact_words"]
        assert list(stored(trivia, first["run"])) == ["exact", "exact_words"], number
    assert len(made) == 2, "the results' second scoring finds both scores stored"
    assert score(cli, file)[1]["scores"] == first["scores"]
    # Scores that were made with other options are not those that are asked for now.
    write_settings(trivia.parent, ("{exact: {weight: 0.5}}",))
    _, half, _ = score(cli, file)
    assert half["scores"]["exact"]["value"] == first["scores"]["exact"]["value"] / 2
    assert stored(trivia, first["run"]) == {
        "exact": half["scores"]["exact"]["value"], "exact_words": asked["scores"]["exact_words"]["value"]
    }  # fmt: skip
    assert len(made) == 3


def test_a_document_has_its_scores_in_the_order_in_which_they_were_asked_for(cli: Command, trivia: Path) -> None:
    write_settings(trivia.parent, ("exact", "exact_words"))
    file = write(trivia, answers(trivia))
    asked = Options(metrics=("exact_words", "exact"))
    with open_session(trivia.parent / "home") as session:
        new, again = (session.score_results("acme-trivia", [Path(file)], asked) for _ in range(2))
        assert list(new["scores"]) == list(again["scores"]) == ["exact_words", "exact"]
        assert list(session.rescore(new["run"], metrics=asked.metrics)["scores"]) == ["exact_words", "exact"]
    assert list(stored(trivia, new["run"])) == ["exact", "exact_words"]


def test_a_metric_is_made_once_and_reads_the_answers_no_oftener_than_it_wants(
    cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from acme_vlm.metric import Exact

    made: list[float] = []
    passes: list[Run] = []
    begin, read = Exact.__init__, RunStore.predictions

    def counted(self: Exact, weight: float = 1.0) -> None:
        made.append(weight)
        begin(self, weight)

    def noted(self: RunStore, run: Run) -> Any:
        passes.append(run)
        return read(self, run)

    monkeypatch.setattr(Exact, "__init__", counted)
    monkeypatch.setattr(RunStore, "predictions", noted)
    write_settings(trivia.parent, ("{exact: {weight: 0.5}}",))
    with open_session(trivia.parent / "home") as session:
        task = session.benchmark("acme-trivia")
        pickled = pickle.dumps(task.metrics)
        run = session.score_results("acme-trivia", [Path(write(trivia, answers(trivia)))])
        configured = len(made)
        assert configured == 1
        assert session.rescore(run["run"])["scores"] == run["scores"]
        assert len(made) == 2
        assert len(passes) == 2, "the metric goes through the pairs twice"
        assert task.metrics[0].metric is task.metrics[0].metric
        assert pickle.dumps(task.metrics) == pickled, "other processes make metrics for themselves"


def test_what_is_configured_comes_before_what_was_asked_for_earlier(cli: Command, trivia: Path) -> None:
    file = write(trivia, answers(trivia))
    _, run, _ = score(cli, file, "--metric", "exact_words")
    score(cli, file)
    assert list(stored(trivia, run["run"])) == ["exact", "exact_words"]


def test_scores_that_another_process_takes_away_are_shown_all_the_same(
    cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may commit an answer between the scoring and the printing."""
    file = write(trivia, answers(trivia))
    _, first, _ = score(cli, file)
    keep = RunStore.keep_scores

    def kept_and_lost(self: RunStore, run: Run, *arguments: Any) -> Any:
        kept = keep(self, run, *arguments)
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM scores WHERE run = ?", (run.key,))
        return kept

    monkeypatch.setattr(RunStore, "keep_scores", kept_and_lost)
    assert json.loads(cli("score", first["run"], "--json").stdout)["runs"][0] == first
    assert score(cli, file)[1] == first


def test_a_default_that_cannot_be_computed_is_left_out_and_one_asked_for_is_missed(
    cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    from acme_vlm.benchmark import Trivia

    (trivia.parent / "benchmarks.yaml").write_text("benchmarks:\n  acme-trivia:\n    data: ./trivia\n")
    monkeypatch.setattr(Trivia, "info", replace(Trivia.info, metrics=("acme-exact", "acme-needy")))
    file = write(trivia, answers(trivia))
    code, run, error = score(cli, file)
    assert (code, run["unscored"]) == (0, {})
    assert "acme-trivia will go without acme-needy: needs acme-absent: not on this machine" in error
    code, run, _ = score(cli, file, "--metric", "acme-needy")
    assert (code, list(run["unscored"])) == (3, ["acme-needy"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name a stored RUN, or a benchmark with --bench"),
        (["--bench", "acme-trivia"], "name a stored RUN, or a benchmark with --bench"),
        (["--results", "x.json"], "name a stored RUN, or a benchmark with --bench"),
        (["abc", "--bench", "acme-trivia", "--results", "x.json"], "name a stored RUN, or a benchmark with --bench"),
        (["abc", "--data", "x"], "--data and --split go with --results"),
        (["abc"], "unknown run 'abc'"),
        (["--bench", "acme-trivia", "--results", "x.json"], "failed to read x.json: FileNotFoundError"),
        (["--bench", "acme-trivia", "--results", "x.json", "--protocol", "officiall"], "unknown protocol"),
    ],
)
def test_wrong_ways(cli: Command, trivia: Path, arguments: list[str], message: str) -> None:
    result = cli("score", *arguments)
    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout


def test_a_benchmark_without_a_format_for_results(cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from acme_vlm import benchmark

    parts = {name: getattr(benchmark.Trivia, name) for name in ("info", "samples", "request", "parse")}
    monkeypatch.setattr(benchmark, "Trivia", type("Mute", (), parts))
    file = write(trivia, answers(trivia))
    code, _, error = score(cli, file)
    assert code == 2
    assert "benchmark 'acme-trivia' has no format for results files; evaluate a model instead" in error


def test_what_samples_share_is_stored_with_them(cli: Command, trivia: Path) -> None:
    _, run, _ = score(cli, write(trivia, answers(trivia)))
    session = Session(trivia.parent / "home")
    samples = [sample for sample, _ in session.store.predictions(session.store.get(run["run"]))]
    session.database.close()
    assert samples[0].shared == {"source": "acme"}
    assert all(sample.shared is samples[0].shared for sample in samples)
