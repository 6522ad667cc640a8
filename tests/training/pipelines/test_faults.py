"""Whoever is killed, nothing is done twice at once, nothing that was done is lost, and the same command goes on."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., Any]
Start = Callable[..., "subprocess.Popen[str]"]
Write = Callable[..., Path]

SLOW = """
a:
  job: {command: [sh, -c, "echo $$ >> a; until [ -e go ]; do sleep 0.02; done; echo done > $0/x", "{outputs.data}"]}
  outputs: {data: {name: d, type: dataset}}
b:
  depends_on: a
  job: {command: [sh, -c, "echo b >> b; echo {depends_on_artifact}"]}
"""


def lines(path: str) -> list[str]:
    return Path(path).read_text().split() if Path(path).exists() else []


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


def start(*arguments: str) -> subprocess.Popen[str]:
    """`harness pipeline` as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness", "pipeline", "p.yaml", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.fixture
def begin() -> Iterator[Start]:
    """Start the pipeline as a process of its own, and wait until its first stage is at work."""
    begun: list[subprocess.Popen[str]] = []

    def call(*arguments: str) -> subprocess.Popen[str]:
        before = len(lines("a"))
        begun.append(start(*arguments))
        wait_until(lambda: len(lines("a")) > before)
        return begun[-1]

    yield call
    Path("go").touch()
    for process in begun:
        process.kill()
        process.communicate()


def test_a_stage_outlives_its_driver_and_is_taken_over(write: Write, begin: Start, run: Run) -> None:
    write(SLOW)
    driver = begin()
    driver.kill()
    driver.wait()
    following = start()
    time.sleep(0.5)
    Path("go").touch()
    _, err = following.communicate(timeout=30)
    assert following.returncode == 0, err
    assert (len(lines("a")), lines("b")) == (1, ["b"])
    assert "a: running: goes on" in err
    assert run(None).states == {"a": "reused", "b": "reused"}


@pytest.mark.slow
def test_what_ended_while_nobody_looked_is_not_done_again(write: Write, begin: Start, run: Run) -> None:
    write(SLOW)
    driver = begin()
    driver.kill()
    driver.wait()
    Path("go").touch()
    (stage,) = lines("a")
    wait_until(lambda: not Path(f"/proc/{stage}").exists())
    assert run(None).states == {"a": "done", "b": "done"}
    assert len(lines("a")) == 1


@pytest.mark.slow
def test_two_at_once_carry_each_stage_out_once(write: Write, begin: Start) -> None:
    write(SLOW)
    one = begin()
    other = start()
    line = ""
    while "a: awaited" not in line:
        line = other.stderr.readline()  # type: ignore[union-attr]
        assert line
    Path("go").touch()
    for process in (one, other):
        _, err = process.communicate(timeout=30)
        assert process.returncode == 0, err
    assert (len(lines("a")), len(lines("b"))) == (1, 1)


def test_two_carry_out_once_what_both_had_decided_before_and_end_alike(write: Write, begin: Start) -> None:
    """Each does one stage at a time: the first decides about b, which the other then does, and goes on with c."""
    stages = SLOW.replace("depends_on: a", "retries: 0").replace("echo {depends_on_artifact}", "exit 3")
    write(f"{stages}c:\n  depends_on: a\n  job: {{command: ['true']}}")
    one = begin("--parallel", "1")
    other = start("--parallel", "1")
    wait_until(lambda: lines("b"))
    Path("go").touch()
    said = [process.communicate(timeout=30)[1] for process in (one, other)]
    assert (one.returncode, other.returncode) == (3, 3), said
    assert (len(lines("a")), lines("b")) == (1, ["b"])
    who = f"process {other.pid} on {platform.node()}"
    assert f"b: awaited: {who} carries it out\n" in said[0]
    assert f"b: incomplete: exit code 3; {who} carried it out\n" in said[0]


@pytest.mark.parametrize(
    ("number", "code"), [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, 143)]
)
def test_a_signal_lets_stages_save_and_the_same_command_goes_on(
    write: Write, begin: Start, run: Run, number: int, code: int
) -> None:
    write(SLOW.replace("echo $$ >> a;", "trap 'echo saved >> a; exit 143' TERM; echo $$ >> a;"))
    driver = begin()
    driver.send_signal(number)
    _, err = driver.communicate(timeout=30)
    assert driver.returncode == code, err
    assert lines("a")[1:] == ["saved"]
    assert "a: interrupted\n" in err
    Path("go").touch()
    again = run(None)
    assert again.states == {"a": "done", "b": "done"}
    assert (again.stages["a"]["tries"], again.stages["a"]["why"]) == (2, "goes on")


@pytest.mark.slow
def test_a_second_signal_waits_for_nobody(write: Write, begin: Start) -> None:
    write(SLOW.replace("echo $$ >> a;", "trap '' TERM; echo $$ >> a;"))
    driver = begin()
    driver.send_signal(signal.SIGINT)
    time.sleep(0.5)
    driver.send_signal(signal.SIGINT)
    _, err = driver.communicate(timeout=10)
    assert driver.returncode == 130, err
    (stage,) = lines("a")
    wait_until(lambda: not Path(f"/proc/{stage}").exists())


@pytest.mark.parametrize(("retries", "code", "tries"), [(3, 0, 3), (1, 2, 2)])
def test_a_stage_that_is_killed_begins_again_so_often(run: Run, retries: int, code: int, tries: int) -> None:
    stages = f"""
a:
  job: {{command: [sh, -c, "echo + >> a; [ $(wc -l < a) -ge 3 ] || kill -9 $$"]}}
  retries: {retries}
"""
    ran = run(stages)
    assert (ran.code, len(lines("a")), ran.stages["a"]["tries"]) == (code, tries, tries)
    if code:
        assert "was ended from outside 2 times; exit code 137" in ran.stages["a"]["why"]


def test_a_program_that_is_not_there_is_no_preemption(run: Run) -> None:
    ran = run("a:\n  job: {command: [no-such-program]}")
    assert (ran.code, ran.stages["a"]["tries"]) == (2, 0)
    assert "'no-such-program' cannot be started" in ran.said


@pytest.mark.slow
def test_retries_are_counted_over_restarts_of_the_driver(write: Write, begin: Start, run: Run) -> None:
    """One preemption before the driver is killed, and one after, are two."""
    stages = SLOW.replace("echo $$ >> a;", "echo $$ >> a; [ $(wc -l < a) -ge 2 ] || kill -9 $$;")
    write(stages.replace("\nb:", "\n  retries: 1\nb:"))
    driver = begin()
    wait_until(lambda: len(lines("a")) == 2)
    driver.kill()
    driver.wait()
    os.kill(int(lines("a")[1]), signal.SIGKILL)
    ran = run(None)
    assert (ran.code, len(lines("a"))) == (2, 2)
    assert "was ended from outside 2 times" in ran.stages["a"]["why"]
