"""Stages are carried out after what they depend on, once for the same settings and inputs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import open_session

Run = Callable[..., Any]

FOUR = """
a:
  job: {command: [sh, -c, "echo a >> ran; echo {parameters.word} > $0/x", "{outputs.data}"]}
  outputs: {data: {name: words, type: dataset}}
b:
  inputs: {words: a.data}
  job: {command: [sh, -c, "echo b >> ran; echo {inputs.words}"]}
c:
  depends_on: a
  job: {command: [sh, -c, "echo c >> ran; echo {depends_on_artifact} {{as it is}}"]}
d:
  depends_on: [b, c]
  job: {command: [sh, -c, "echo d >> ran; echo {parameters.other}"]}
"""
WORDS = "{word: hello, other: 1}"


def ran() -> list[str]:
    """Which stages were carried out since the last look."""
    path = Path("ran")
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return found


def log(stage: dict[str, Any]) -> str:
    return Path("home", stage["log"]).read_text()


def test_all_is_carried_out_in_order_and_then_used_again(run: Run) -> None:
    first = run(FOUR, parameters=WORDS)
    assert (first.code, set(first.states.values())) == (0, {"done"})
    order = ran()
    assert (order[0], sorted(order[1:3]), order[3]) == ("a", ["b", "c"], "d")
    assert log(first.stages["b"]) == "words:v0\n"
    assert log(first.stages["c"]) == "words:v0 {as it is}\n"
    assert first.stages["a"]["outputs"]["data"]["reference"] == "words:v0"
    again = run(None)
    assert (again.code, set(again.states.values()), ran()) == (0, {"reused"}, [])
    assert "a: reused (nothing changed): words:v0" in again.said
    assert [again.stages[name]["seconds"] for name in "abcd"] == [first.stages[name]["seconds"] for name in "abcd"]


def test_a_changed_parameter_carries_out_what_rests_on_it_alone(run: Run) -> None:
    run(FOUR, parameters=WORDS)
    ran()
    other = run(None, "--set", "other=2")
    assert ran() == ["d"]
    assert other.stages["d"]["why"] == 'job.command.2: …> ran; echo 1" → …> ran; echo 2"'
    assert other.states == {"a": "reused", "b": "reused", "c": "reused", "d": "done"}
    more = run(None, "--set", "word=bye")
    assert sorted(ran()) == ["a", "b", "c", "d"]
    assert more.stages["b"]["why"] == "input words changed"
    run(None)
    assert ran() == []  # what had been made with these parameters before is there still


def test_what_turns_out_as_it_was_is_used_again(run: Run) -> None:
    run(FOUR, parameters=WORDS)
    ran()
    same = run(FOUR.replace("echo {parameters.word}", "printf '%s\\\\n' {parameters.word}"), parameters=WORDS)
    assert ran() == ["a"]
    assert same.states == {"a": "done", "b": "reused", "c": "reused", "d": "reused"}


def test_what_was_deleted_is_made_again(run: Run) -> None:
    run(FOUR, parameters=WORDS)
    ran()
    with open_session() as session:
        session.checkpoints.delete("words", "v0")
    again = run(None)
    assert (ran(), again.stages["a"]["why"]) == (["a"], "words:v0 was deleted")


def test_a_failure_stops_what_rests_on_it_and_nothing_else(run: Run) -> None:
    stages = """
a:
  job: {command: [sh, -c, "echo broken >&2; exit 1"]}
b:
  depends_on: a
  job: {command: [touch, b]}
c:
  depends_on: b
  job: {command: [touch, c]}
d:
  job: {command: [touch, d]}
e:
  job: {command: [sh, -c, "exit 3"]}
f:
  depends_on: e
  job: {command: [touch, f]}
