"""Tasks as processes of this machine: how they end, and that they outlive whoever started them."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest

from harness import HarnessError, UsageError
from training.jobs.targets.local import LocalTarget
from training.jobs.task import Task, result_of

SPAWN = multiprocessing.get_context("spawn")


def task(folder: Path, *command: str, key: str = "") -> Task:
    return Task("a", command, folder, folder / "logs" / "a.log", {"ADDED": "yes"}, key=key)


def shell(folder: Path, script: str) -> Task:
    return task(folder, "sh", "-c", script)


def start_and_hang(folder: Path) -> None:
    """A driver that starts a task and is killed."""
    LocalTarget().start(shell(folder, "echo begun >> seen; sleep 0.6; echo '{\"score\": 1}'; exit 7"))
    (folder / "started").touch()
    time.sleep(60)


def killed_driver(folder: Path) -> None:
    driver = SPAWN.Process(target=start_and_hang, args=(folder,))
    driver.start()
    wait_for(folder / "started")
    os.kill(driver.pid or 0, signal.SIGKILL)
    driver.join()


def wait_for(path: Path) -> None:
    until = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < until, f"{path} did not come"
        time.sleep(0.02)


def members(group: int) -> list[int]:
    """The processes of a group that are not zombies."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] != "Z":
            found.append(int(path.parent.name))
    return found


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)])
def test_an_exit_code_is_the_shells_and_known_later(tmp_path: Path, script: str, code: int) -> None:
    assert LocalTarget().start(shell(tmp_path, script)).wait(10) == code
    found = LocalTarget().find(shell(tmp_path, script), {})
    assert found is not None
    assert found.wait(0) == code


def test_all_that_is_said_is_in_the_log_after_what_was_there(tmp_path: Path) -> None:
    one = shell(tmp_path, "echo out; echo err >&2; echo $ADDED; cat; echo '{\"x\": 1}'; echo end")
    one.log.parent.mkdir()
    one.log.write_text("before\n")
    assert LocalTarget().start(one).wait(10) == 0
    assert one.log.read_text() == 'before\nout\nerr\nyes\n{"x": 1}\nend\n'
    assert result_of(one.log) == {"x": 1}


def test_stopping_reaches_all_of_its_processes_and_waits_for_what_they_save(tmp_path: Path) -> None:
    script = "trap 'sleep 0.1; echo saved; exit 143' TERM; sh -c 'touch child; exec sleep 60' & wait"
    running = LocalTarget().start(shell(tmp_path, script))
    wait_for(tmp_path / "child")
    running.stop()
    assert running.wait(10) == 143
    assert (tmp_path / "logs" / "a.log").read_text().splitlines()[-1] == "saved"
    assert members(running.note["process"]) == []


def test_killing_ends_what_does_not_listen(tmp_path: Path) -> None:
    running = LocalTarget().start(shell(tmp_path, "trap '' TERM; touch up; sleep 60; sleep 60"))
    wait_for(tmp_path / "up")
    running.stop()
    assert running.wait(0.3) is None
    running.kill()
    assert running.wait(10) == 137
    assert members(running.note["process"]) == []


def test_a_task_outlives_its_killed_driver_and_the_next_one_learns_its_end(tmp_path: Path) -> None:
    killed_driver(tmp_path)
    target, same = LocalTarget(), shell(tmp_path, "not run")
    found = target.find(same, {})
    assert found is not None
    assert found.wait(0) is None, "it is still at work"
    with pytest.raises(UsageError, match="at work already"):
        target.start(same)
    assert found.wait(10) == 7
    assert (tmp_path / "seen").read_text() == "begun\n", "it ran once"
    assert result_of(same.log) == {"score": 1}


def test_a_found_task_can_be_stopped(tmp_path: Path) -> None:
    killed_driver(tmp_path)
    found = LocalTarget().find(shell(tmp_path, "not run"), {})
    assert found is not None
    found.stop()
    assert found.wait(10) == 143


def test_what_never_began_or_was_another_attempt_is_not_found(tmp_path: Path) -> None:
    target = LocalTarget()
    assert target.find(task(tmp_path, "true", key="a-1"), {}) is None
    assert target.start(task(tmp_path, "true", key="a-1")).wait(10) == 0
    assert target.find(task(tmp_path, "true", key="a-1"), {}) is not None
    assert target.find(task(tmp_path, "true", key="a-2"), {}) is None


def test_what_a_killed_shell_leaves_behind_does_not_run_beside_the_next_attempt(tmp_path: Path) -> None:
    target = LocalTarget()
    first = target.start(shell(tmp_path, "touch up; sleep 60"))
    wait_for(tmp_path / "up")
    os.kill(first.note["process"], signal.SIGKILL)
    assert first.wait(10) == 137
    assert members(first.note["process"]), "its task goes on without it"
    assert target.start(shell(tmp_path, "true")).wait(10) == 0
    assert members(first.note["process"]) == []


def test_what_cannot_be_started_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match=r"'no-such-program' cannot be started in .* \(there is no such program\)"):
        LocalTarget().start(task(tmp_path, "no-such-program"))
    with pytest.raises(HarnessError, match="there is no such folder"):
        LocalTarget().start(Task("a", ["true"], tmp_path / "gone", tmp_path / "a.log"))
