"""Wrong input: one clear message that names the thing, the place and the next step, and the right exit code."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests_support import Command, write_settings

EVAL = ("eval", "--model", "acme-parrot:last", "--bench", "acme-trivia")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "--model", "acme-parot:last", "--bench", "acme-trivia"), "did you mean 'acme-parrot'"),
        (("eval", "--model", "acme-parrot", "--bench", "acme-trivia"), "write acme-parrot:REF"),
        (("eval", "--model", ":last", "--bench", "acme-trivia"), "unknown model ':last'"),
        (
            ("eval", "--model", "acme-parrot:lst", "--bench", "acme-trivia"),
            "unknown parrot 'lst' (did you mean 'last'?)",
        ),
        (("eval", "--model", "acme-parrot:last,slep=1", "--bench", "acme-trivia"), "did you mean 'sleep'?"),
        (("eval", "--model", "acme-parrot:last,sleep=1,sleep=2", "--bench", "acme-trivia"), "given twice"),
        (("eval", "--model", "acme-parrot:last,sleep=slow", "--bench", "acme-trivia"), "could not convert string"),
        (("eval", "--model", "acme-parrot:last,image=nonne", "--bench", "acme-trivia"), "did you mean 'none'?"),
        (("eval", "--model", "acme-parrot:last", "--bench", "acme-trivya"), "did you mean 'acme-trivia'?"),
        (("eval", "--model", "acme-parrot:last", "--suite", "al"), "did you mean 'all'?"),
        (("eval", "--model", "acme-parrot:last"), "name a benchmark with --bench"),
        ((*EVAL, "--data", "nowhere"), "nowhere/trivia.jsonl: no such file"),
        ((*EVAL, "--profile", "polte"), "did you mean 'polite'?"),
        ((*EVAL, "--protocol", "lowr"), "did you mean 'lower'?"),
        ((*EVAL, "--engine", "ry"), "unknown engine 'ry'"),
        ((*EVAL, "--limit", "0"), "0 is not in the range"),
        ((*EVAL, "--config", "nowhere.yaml"), "nowhere.yaml: no such file"),
        ((*EVAL, "--data", ".", "--bench", "gqa"), "give one --bench"),
        (("evl",), "did you mean 'eval'?"),
        (("eval", "--modle", "x"), "--model"),
        (("score", "0000"), "unknown run '0000'"),
        (("describe", "acme-parot"), "did you mean 'acme-parrot'"),
        (("list", "modls"), "models"),
    ],
)
def test_a_wrong_word_on_the_command_line(cli: Command, trivia: Path, arguments: tuple[str, ...], said: str) -> None:
    result = cli(*arguments)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert result.stdout == ""
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"id": "q0", "question": ', "trivia.jsonl:1: not JSON"),
        ("", "found no samples"),
        ('{"id": "q", "question": "a b", "answers": []}\n' * 2, "the sample id 'q' occurs twice"),
        ('{"id": "q"}', "KeyError: 'question'"),
        ('{"id": "q", "question": "half a pair \\ud800", "answers": []}', "sample 'q' cannot be stored"),
    ],
)
def test_malformed_data(cli: Command, trivia: Path, content: str, said: str) -> None:
    (trivia / "trivia.jsonl").write_text(content)
    result = cli(*EVAL)
    assert result.returncode == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        (("exat",), "did you mean 'exact'"),
        (("{exact: {wait: 2}}",), "unknown option 'wait' (did you mean 'weight'?)"),
        (("{exact: {colour: 2}}",), "it takes: weight"),
    ],
)
def test_a_wrong_metric_in_the_settings(cli: Command, trivia: Path, metrics: tuple[str, ...], said: str) -> None:
    write_settings(trivia.parent, metrics)
    result = cli(*EVAL)
    assert result.returncode == 2
    assert said in result.stderr


def test_a_mapping_of_two_metrics_in_one_place_is_refused(cli: Command, trivia: Path) -> None:
    write_settings(trivia.parent, ("{exact: {}, exact_words: {}}",))
    result = cli(*EVAL)
    assert result.returncode == 2
    assert "must be one score with its options" in result.stderr


def test_metric_options_reach_the_metric(cli: Command, trivia: Path) -> None:
    plain = json.loads(cli(*EVAL, "--json").stdout)["runs"][0]["scores"]["exact"]["value"]
    write_settings(trivia.parent, ("{exact: {weight: 0.5}}",))
    (run,) = json.loads(cli("score", json.loads(cli(*EVAL, "--json").stdout)["runs"][0]["run"], "--json").stdout)[
        "runs"
    ]
    assert run["scores"]["exact"]["value"] == pytest.approx(plain / 2)


def test_an_unknown_key_in_benchmarks_yaml(cli: Command, trivia: Path) -> None:
    file = trivia.parent / "benchmarks.yaml"
    file.write_text(file.read_text().replace("metrics:", "metrcs:"))
    result = cli(*EVAL)
    assert result.returncode == 2
    assert "benchmarks.yaml:4: unknown key 'metrcs' (did you mean 'metrics'?)" in result.stderr


def test_a_plugin_that_raises_at_import_is_shown_and_takes_nothing_down(
    cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = trivia.parent / "site"
    information = site / "broken_thing-3.0.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-thing\nVersion: 3.0\n")
    (information / "entry_points.txt").write_text("[harness]\nbroken = broken_thing\n")
    (site / "broken_thing.py").write_text("raise RuntimeError('no luck')")
    monkeypatch.syspath_prepend(str(site))
    assert cli(*EVAL).returncode == 0
    listed = cli("list")
    assert listed.returncode == 0
    assert "plugin 'broken' of broken-thing 3.0 is broken: RuntimeError: no luck" in listed.stderr
    doctor = cli("doctor")
    assert doctor.returncode == 2
    assert "broken-thing 3.0: RuntimeError: no luck" in doctor.stdout
    refused = cli("eval", "--model", "brocken:x", "--bench", "acme-trivia")
    assert "broken plugins that may bring it: 'broken'" in refused.stderr


def test_an_unexpected_error_is_saved_and_not_shown(
    cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise RuntimeError("a defect; api_key=hunter2")

    monkeypatch.setattr("harness.session.Session.plan", fail)
    result = cli(*EVAL)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    (report,) = (trivia.parent / "home" / "errors").iterdir()
    assert str(report) in result.stderr
    text = report.read_text()
    assert "Traceback" in text
    assert "hunter2" not in text


def test_control_characters_from_data_do_not_reach_the_terminal(cli: Command, trivia: Path) -> None:
    (trivia / "trivia.jsonl").write_text(json.dumps({"id": "q", "question": "say \x1b[31mred\u202e", "answers": ["x"]}))
    result = cli("eval", "--model", "acme-parrot:last,crash=\x1b[31mred\u202e", "--bench", "acme-trivia")
    assert "\x1b" not in result.stdout + result.stderr
    assert "\u202e" not in result.stdout + result.stderr
    assert "\\x1b[31mred" in result.stderr


def test_a_workspace_that_cannot_be_written(cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trivia.parent / "a-file").write_text("")
    read_only = trivia.parent / "read-only"
    read_only.mkdir()
    (read_only / "home").symlink_to(read_only / "nowhere" / "home")  # cannot be made, whoever tries
    monkeypatch.setenv("HARNESS_HOME", str(read_only / "home"))
    result = cli(*EVAL)
    assert result.returncode == 3
    assert f"{read_only / 'home'}: the workspace cannot be created" in result.stderr


@pytest.mark.parametrize(
    "command", [EVAL, ("list", "runs"), ("list", "pipelines"), ("list", "sweeps"), ("track", "list")]
)
@pytest.mark.parametrize("place", ["a-file", "a-file/home"])
def test_a_workspace_where_a_file_is(
    cli: Command, trivia: Path, monkeypatch: pytest.MonkeyPatch, command: Sequence[str], place: str
) -> None:
    file = trivia.parent / "a-file"
    file.write_text("")
    monkeypatch.setenv("HARNESS_HOME", str(trivia.parent / place))
    result = cli(*command)
    assert result.returncode == 2
    assert (
        f"{trivia.parent / place}: the workspace cannot be there: {file} is a file; set HARNESS_HOME" in result.stderr
    )


def test_doctor_says_what_to_do(cli: Command, trivia: Path) -> None:
    result = cli("doctor", "--json")
    assert result.returncode == 0, result.stdout
    states = json.loads(result.stdout)
    assert states["data"]["state"] == "ok"
    assert states["plugins"]["state"] == "ok"
    assert states["acme-absent"] == {
        "state": "absent", "detail": "not on this machine", "hint": "get one from acme.example",
    }  # fmt: skip
    (trivia / "trivia.jsonl").unlink()
    for picture in trivia.iterdir():
        picture.unlink()
    trivia.rmdir()
    assert json.loads(cli("doctor", "--json").stdout)["data"]["state"] == "absent"