"""
    failed = run(stages, "--report", "page.html")
    assert failed.code == 2  # 1 is a failed gate's
    assert failed.states == {
        "a": "failed", "b": "stopped", "c": "stopped", "d": "done", "e": "incomplete", "f": "stopped",
    }  # fmt: skip
    assert "a failed: exit code 1: broken; 2 stages that rest on it: not carried out" in Path("page.html").read_text()
    assert [Path(name).exists() for name in "bcd"] == [False, False, True]
    assert "a: failed: exit code 1: broken\n  │ broken\n  its whole output is in " in failed.said
    again = run(stages.replace("exit 1", "exit 0"), "--report", "page.html")
    assert again.states == {
        "a": "done", "b": "done", "c": "done", "d": "reused", "e": "incomplete", "f": "stopped",
    }  # fmt: skip
    assert "e is incomplete: exit code 3; 1 stage that rests on it: not carried out" in Path("page.html").read_text()


@pytest.mark.parametrize(("code", "ours"), [(2, 2), (3, 3), (130, 2)])
def test_how_a_stage_ends_is_how_the_pipeline_ends(run: Run, code: int, ours: int) -> None:
    assert run(f"a:\n  job: {{command: [sh, -c, 'exit {code}']}}").code == ours


def test_what_was_promised_must_be_made(run: Run) -> None:
    stages = "a:\n  job: {command: [echo, hello]}\n  outputs: {m: {name: m, type: model}}"
    failed = run(stages)
    assert (failed.code, "made no m: nothing is in the folder {outputs.m}" in failed.said) == (2, True)
    with open_session() as session:
        assert session.checkpoints.names() == []


def test_a_program_may_name_what_it_published_itself(run: Run, cli: Command) -> None:
    run("a:\n  job: {command: [sh, -c, 'echo 1 > $0/x', '{outputs.m}']}\n  outputs: {m: {name: m, type: model}}")
    said = json.dumps({"outputs": {"n": "m:v0"}})
    for kind, code in (("model", 0), ("dataset", 2)):
        program = f"b:\n  job: {{command: [echo, '{said.replace('{', '{{').replace('}', '}}')}']}}\n"
        assert run(f"{program}  outputs: {{n: {{name: m, type: {kind}}}}}").code == code


def test_no_more_stages_go_on_at_once_than_are_allowed(run: Run) -> None:
    one = 'sh, -c, "echo + >> at; sleep 0.2; echo - >> at"'
    stages = "\n".join(f"s{n}:\n  job: {{command: [{one}]}}" for n in range(4))
    for parallel in (1, 3):
        Path("at").unlink(missing_ok=True)
        assert run(stages, "--parallel", str(parallel), *(f"--force=s{n}" for n in range(4))).code == 0
        now, most = 0, 0
        for sign in Path("at").read_text().split():
            now += 1 if sign == "+" else -1
            most = max(most, now)
        assert most == parallel


def test_a_stage_waits_for_cores(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    one = 'sh, -c, "echo + >> at; sleep 0.1; echo - >> at"'
    run("\n".join(f"s{n}:\n  job: {{command: [{one}]}}\n  resources: {{cpus: 2}}" for n in range(2)))
    assert Path("at").read_text().split() == ["+", "-", "+", "-"]


def test_only_from_and_force_choose_stages(run: Run) -> None:
    refused = run(FOUR, "--from", "d", parameters=WORDS)
    assert (refused.code, "a was not done yet, and what is asked for rests on it" in refused.said) == (2, True)
    assert run(None, "--only", "a").states == {"a": "done", "b": "left out", "c": "left out", "d": "left out"}
    assert ran() == ["a"]
    run(None)
    ran()
    taken = run(None, "--from", "b", "--set", "word=bye", "--set", "other=2")
    assert taken.states == {"a": "reused", "b": "reused", "c": "reused", "d": "done"}
    assert ran() == ["d"]
    assert "a: reused (not asked for; used as it was (job.command.2:" in taken.said
    assert run(None, "--force", "b").states == {"a": "reused", "b": "done", "c": "reused", "d": "done"}
    wrong = run(None, "--only", "a", "--force", "b")
    assert (wrong.code, "--force b: is not among the stages" in wrong.said) == (2, True)
    assert "unknown stage 'e'" in run(None, "--from", "e").said


def test_a_plan_starts_nothing_and_says_why(run: Run) -> None:
    def planned(*arguments: str) -> dict[str, tuple[str, str]]:
        stages = run(None, "--dry-run", *arguments).stages
        return {name: (stage["action"], stage["why"]) for name, stage in stages.items()}

    run(FOUR, "--dry-run", parameters=WORDS)
    assert planned() == {
        "a": ("run", "new"), "b": ("run", "after a"), "c": ("run", "after a"), "d": ("run", "after b, c"),
    }  # fmt: skip
    assert ran() == []
    run(None)
    ran()
    assert {action for action, _ in planned().values()} == {"reuse"}
    found = planned("--set", "word=bye")
    assert [found[name][0] for name in "abcd"] == ["run", "maybe", "maybe", "maybe"]
    assert found["b"][1] == "as a turns out"
    assert ran() == []


def test_files_that_are_read_are_part_of_it(run: Run) -> None:
    Path("x").write_text("1")
    Path("folder").mkdir()
    stages = "a:\n  job: {command: [sh, -c, 'echo a >> ran'], reads: [x, folder]}"
    run(stages)
    assert (run(None).states, ran()) == ({"a": "reused"}, ["a"])
    Path("x").write_text("2")
    assert run(None).stages["a"]["why"] == "file x changed"
    Path("folder", "y").write_text("new")
    assert run(None).stages["a"]["why"] == "file folder changed"


def test_what_a_command_names_is_part_of_it(run: Run) -> None:
    """A program, also one that a shell is told of, but not the file that it writes."""
    Path("make.py").write_text("1")
    Path("tool.sh").write_text("cat $1 >> ran")
    Path("x.txt").write_text("one")
    stages = """
