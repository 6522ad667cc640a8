"""Work that is handed out: nothing twice, nothing lost, whoever dies."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests_support import Command

from harness import LostClaim, UnknownName
from harness.database import Database
from harness.processes import in_words, this_process
from harness.work import CANCELLED, DONE, FAILED, LEASE_SECONDS, RUNNING, WAITING, WorkStore

SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = Database(tmp_path)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> WorkStore:
    return WorkStore(database)


def carry_out_all(home: Path) -> None:
    """A worker: claims until nothing is left, and writes down what it did."""
    store = WorkStore(Database(home))
    work = store.get("sweep", "a")
    while (item := store.claim(work)) is not None:
        with (home / "seen").open("a") as file:
            file.write(f"{item.name}\n")
        store.done(item, {"by": os.getpid()})


def claim_and_hang(home: Path) -> None:
    store = WorkStore(Database(home))
    assert store.claim(store.get("sweep", "a")) is not None
    (home / "claimed").touch()
    time.sleep(60)


def test_items_are_claimed_in_the_order_of_their_adding_and_kept_once(store: WorkStore) -> None:
    work = store.open("queue", "gpu", {"resource": "local"})
    assert store.open("queue", "gpu", {"resource": "other"}) == work
    assert store.add(work, {"b": {"x": 1}, "a": {"x": 2}}) == 2
    assert store.add(work, {"a": {"x": 3}, "c": {}}) == 1
    first, second = store.claim(work), store.claim(work, {"c"})
    assert first is not None
    assert second is not None
    assert (first.name, first.document, first.status, first.attempt) == ("b", {"x": 1}, RUNNING, 1)
    assert second.name == "c"
    store.done(first, {"score": 0.5})
    store.failed(second, "it broke", {"code": 2})
    kept = {item.name: item for item in store.items(work)}
    assert list(kept) == ["b", "a", "c"]
    assert (kept["b"].status, kept["b"].result) == (DONE, {"score": 0.5})
    assert (kept["c"].status, kept["c"].reason, kept["c"].result) == (FAILED, "it broke", {"code": 2})
    assert store.counts(work) == {DONE: 1, FAILED: 1, WAITING: 1}


def test_an_unknown_name_is_told_with_what_is_near(store: WorkStore) -> None:
    store.open("queue", "gpus")
    with pytest.raises(UnknownName, match=r"unknown queue 'gpu' \(did you mean 'gpus'"):
        store.get("queue", "gpu")


def test_what_is_given_back_is_claimed_again_with_its_note(store: WorkStore) -> None:
    work = store.open("queue", "q")
    store.add(work, {"a": {}})
    item = store.claim(work)
    assert item is not None
    store.beat(item, {"reference": "raysubmit_1"})
    assert store.claim(work) is None
    store.give_back(item, "preempted")
    again = store.claim(work)
    assert again is not None
    assert (again.attempt, again.note, again.reason) == (2, {"reference": "raysubmit_1"}, "preempted")


def test_a_word_of_an_earlier_claim_is_refused(store: WorkStore) -> None:
    work = store.open("queue", "q")
    store.add(work, {"a": {}})
    item = store.claim(work)
    assert item is not None
    store.give_back(item, "preempted")
    with pytest.raises(LostClaim, match="a is waiting meanwhile"):
        store.done(item)
    newer = store.claim(work)
    assert newer is not None
    with pytest.raises(LostClaim, match="claimed again"):
        store.beat(item)
    store.cancel(work)
    with pytest.raises(LostClaim, match="cancelled"):
        store.done(newer)
    assert store.items(work)[0].status == CANCELLED
    assert store.again(work) == 1
    assert store.items(work)[0].status == WAITING
    store.remove(work)
    with pytest.raises(LostClaim, match="removed"):
        store.failed(newer, "")


def test_a_silent_process_of_another_machine_loses_its_claim(store: WorkStore, database: Database) -> None:
    work = store.open("queue", "q")
    store.add(work, {"a": {}})
    item = store.claim(work)
    assert item is not None
    for ago, lost in ((LEASE_SECONDS / 2, False), (LEASE_SECONDS * 2, True)):
        with database.transaction() as connection:
            connection.execute("UPDATE work_items SET process = 'elsewhere 1 -', heard = ?", (time.time() - ago,))
        assert (store.claim(work) is not None) is lost


def test_workers_share_all_items_and_do_none_twice(store: WorkStore, tmp_path: Path) -> None:
    work = store.open("sweep", "a")
    store.add(work, {str(number): {} for number in range(200)})
    workers = [SPAWN.Process(target=carry_out_all, args=(tmp_path,)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    seen = Counter((tmp_path / "seen").read_text().split())
    assert seen == {str(number): 1 for number in range(200)}
    assert store.counts(work) == {DONE: 200}


def test_the_item_of_a_killed_worker_is_claimed_again(store: WorkStore, tmp_path: Path) -> None:
    work = store.open("sweep", "a")
    store.add(work, {"only": {}})
    worker = SPAWN.Process(target=claim_and_hang, args=(tmp_path,))
    worker.start()
    while not (tmp_path / "claimed").exists():
        time.sleep(0.02)
    assert store.claim(work) is None
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(10)
    item = store.claim(work)
    assert item is not None
    assert (item.name, item.attempt) == ("only", 2)


def test_a_process_is_told_in_words() -> None:
    assert in_words("my vm 24855 2824536") == "process 24855 on my vm"
    assert in_words(this_process()).startswith(f"process {os.getpid()} on ")


def test_of_several_sweeps_of_a_name_the_one_that_is_shown_is_told(cli: Command, workspace: Path) -> None:
    store = WorkStore(Database(workspace / "home"))
    document = {"name": "x", "method": "grid", "metric": {"name": "loss", "goal": "minimize"}, "parameters": ["a"],
                "constraints": [], "description": None, "size": None}  # fmt: skip
    for name in ("x-1", "x-2"):
        store.add(store.open("sweep", name, document), {f"trial-of-{name}": {"parameters": {"a": 1}}})
    both = cli("report", "--sweep", "x")
    assert "x: 2 sweeps are called that; this is the newest, x-2; the others: x-1\n" in both.stderr
    assert "trial-of-x-2" in (workspace / "report.html").read_text()
    one = cli("report", "--sweep", "x-1")
    assert (one.returncode, "sweeps are called" in one.stderr) == (0, False)
    assert "trial-of-x-1" in (workspace / "report.html").read_text()


def test_a_kind_of_thing_that_there_is_not(cli: Command) -> None:
    listed = cli("list", "sweep")
    assert (listed.returncode, "there is no kind 'sweep' (did you mean 'sweeps'?)" in listed.stderr) == (2, True)
    assert max(map(len, cli("list", "--help").stdout.splitlines())) <= 80
