"""Jobs are carried out once, retried after interruptions alone, and gone on with whoever is killed."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests_support import Command

from harness import Incomplete, Session, Work, open_session
from training.jobs.agent import Agent, Ended, Offer
from training.jobs.elsewhere import ELSEWHERE
from training.jobs.order import Order
from training.jobs.queues import Queue, log_of, submit
from training.jobs.settings import JobSettings
from training.jobs.targets.local import LocalProcess, LocalTarget
from training.jobs.task import Task

FLAKY = "n=$(cat count 2>/dev/null || echo 0); echo $((n + 1)) > count; [ $n -ge {good} ] || kill -{signal} $$"


@pytest.fixture
def session(workspace: Path) -> Iterator[Session]:
    with open_session() as opened:
        yield opened


@pytest.fixture
def queue(session: Session) -> Work:
    return session.work.open("queue", "q")


def job(script: str, **given: Any) -> JobSettings:
    return JobSettings.model_validate_json(json.dumps({"name": "a", "entry_point": ["sh", "-c", script], **given}))


def put(session: Session, queue: Work, script: str, **given: Any) -> str:
    return submit(session, queue, Order.new(job(script, **given), "local", {})).name


def carried(session: Session, queue: Work, script: str, **given: Any) -> Ended:
    put(session, queue, script, **given)
    (end,) = Agent(session, queue).run()
    return end


def wait_until(condition: Callable[[], object]) -> None:
    until = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.02)


def start(*arguments: str) -> subprocess.Popen[str]:
    """A `harness` of its own, in the current folder."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "harness", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )  # fmt: skip


def test_a_job_ends_with_its_result(session: Session, queue: Work) -> None:
    end = carried(session, queue, "echo working; echo '{\"score\": 0.5}'")
    assert (end.code, end.item.status, end.item.attempt) == (0, "done", 1)
    assert end.item.result == {"code": 0, "exit_code": 0, "value": {"score": 0.5}}
    assert log_of(session, end.item).read_text() == 'working\n{"score": 0.5}\n'


@pytest.mark.parametrize(("code", "ours"), [(1, 2), (2, 2), (3, 3), (7, 2), (127, 2), (130, 3)])
def test_an_error_of_its_own_is_told_on_our_scale_and_never_retried(
    session: Session, queue: Work, code: int, ours: int
) -> None:
    end = carried(session, queue, f"echo x >> runs; exit {code}")
    assert (end.code, end.item.status, end.item.reason) == (ours, "failed", f"ended with exit code {code}")
    assert Path("runs").read_text() == "x\n"


def test_only_a_command_of_ours_that_says_so_ends_with_1_for_a_gate(
    session: Session, queue: Work, workspace: Path
) -> None:
    """A stand-in for `harness`, which is started as a module of this Python's."""
    (workspace / "harness.py").write_text("import sys\nprint(sys.argv[1])\nsys.exit(1)\n")
    for said, code in (('{"verdict": "fail"}', 1), ("No module named harness", 2)):
        for command, ours in (([sys.executable, "-m", "harness"], code), ([sys.executable, "harness.py"], 2)):
            end = carried(session, queue, "", entry_point=[*command, said])
            assert (end.code, end.item.status) == (ours, "failed"), (said, command)


@pytest.mark.parametrize(("number", "code"), [(9, 137), (15, 143)])
def test_an_interruption_is_retried_a_bounded_number_of_times(
    session: Session, queue: Work, number: int, code: int
) -> None:
    end = carried(session, queue, FLAKY.format(good=2, signal=number), max_retries=2)
    assert (end.code, end.item.note["starts"], Path("count").read_text()) == (0, 3, "3\n")
    Path("count").unlink()
    end = carried(session, queue, FLAKY.format(good=2, signal=number), max_retries=1)
    assert (end.code, end.item.status, Path("count").read_text()) == (3, "failed", "2\n")
    assert end.item.reason == f"was ended from outside ({code}) once more than max_retries says"
    session.work.again(queue)
    (end,) = Agent(session, queue).run()
    assert (end.code, Path("count").read_text()) == (0, "3\n"), "who lets it wait again lets it start again"


