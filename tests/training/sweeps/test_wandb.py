"""Sweeps at W&B: the genuine SDK and its agents against the loopback server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command, write_settings, write_trivia
from wandb_server import Server, serve

from harness import UsageError
from training.sweeps.handover import Collected, _unfinished
from training.sweeps.reading import read_sweep
from training.sweeps.wandb_file import File, configuration, not_sent, planned, point_of

PROGRAM = """
name: bowl
method: grid
metric: {name: loss, goal: minimize}
parameters:
  a: {values: [1, 2, 3]}
  b: {parameters: {c: {values: [0.5, 2.0]}}}
program: bowl.py
project: bowls
"""
BOWL = """
import argparse, wandb
parser = argparse.ArgumentParser()
parser.add_argument("--a", type=int)
parser.add_argument("--b")
asked = parser.parse_args()
with wandb.init() as run:
    run.log({"loss": asked.a + run.config["b"]["c"]})
"""


@pytest.fixture
def server(sweeps: Any) -> Iterator[tuple[Server, Mapping[str, str]]]:
    with serve() as server:
        yield server, server.environment(sweeps.folder / "sdk")
        assert not server.unknown


def test_what_w_and_b_cannot_do_is_refused_by_name(sweeps: Any) -> None:
    ranges = (
        "parameters: {a: {min: 0.0, max: 1.0}, b: {min: 0.0, max: 1.0}}\ncommand: [x]\nmetric: {name: l}\nrun_cap: 3\n"
    )
    for method, what in (("bayes", "bayes cannot keep to them"), ("random", "points that can be counted")):
        path = sweeps.write(f"method: {method}\nconstraints: [a > b]\n{ranges}")
        with pytest.raises(UsageError, match=f"constraints: W&B.*{what}"):
            configuration(read_sweep(path), File(path, ()))


def test_allowed_points_are_handed_over_as_one_parameter(sweeps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(sweeps.folder)
    path = sweeps.write(
        "method: grid\nparameters: {a: {values: [1, 2]}, b: {parameters: {c: {values: [1, 2]}}}}\n"
        "constraints: [a < b.c]\ninclude: [{a: 0, b.c: 9}]\ncommand: [echo, '${args}']\n"
    )
    sweep = read_sweep(path)
    said = configuration(sweep, File(path, ["run_cap=5"]))
    points = [point_of(sweep, {"point": value}) for value in said["parameters"]["point"]["values"]]
    assert points == [{"a": 0, "b.c": 9}, {"a": 1, "b.c": 2}]
    assert said["command"][-2:] == ["--trial", "${args_json}"]
    assert said["command"][3:5] == ["--set", "run_cap=5"]
    assert "seed" not in said


SMALL = "method: grid\nparameters: {a: {values: [1, 2]}}\nevaluate: {model: 'm:x', benchmarks: [b]}\n"


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        (SMALL, ["evaluate.model=m:/srv/me/weights"], "command.4: '.*weights' would be sent"),
        (SMALL.replace("[1, 2]", "[/srv/me/1, 2]"), [], "parameters.a.values.0: '…/1' would be sent"),
        ("method: grid\nparameters: {a: {value: 1}}\nprogram: /srv/me/tr.py\n", [], "/srv/me/tr.py: lies outside"),
    ],
)
def test_where_things_lie_is_not_sent(
    sweeps: Any, monkeypatch: pytest.MonkeyPatch, text: str, changes: list[str], said: str
) -> None:
    monkeypatch.chdir(sweeps.folder)
    path = sweeps.write(text)
    with pytest.raises(UsageError, match=said):
        configuration(read_sweep(path, changes), File(path, changes))


def test_a_file_of_another_folder_is_not_handed_over(sweeps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sweeps.write(SMALL)
    monkeypatch.chdir(sweeps.folder)
    assert configuration(read_sweep(path), File(path, ()))["command"][2] == "it.yaml"
    (sweeps.folder / "deep").mkdir()
    monkeypatch.chdir(sweeps.folder / "deep")
    with pytest.raises(UsageError, match=r"it\.yaml: lies outside of the current folder.* in a folder that holds it"):
        configuration(read_sweep(path), File(path, ()))


def test_what_is_not_sent_is_said_by_name(cli: Command, workspace: Path) -> None:
    (workspace / "it.yaml").write_text(f"{SMALL}launch: {{resources: {{cpus: 2, memory: 4GB}}}}\nseed: 3\n")
    said = cli("sweep", "it.yaml", "--engine", "wandb", "--dry-run")
    assert said.returncode == 0, said.stderr
    for key in ("launch.resources.cpus", "launch.resources.memory", "seed"):
        assert f"  {key}: is not sent; " in said.stdout
    assert "not sent" not in cli("sweep", "it.yaml", "--dry-run").stdout
    (workspace / "it.yaml").write_text(f"{SMALL}launch: {{queue: q}}\n")
    assert "launch.queue: " in cli("sweep", "it.yaml", "--engine", "wandb", "--dry-run").stderr


@pytest.mark.parametrize(
    ("codes", "found", "wanted", "said"),
    [
        ([0, 0], Collected("FINISHED", 3, 0), 4, ""),
        ([0], Collected("RUNNING", 4, 0), 4, ""),
        ([0], Collected("RUNNING", 3, 0), 4, "it is RUNNING at W&B with 3 of 4 trials"),
        ([0], Collected("STOPPED", 3, 0), None, "it is STOPPED at W&B with 3 of its trials"),
        ([0], Collected("FINISHED", 3, 1), 4, "1 of its trials have not ended"),
        ([0, 1], Collected("FINISHED", 4, 0), 4, r"agent 2 ended with exit code 1 (one | two | three)"),
    ],
)
def test_what_is_over_at_w_and_b(
    tmp_path: Path, codes: list[int], found: Collected, wanted: int | None, said: str
) -> None:
    (tmp_path / "agent-2.log").write_text("zero\none\ntwo\nthree\n")
    assert _unfinished(codes, found, wanted, tmp_path) == said


def test_how_many_trials_there_are_to_be(sweeps: Any) -> None:
    path = sweeps.write(SMALL + "include: [{a: 2}, {a: 7}]\n")
    assert [planned(read_sweep(path, changes)) for changes in ((), ["run_cap=2"], ["method=random"])] == [3, 2, None]
    assert not not_sent(read_sweep(path))


@pytest.mark.slow
def test_agents_that_die_leave_the_sweep_incomplete(sweeps: Any, server: tuple[Server, Mapping[str, str]]) -> None:
    served, environment = server
    sweeps.write(PROGRAM)
    sweeps.write(BOWL, "bowl.py")
    served.faults.status(400, "CreateAgent$")
    told = sweeps.run("it.yaml", "--engine", "wandb", "--workers", "1", environment=environment, code=3)
    assert "agent 1 ended with exit code 1" in told["said"]
    assert told["counts"] == {"all": 0}
    served.faults.clear()
    told = sweeps.run("it.yaml", "--engine", "wandb", "--workers", "2", environment=environment)
    assert told["counts"] == {"all": 6, "done": 6}
    assert len(served.state.sweeps) == 1


@pytest.mark.slow
def test_an_agent_that_somebody_else_starts_sends_nothing_of_this_machine(
    sweeps: Any, server: tuple[Server, Mapping[str, str]], third_party: Path
) -> None:
    served, environment = server
    environment = {**environment, "PYTHONPATH": str(third_party)}
    write_trivia(sweeps.folder / "trivia")
    write_settings(sweeps.folder)
    sweeps.write(
        "method: grid\nmetric: {name: acme-trivia.exact}\nparameters: {image: {values: [none]}}\n"
        "evaluate: {model: 'acme-parrot:last', benchmarks: [acme-trivia]}\n"
    )
    served.faults.status(400, "CreateAgent$")
    sweeps.run("it.yaml", "--engine", "wandb", "--workers", "1", environment=environment, code=3)
    served.faults.clear()
    (sweep,) = served.state.sweeps.values()
    path = f"{sweep.project.entity.name}/{sweep.project.name}/{sweep.name}"
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    binaries = Path(sys.executable).parent
    own |= {**environment, "PATH": f"{binaries}:{own['PATH']}", "HARNESS_HOME": str(sweeps.folder / "home")}
    subprocess.run(
        [sys.executable, "-P", "-m", "wandb", "agent", path], env=own, cwd=sweeps.folder, check=True, timeout=120,
        capture_output=True,
    )  # fmt: skip
    (run,) = sweep.own_runs()
    sent = served.received()
    for place in (sweeps.folder, Path.home(), binaries):
        assert str(place).encode() not in sent
    assert (run.state, (run.host or "").strip()) == ("finished", "")


@pytest.mark.slow
def test_a_programs_sweep_is_w_and_bs_own(sweeps: Any, server: tuple[Server, Mapping[str, str]]) -> None:
    served, environment = server
    sweeps.write(PROGRAM)
    sweeps.write(BOWL, "bowl.py")
    told = sweeps.run("it.yaml", "--engine", "wandb", "--workers", "2", environment=environment)
    assert told["counts"] == {"all": 6, "done": 6}
    values = {(trial["parameters"]["a"], trial["parameters"]["b.c"]): trial["value"] for trial in told["trials"]}
    assert values == {(a, c): a + c for a in (1, 2, 3) for c in (0.5, 2.0)}
    assert told["best"]["value"] == 1.5
    (sweep,) = served.state.sweeps.values()
    assert sweep.state == "FINISHED"
    assert str(sweeps.folder).encode() not in sweep.config.encode()
    again = sweeps.run("it.yaml", "--engine", "wandb", environment=environment)
    assert again["trials"] == told["trials"]
    assert len(served.state.sweeps) == 1


@pytest.mark.slow
def test_evaluations_under_constraints_come_back_with_intervals(
    sweeps: Any, server: tuple[Server, Mapping[str, str]], third_party: Path
) -> None:
    served, environment = server
    write_trivia(sweeps.folder / "trivia")
    write_settings(sweeps.folder)
    sweeps.write("""