a:
  job: {command: [cat, make.py]}
b:
  job: {command: [sh, -c, "sh tool.sh x.txt; echo b > made.txt", "."]}
"""
    run(stages)
    assert set(run(None).states.values()) == {"reused"}
    Path("make.py").write_text("2")
    changed = run(None)
    assert (changed.states, changed.stages["a"]["why"]) == ({"a": "done", "b": "reused"}, "file make.py changed")
    for path, text in (("tool.sh", "cat $1 $1 >> ran"), ("x.txt", "two")):
        Path(path).write_text(text)
        assert run(None).stages["b"]["why"] == f"file {path} changed"
    assert set(run(None).states.values()) == {"reused"}


SILENT = """
a:
  job: {command: [sh, -c, "echo {parameters.v} > state"]}
b:
  depends_on: a
  job: {command: [sh, -c, "cp state $0", "{outputs.d}"]}
  outputs: {d: {name: d, type: dataset}}
"""
LOUD = """
a:
  job: {command: [sh, -c, "echo {parameters.v} > state; cp state $0", "{outputs.d}"]}
  outputs: {d: {name: d, type: dataset}}
b:
  depends_on: a
  job: {command: [cat, state]}
"""


def test_what_must_come_before_is_part_of_it(run: Run) -> None:
    for stages, file in ((LOUD, "b"), (SILENT, "a")):
        run(stages, parameters="{v: 1}")
        assert set(run(None).states.values()) == {"reused"}
        assert run(None, "--set", "v=2").states == {"a": "done", "b": "done"}, file
        assert set(run(None).states.values()) == {"reused"}
    assert run(None, "--force", "a").states == {"a": "done", "b": "done"}  # nobody can tell what it did


def test_what_was_used_as_it_was_is_taken_for_what_it_was(run: Run) -> None:
    run(SILENT, parameters="{v: 1}")
    assert run(None, "--from", "b", "--set", "v=2").states == {"a": "reused", "b": "reused"}
    both = run(None, "--set", "v=2")
    assert both.states == {"a": "done", "b": "done"}
    with open_session() as session:
        assert (session.checkpoints.resolve("d", "latest").checkout() / "state").read_text() == "2\n"


def test_versions_of_the_registry_are_taken_by_their_digest(run: Run) -> None:
    made = "a:\n  job: {command: [sh, -c, 'echo {parameters.n} > $0/x', '{outputs.m}']}\n"
    run(made + "  outputs: {m: {name: m, type: model}}", parameters="{n: 1}")
    use = "b:\n  inputs: {m: 'm:latest'}\n  job: {command: [sh, -c, 'echo b >> ran; echo {inputs.m}']}"
    first = run(use)
    assert log(first.stages["b"]) == "m:v0\n"
    with open_session() as session:
        session.checkpoints.alias("m", "other", "v0")
    assert run(use.replace("m:latest", "m:other")).states == {"b": "reused"}  # another name for the same
    run(made + "  outputs: {m: {name: m, type: model}}", parameters="{n: 2}")
    assert run(use).stages["b"]["why"] == "input m changed"


def test_what_is_incomplete_is_told_in_words(run: Run, book: Path) -> None:
    """The evaluation's JSON comes last in its output, and says nothing to a reader."""
    answers = list(json.loads(Path("70.json").read_text()).items())
    Path("40.json").write_text(json.dumps(dict(answers[::2])))
    ran = run(
        "a:\n  job: {command: [cp, 40.json, '{outputs.m}/answers.json']}\n"
        "  outputs: {m: {name: acme-book, type: model}}\n"
        "b:\n  inputs: {m: a}\n  evaluate: {model: '{inputs.m}', benchmarks: acme-trivia}"
    )
    assert (ran.code, ran.states["b"]) == (3, "incomplete")
    assert "100 of 200 samples failed" in ran.stages["b"]["why"], ran.stages["b"]
    assert '"coverage"' not in ran.said


def test_times_are_listed_and_the_newest_is_reported(run: Run, cli: Command) -> None:
    run(FOUR, parameters=WORDS.replace("}", ", note: none}"))
    run(None, "--set", "word=bye", "--set", "note=<b>bold</b>", "--report", "page.html")
    (listed,) = json.loads(cli("list", "pipelines", "--json").stdout)["pipelines"]
    assert (listed["pipeline"], listed["times"], set(listed["stages"].values())) == ("p", 2, {"done"})
    page = Path("page.html").read_text()
    assert "&lt;b&gt;bold&lt;/b&gt;" in page
    assert "<b>bold" not in page
    assert "words:v1" in page
    assert "4 of 4" in cli("list", "pipelines").stdout
    assert "unknown pipeline 'q'" in cli("report", "--pipeline", "q").stderr