def test_a_retried_job_goes_on_from_the_newest_version(session: Session, queue: Work, workspace: Path) -> None:
    (workspace / "made").mkdir()
    (workspace / "made" / "weights").write_text("1")
    script = 'echo "[$0]"; [ "$0" = --resume=mine:v0 ] || { echo; touch killed; sleep 0.5; kill -9 $$; }'
    put(session, queue, script, resume_from_artifact="mine", parameters={"resume": "{resume_from_artifact}"})
    agent = Agent(session, queue)
    thread = threading.Thread(target=agent.run)
    thread.start()
    wait_until(Path("killed").exists)
    session.checkpoints.publish(workspace / "made", "mine", type="model")
    thread.join()
    (item,) = session.work.items(queue)
    assert (item.status, item.note["starts"]) == ("done", 2)
    assert log_of(session, item).read_text().splitlines()[0] == "[sh]", "at first there is nothing to go on from"
    assert log_of(session, item).read_text().splitlines()[-1] == "[--resume=mine:v0]"


def test_what_cannot_be_started_has_failed(session: Session, queue: Work) -> None:
    end = carried(session, queue, "true", secrets=["NO_SUCH_VARIABLE"])
    assert (end.code, end.item.status) == (2, "failed")
    assert "NO_SUCH_VARIABLE is not set" in str(end.error)


def test_what_cannot_be_read_has_failed_and_holds_up_no_other(session: Session, queue: Work) -> None:
    session.work.add(queue, {"odd": {"job": '{"entry_point": ["x"], "from": "a later version"}', "id": "1"}})
    put(session, queue, "true")
    agent = Agent(session, queue)
    assert [(end.item.name, end.code, end.item.status) for end in agent.run()] == [
        ("odd", 2, "failed"),
        ("a-1", 0, "done"),
    ]
    assert "odd: cannot be read as a job (from: Extra inputs are not permitted)" in str(
        session.work.items(queue)[0].reason
    )


