"""Whatever is killed, no trial is lost and none is done twice."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

SLEEPING = """
method: grid
metric: {{name: loss}}
parameters:
  number: {{min: 1, max: {trials}}}
command:
  - sh
  - -c
  - 'n=${{0#number=}}; echo $n >> begun; sleep {seconds}; echo $n >> ended; echo "{{\\"loss\\": $n}}"'
  - ${{args_no_hyphens}}
"""
"""Each trial writes its number down when it begins and when it ends."""


def trials_under(process: int) -> list[int]:
    """The shells that stand above a driver's trials."""
    path = Path(f"/proc/{process}/task")
    with suppress(OSError):
        return [int(child) for task in path.iterdir() for child in (task / "children").read_text().split()]
    return []


def kill(process: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(process, signal.SIGKILL)


def killed_and_resumed(sweeps: Any, trials: int, seconds: float) -> None:
    """A worker is killed, then the driver, in the middle; the same command finishes the sweep."""
    sweeps.write(SLEEPING.format(trials=trials, seconds=seconds))
    driver = sweeps.start("it.yaml", "--workers", "4")
    sweeps.wait(lambda: len(sweeps.numbers("ended")) >= trials // 4)
    sweeps.wait(lambda: bool(trials_under(driver.pid)))
    workers = trials_under(driver.pid)
    for worker in random.sample(workers, min(2, len(workers))):
        with suppress(ProcessLookupError):
            os.killpg(worker, signal.SIGKILL)
    sweeps.wait(lambda: len(sweeps.numbers("ended")) >= trials // 2)
    kill(driver.pid)
    assert driver.wait() == -signal.SIGKILL
    assert len(sweeps.numbers("ended")) < trials, "too late to say anything"
    told = sweeps.run("it.yaml", "--workers", "4")
    wanted = list(range(1, trials + 1))
    assert told["counts"] == {"all": trials, "done": trials}
    assert [trial["value"] for trial in told["trials"]] == wanted
    # What went on without its driver is not begun again; only what was killed itself is, and it may have been about
    # to end.
    for name in ("begun", "ended"):
        seen = sweeps.numbers(name)
        assert set(seen) == set(wanted)
        assert sum(seen.values()) - trials <= 2


def test_trials_survive_their_workers_and_their_driver(sweeps: Any) -> None:
    killed_and_resumed(sweeps, 40, 0.05)


@pytest.mark.slow
def test_a_thousand_trials_survive_their_workers_and_their_driver(sweeps: Any) -> None:
    killed_and_resumed(sweeps, 1000, 0.01)


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.slow)]
)
def test_an_interrupted_sweep_asks_its_trials_to_end_and_goes_on(sweeps: Any, number: int, code: int) -> None:
    sweeps.write("""
method: grid
metric: {name: loss}
parameters: {number: {values: [1, 2, 3]}}
command:
  - sh
  - -c
  - 'trap "echo saved >> saved; exit 143" TERM; echo 1 >> begun; test -f saved || { sleep 60 & wait; };
    echo "{\\"loss\\": 1}"'
""")
    driver = sweeps.start("it.yaml", "--workers", "2")
    sweeps.wait(lambda: sweeps.numbers("begun")[1] == 2)
    for _ in range(2):  # as `timeout` does: its child, then its group
        os.kill(driver.pid, number)
        time.sleep(0.01)
    said = driver.communicate(timeout=30)[1]
    assert driver.returncode == code
    assert "trial 0001 was interrupted, and waits" in said
    assert "begins again" not in said
    assert (sweeps.folder / "saved").read_text().split() == ["saved"] * 2
    assert sweeps.run("it.yaml", "--workers", "2")["counts"] == {"all": 3, "done": 3}
    assert sweeps.numbers("begun")[1] == 5


def test_two_drivers_share_a_sweep(sweeps: Any) -> None:
    sweeps.write(SLEEPING.format(trials=24, seconds=0.05))
    first = sweeps.start("it.yaml", "--workers", "2", "--json")
    assert sweeps.run("it.yaml", "--workers", "2")["counts"] == {"all": 24, "done": 24}
    first.communicate(timeout=60)
    assert first.returncode == 0
    assert sorted(sweeps.numbers("begun").elements()) == list(range(1, 25))


def test_a_trial_that_is_killed_again_and_again_fails(sweeps: Any) -> None:
    sweeps.write("""
method: grid
parameters: {number: {values: [1]}}
command: [sh, -c, 'echo 1 >> begun; kill -9 $$']
""")
    told = sweeps.run("it.yaml", code=3)
    assert sweeps.numbers("begun")[1] == 3
    assert told["trials"][0]["status"] == "failed"
    assert "exit code 137" in told["said"]