name: parrots
method: grid
metric: {name: acme-trivia.exact, goal: maximize}
evaluate: {model: "acme-parrot:last", benchmarks: [acme-trivia]}
parameters: {sleep: {values: [0, 0.001, 0.002]}, image: {values: [real, none]}}
constraints: ["sleep < 0.002", "sleep > 0 or image == 'none'"]
""")
    environment = {**environment, "PYTHONPATH": str(third_party)}
    here = sweeps.run("it.yaml", environment=environment)
    there = sweeps.run(
        "it.yaml", "--engine", "wandb", "--workers", "2",
        environment={**environment, "HARNESS_HOME": str(sweeps.folder / "other")},
    )  # fmt: skip

    def figures(told: Mapping[str, Any]) -> list[Any]:
        return sorted(
            [json.dumps(trial["parameters"]), trial["value"], trial["low"], trial["high"], trial["n"]]
            for trial in told["trials"]
        )

    assert len(figures(there)) == 3
    assert figures(there) == figures(here)
    sent = served.received()
    for place in (sweeps.folder, Path.home()):
        assert str(place).encode() not in sent


@pytest.mark.slow
def test_an_interrupted_handover_ends_its_agents_and_goes_on(
    sweeps: Any, server: tuple[Server, Mapping[str, str]]
) -> None:
    served, environment = server
    sweeps.write(PROGRAM)
    sweeps.write(BOWL, "bowl.py")
    driver = sweeps.start("it.yaml", "--engine", "wandb", "--workers", "1", environment=environment)
    sweeps.wait(lambda: bool(served.state.sweeps) and next(iter(served.state.sweeps.values())).given >= 1)
    os.kill(driver.pid, signal.SIGINT)
    assert driver.wait(60) == 130
    told = sweeps.run("it.yaml", "--engine", "wandb", "--workers", "2", environment=environment, code=None)
    assert len(served.state.sweeps) == 1
    assert told["counts"]["done"] >= 5


def test_without_a_login_nothing_is_begun(sweeps: Any) -> None:
    sweeps.write(PROGRAM)
    sweeps.write(BOWL, "bowl.py")
    nobody = {"WANDB_API_KEY": "", "WANDB_CONFIG_DIR": str(sweeps.folder), "HOME": str(sweeps.folder),
              "WANDB_BASE_URL": "http://127.0.0.1:9"}  # fmt: skip
    said = sweeps.run("it.yaml", "--engine", "wandb", code=2, environment=nobody)["said"]
    assert "W&B: " in said
    assert "wandb login" in said