def test_what_is_a_secret_elsewhere_is_carried_out(
    session: Session, queue: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(session, queue, "true # of 1f8d4e2a9c7b6035")
    monkeypatch.setenv("CACHE_KEY", "1f8d4e2a9c7b6035")
    (end,) = Agent(session, queue).run()
    assert end.code == 0


def test_several_jobs_are_carried_out_at_once(session: Session, queue: Work) -> None:
    # Each waits for the other, so neither would end alone.
    for mine, other in (("1", "2"), ("2", "1")):
        put(session, queue, f"touch here{mine}; while [ ! -e here{other} ]; do sleep 0.02; done")
    ended = Agent(session, queue, count=2).run()
    assert [end.code for end in ended] == [0, 0]


def test_an_agent_takes_what_fits_beside_what_it_has(session: Session, queue: Work) -> None:
    # A job writes how many of its kind are at work: with 3 cores never more than one of two cores each.
    script = "mkdir busy || exit 9; sleep 0.1; rmdir busy"
    for _ in range(3):
        put(session, queue, script, resources={"cpus": 2})
    put(session, queue, "true", resources={"gpus": 1})
    agent = Agent(session, queue, count=3, offer=Offer(cpus=3, gpus=0))
    assert [end.code for end in agent.run()] == [0, 0, 0]
    assert agent.left() == {"a-4": "it needs more than this agent has"}
    assert session.work.items(queue)[3].status == "waiting"


def test_several_agents_take_no_job_twice(session: Session, queue: Work) -> None:
    for _ in range(12):
        put(session, queue, "echo $$ >> runs")
    agents = [start("agent", "--queue", "q", "--count", "2", "--json") for _ in range(2)]
    told = [json.loads(agent.communicate(timeout=60)[0])["jobs"] for agent in agents]
    names = [one["job"] for jobs in told for one in jobs]
    assert sorted(names) == sorted(f"a-{n}" for n in range(1, 13))
    assert len(Path("runs").read_text().split()) == 12


def test_the_job_of_a_killed_agent_goes_on_and_is_taken_over(session: Session, queue: Work) -> None:
    name = put(session, queue, "echo x >> runs; while [ ! -e go ]; do sleep 0.05; done; echo '{\"y\": 1}'")
    agent = start("agent", "--queue", "q")
    wait_until(Path("runs").exists)
    agent.kill()
    agent.communicate()
    other = start("agent", "--queue", "q", "--json")
    wait_until(lambda: session.work.items(queue)[0].attempt == 2)
    Path("go").touch()
    out, _ = other.communicate(timeout=30)
    (one,) = json.loads(out)["jobs"]
    assert (one["job"], one["exit_code"], one["result"], one["starts"]) == (name, 0, {"y": 1}, 1)
    assert Path("runs").read_text() == "x\n", "it ran once"
    (item,) = session.work.items(queue)
    assert item.began is not None
    assert item.note["began"] < item.began, "it took as long as it ran, not as long as the second agent followed it"


def test_the_same_command_goes_on_after_its_kill_and_learns_an_end_that_nobody_saw(
    cli: Command, workspace: Path
) -> None:
    (workspace / "job.yaml").write_text(
        "entry_point: [sh, -c, 'echo x >> runs; while [ ! -e go ]; do sleep 0.02; done; touch end; exit 3']\n"
    )
    first = start("launch", "job.yaml")
    wait_until(Path("runs").exists)
    first.kill()
    first.communicate()
    Path("go").touch()
    wait_until(Path("end").exists)
    time.sleep(0.1)
    ended = cli("launch", "job.yaml", "--json")
    told = json.loads(ended.stdout)
    assert (ended.returncode, told["starts"], told["code"]) == (3, 1, 3)
    assert Path("runs").read_text() == "x\n"
    assert json.loads(cli("launch", "job.yaml", "--json").stdout)["job"] != told["job"], "asked anew, it runs anew"
    assert Path("runs").read_text() == "x\nx\n"


def test_the_same_command_beside_another_waits_and_ends_like_it(workspace: Path) -> None:
    (workspace / "job.yaml").write_text(
        "entry_point: [sh, -c, 'echo x >> runs; while [ ! -e go ]; do sleep 0.02; done; exit 3']\n"
    )
    first = start("launch", "job.yaml")
    wait_until(Path("runs").exists)
    second = start("launch", "job.yaml")
    assert second.stderr is not None
    told = second.stderr.readline()
    assert f"process {first.pid} on {platform.node()} carries it out already; waits for it" in told
    Path("go").touch()
    assert first.wait(timeout=30) == 3
    out, _ = second.communicate(timeout=30)
    assert (second.returncode, "ended with exit code 3" in out) == (3, True), out
    first.communicate()
    assert Path("runs").read_text() == "x\n"


BUSY = f"""import fcntl, pathlib, sys, time
with open("lock", "w") as lock:
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("error: a: {ELSEWHERE} (pid 7)", file=sys.stderr)
        pathlib.Path("refused").touch()
        sys.exit(3)
    while not pathlib.Path("go").exists():
        time.sleep(0.02)
"""
"""A stand-in for `harness train`, of which one process may do the work."""


def test_what_another_job_of_the_queue_is_at_waits_for_it(session: Session, queue: Work, workspace: Path) -> None:
    (workspace / "harness.py").write_text(BUSY)
    for _ in range(2):
        put(session, queue, "", entry_point=[sys.executable, "-m", "harness"])
    agent = start("agent", "--queue", "q", "--count", "2")
    wait_until(Path("refused").exists)
    wait_until(lambda: [item.reason for item in session.work.items(queue)].count(ELSEWHERE) == 1)
    Path("go").touch()
    out, err = agent.communicate(timeout=30)
    assert (agent.returncode, "2 of 2 jobs done" in out) == (0, True), out + err
    assert sorted(item.note["starts"] for item in session.work.items(queue)) == [1, 2]


def test_what_is_under_way_outside_the_queue_waits_on(session: Session, queue: Work, workspace: Path) -> None:
    (workspace / "harness.py").write_text(BUSY)
    put(session, queue, "", entry_point=[sys.executable, "-m", "harness"])
    other = subprocess.Popen([sys.executable, "harness.py"])
    try:
        wait_until(Path("lock").exists)
        time.sleep(0.2)
        agent = Agent(session, queue)
        assert agent.run() == []
        assert agent.left() == {"a-1": f"{ELSEWHERE}; try again when that has ended"}
        (item,) = session.work.items(queue)
        assert (item.status, item.reason) == ("waiting", ELSEWHERE)
    finally:
        Path("go").touch()
        assert other.wait() == 0
    (end,) = Agent(session, queue).run()
    assert end.code == 0


def test_a_job_lost_with_its_driver_starts_again(cli: Command, workspace: Path) -> None:
    (workspace / "job.yaml").write_text(
        "entry_point: [sh, -c, 'echo $$ >> runs; [ -e go ] || sleep 60']\nmax_retries: 0\n"
    )
    driver = start("launch", "job.yaml")
    wait_until(lambda: Path("runs").exists() and Path("runs").read_text())
    driver.kill()
    driver.communicate()
    os.killpg(os.getpgid(int(Path("runs").read_text())), signal.SIGKILL)
    Path("go").touch()
    told = json.loads(cli("launch", "job.yaml", "--json").stdout)
    assert (told["exit_code"], told["starts"]) == (0, 2)


def test_a_gentle_stop_gives_the_job_back_when_it_has_saved(session: Session, queue: Work) -> None:
    put(
        session,
        queue,
        "trap 'echo saved > state; exit 143' TERM; touch up; [ -e state ] || while :; do sleep 0.05; done",
    )
    agent = start("agent", "--queue", "q", "--watch")
    wait_until(Path("up").exists)
    agent.send_signal(signal.SIGTERM)
    _, err = agent.communicate(timeout=30)
    assert agent.returncode == 143
    assert "is asked to end" in err
    (item,) = session.work.items(queue)
    assert (item.status, item.reason, Path("state").read_text()) == ("waiting", "stopped", "saved\n")
    (end,) = Agent(session, queue).run()
    assert (end.code, end.item.note["starts"], end.item.note["retries"]) == (0, 2, 0)


def test_a_second_signal_ends_at_once(session: Session, queue: Work) -> None:
    put(session, queue, "trap '' TERM; touch up; while :; do sleep 0.05; done")
    agent = start("agent", "--queue", "q")
    wait_until(Path("up").exists)
    agent.send_signal(signal.SIGINT)
    time.sleep(0.6)
    assert agent.poll() is None, "the job may save"
    agent.send_signal(signal.SIGINT)
    agent.communicate(timeout=10)
    assert agent.returncode == 130
    assert session.work.items(queue)[0].status == "waiting"


def test_a_second_signal_waits_for_no_place_that_does_not_answer(
    session: Session, queue: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a job of W&B's, which cannot be killed."""
    monkeypatch.setattr(LocalProcess, "kill", lambda self: None)
    monkeypatch.setattr("training.jobs.agent.AT_ONCE_SECONDS", 0.5)
    name = put(session, queue, "trap '' TERM; echo $$ > up; while :; do sleep 0.05; done")
    said: list[str] = []
    agent = Agent(session, queue, tell=said.append)
    interrupts = threading.Thread(target=interrupt_twice)
    interrupts.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        agent.run()
    assert time.monotonic() - began < 20
    assert said[-1] == f"{name}: could not be stopped so soon and may go on; whoever claims it looks for it"
    (thread,) = (thread for thread in threading.enumerate() if thread.name == name)
    os.killpg(os.getpgid(int(Path("up").read_text())), signal.SIGKILL)
    thread.join(20)
    interrupts.join()
    assert session.work.items(queue)[0].status == "waiting"


def interrupt_twice() -> None:
    """As somebody with Ctrl-C does once the job is up, and again."""
    wait_until(lambda: Path("up").exists() and Path("up").read_text())
    for _ in range(2):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(1)


def test_a_cancelled_job_is_stopped_and_can_be_retried(session: Session, queue: Work, cli: Command) -> None:
    name = put(session, queue, "[ ! -e up ] || exit 0; touch up; sleep 60", max_retries=0)
    agent = Agent(session, queue)
    ended: list[Ended] = []
    thread = threading.Thread(target=lambda: ended.extend(agent.run()))
    thread.start()
    wait_until(Path("up").exists)
    assert cli("queue", "cancel", "q", name).returncode == 0
    thread.join(20)
    assert not thread.is_alive()
    assert ended == []
    assert cli("queue", "retry", "q").returncode == 0
    (end,) = Agent(session, queue).run()
    assert end.code == 0


@pytest.mark.parametrize("command", [("cancel", "q"), ("rm", "q", "--force")])
def test_a_job_whose_agent_was_killed_is_stopped_where_it_runs(
    session: Session, queue: Work, cli: Command, command: tuple[str, ...]
) -> None:
    put(session, queue, "trap 'echo saved > state; exit 143' TERM; echo $$ > up; while :; do sleep 0.05; done")
    agent = start("agent", "--queue", "q")
    wait_until(lambda: Path("up").exists() and Path("up").read_text())
    agent.kill()
    agent.communicate()
    told = cli("queue", *command)
    assert told.returncode == 0, told.stderr
    assert "a-1: is asked to end" in told.stderr
    assert Path("state").read_text() == "saved\n"
    with pytest.raises(ProcessLookupError):
        os.kill(int(Path("up").read_text()), 0)
    assert [item.status for item in session.work.items(queue)] == ([] if command[0] == "rm" else ["cancelled"])


def test_a_job_that_cannot_be_stopped_is_not_cancelled(session: Session, queue: Work, cli: Command) -> None:
    submit(session, queue, Order.new(job("true"), "ray", {"address": "http://127.0.0.1:1"}))
    begun = claim_and_die(session, queue)
    told = cli("queue", "cancel", "q")
    assert told.returncode == 2
    assert "no Ray cluster answers" in told.stderr
    (item,) = session.work.items(queue)
    assert (item.status, item.note) == ("waiting", begun)


def claim_and_die(session: Session, queue: Work) -> dict[str, Any]:
    """A driver that began its job and was killed; the note that it left."""
    note = {"starts": 1, "key": "a-1-1", "over": False}
    script = (
        "from harness import open_session\n"
        "with open_session() as session:\n"
        f"    session.work.beat(session.work.claim(session.work.open('queue', {queue.name!r})), {note!r})\n"
    )
    subprocess.run([sys.executable, "-P", "-c", script], check=True)
    return note


def test_what_began_from_a_folder_that_is_gone_fails_once(session: Session, queue: Work, workspace: Path) -> None:
    (workspace / "code").mkdir()
    put(session, queue, "true", uri="code")
    claim_and_die(session, queue)
    (workspace / "code").rmdir()
    (end,) = Agent(session, queue).run()
    assert (end.item.status, end.code) == ("failed", 2)
    assert "uri: there is no folder" in str(end.item.reason)


def test_what_goes_on_is_followed_though_its_folder_is_gone(session: Session, queue: Work, workspace: Path) -> None:
    (workspace / "code").mkdir()
    put(session, queue, "touch ../up; while [ ! -e ../go ]; do sleep 0.02; done; echo '{\"y\": 1}'", uri="code")
    agent = start("agent", "--queue", "q")
    wait_until(Path("up").exists)
    agent.kill()
    agent.communicate()
    (workspace / "code").rename("moved")
    threading.Timer(0.5, Path("go").touch).start()
    (end,) = Agent(session, queue).run()
    assert (end.code, end.item.result and end.item.result["value"], end.item.note["starts"]) == (0, {"y": 1}, 1)


def test_what_may_have_been_started_has_not_failed(
    session: Session, queue: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A target that does not answer any more while it is given the job."""

    def start_unheard(self: LocalTarget, task: Task) -> None:
        started.append(begun(self, task))
        raise Incomplete("no answer")

    started: list[LocalProcess] = []
    begun = LocalTarget.start
    put(session, queue, "echo x >> runs")
    with monkeypatch.context() as unheard:
        unheard.setattr(LocalTarget, "start", start_unheard)
        (end,) = Agent(session, queue).run()
    assert (end.item.status, end.item.reason) == ("waiting", "no answer")
    (end,) = Agent(session, queue).run()
    assert (end.code, end.item.note["starts"], Path("runs").read_text()) == (0, 1, "x\n"), "it ran once"
    assert started[0].wait(10) == 0


def test_what_an_earlier_attempt_said_is_no_result_of_the_last(session: Session, queue: Work) -> None:
    end = carried(session, queue, "[ -e again ] || { touch again; echo '{\"score\": 0.1}'; kill -9 $$; }; echo done")
    assert (end.code, end.item.note["starts"]) == (0, 2)
    assert end.item.result == {"code": 0, "exit_code": 0, "value": None}


def test_queues_are_made_filled_shown_and_removed(cli: Command, workspace: Path) -> None:
    (workspace / "good.yaml").write_text("entry_point: echo '{\"x\":1}'\n")
    (workspace / "bad.yaml").write_text("entry_point: sh -c 'echo out of luck >&2; exit 4'\n")
    assert "(there is none); `harness queue create gpu` makes it" in cli("launch", "good.yaml", "--queue", "gpu").stderr
    assert cli("queue", "create", "gpu").returncode == 0
    assert "did you mean 'gpu'" in cli("launch", "good.yaml", "--queue", "gpus").stderr
    for name in ("good.yaml", "bad.yaml", "good.yaml"):
        assert cli("launch", name, "--queue", "gpu").returncode == 0
    assert cli("queue", "cancel", "gpu", "good-2").returncode == 0
    assert "there is no job 'good-9'" in cli("queue", "cancel", "gpu", "good-9").stderr
    agent = cli("agent", "--queue", "gpu")
    assert agent.returncode == 3, "one has failed"
    (log,) = (workspace / "home" / "jobs").glob("bad-1-*/log.txt")
    assert f"bad-1: ended with exit code 4 (out of luck); its log is {log}\n" in agent.stdout
    assert "0 cancelled; good-1 is done already" in cli("queue", "cancel", "gpu", "good-1").stdout
    (told,) = json.loads(cli("queue", "list", "--json").stdout)["queues"]
    assert told["jobs"] == {"waiting": 0, "running": 0, "done": 1, "failed": 1, "cancelled": 1}
    shown = cli("queue", "show", "gpu").stdout
    table, _, rest = shown.partition("bad-1: its log is ")  # a path is told whole
    assert max(map(len, table.splitlines())) <= 80
    assert rest == f"{log}\n"
    assert re.search(r"good-1 +done +1 +\d+\.\d s +x 1\b", table), "a result is told in words"
    assert "ended with exit code 4" in shown
    assert cli("queue", "retry", "gpu").stdout == "2 wait again\n"
    assert cli("queue", "cancel", "gpu", "bad-1").stdout == "1 cancelled\n"
    assert cli("queue", "retry", "gpu", "bad-1").stdout == "1 waits again\n"
    assert cli("queue", "rm", "gpu").returncode == 2
    assert cli("queue", "rm", "gpu", "--force").returncode == 0
    assert json.loads(cli("queue", "list", "--json").stdout)["queues"] == []


def test_a_queue_shows_what_its_jobs_made(cli: Command, workspace: Path, session: Session) -> None:
    said = {
        "train": {"stages": [{"checkpoint": "net:v3", "scores": {}}]},
        "eval": {"runs": [{"benchmark": {"name": "gqa"}, "scores": {"exact": {"value": 0.51249}, "f": {"value": 1}}}]},
        "other": {"loss": 0.123456, "words": "x" * 99, "ok": True, "parts": [1, {"benchmark": 2}, {"scores": 3}]},
    }
    for name, value in said.items():
        (workspace / f"{name}.yaml").write_text(json.dumps({"entry_point": ["echo", json.dumps(value)]}))
        session.work.open("queue", "q", {"on": None, "options": {}})
        assert cli("launch", f"{name}.yaml", "--queue", "q").returncode == 0
    Agent(session, session.work.get("queue", "q"), count=3).run()
    shown = [
        line.split(" s ")[-1].strip() for line in cli("queue", "show", "q").stdout.splitlines() if " done " in line
    ]
    assert shown == ["net:v3", "gqa.exact 0.512", "loss 0.1235, ok True"]


def test_a_queue_says_where_its_jobs_run(cli: Command, workspace: Path, session: Session) -> None:
    (workspace / "job.yaml").write_text("entry_point: 'true'\n")
    assert cli("queue", "create", "far", "--on", "ray", "--address", "http://127.0.0.1:1").returncode == 0
    assert cli("launch", "job.yaml", "--queue", "far").returncode == 0
    (item,) = session.work.items(Queue.named(session, "far").work)
    order = Order.of(item)
    assert (order.on, order.target_options) == ("ray", {"address": "http://127.0.0.1:1"})


def test_a_job_that_cannot_be_asked_about_has_not_failed(session: Session, queue: Work) -> None:
    order = Order.new(job("true"), "ray", {"address": "http://127.0.0.1:1"})
    submit(session, queue, order)
    item = session.work.claim(queue)
    assert item is not None
    session.work.beat(item, {"starts": 1, "key": "a-1", "over": False})
    session.work.give_back(item, "its driver was killed")
    (end,) = Agent(session, queue).run()
    assert "no Ray cluster answers" in str(end.error)
    assert (end.item.status, end.item.note["key"]) == ("waiting", "a-1"), "the next one looks for it again"
    session.work.cancel(queue)
    submit(session, queue, order)
    (end,) = Agent(session, queue).run()
    assert end.item.status == "failed", "it never began"
