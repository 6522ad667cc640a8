"""Trainings in the workspace: attempts at them, their curves, what they published, and who carries them out."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from harness.cli.list import command as list_command
from harness.database import Database
from harness.errors import UnknownName
from harness.processes import is_gone, this_process
from harness.schema import MIGRATIONS
from harness.trainings import Training, TrainingStore
from harness.types import Version

FACTS = {"settings": {"steps": 10}, "parents": {"base:v0": "b" * 32}}
KILLED = """
import sys, time
from pathlib import Path
from harness.database import Database
from harness.trainings import TrainingStore
store = TrainingStore(Database(Path(sys.argv[1])))
training = store.begin("c" * 64, name="m", stage="sft", steps=10, facts={})
store.log(training, 3, {"loss": 1.5, "grad_norm": 2.0})
print("logged", flush=True)
time.sleep(60)
"""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[TrainingStore]:
    database = Database(tmp_path)
    yield TrainingStore(database)
    database.close()


def begin(store: TrainingStore, id: str = "a" * 64) -> Training:
    return store.begin(id, name="m", stage="sft", steps=10, facts=FACTS)


def version(digest: str, number: int = 0) -> Version:
    return Version("m", number, digest, "model", (), "2026-01-01", 1, {}, ())


def test_what_was_logged_is_there_in_order(store: TrainingStore) -> None:
    training = begin(store)
    for step in (9, 2, 1):
        store.log(training, step, {"loss": step / 2, "any name at all, even 'this'": -float(step)})
    store.log(training, 2, {"loss": 7.0, "diverged": math.inf})
    curves = store.curves(training)
    assert curves["loss"] == [(1, 0.5), (2, 7.0), (9, 4.5)]
    assert curves["any name at all, even 'this'"] == [(1, -1.0), (2, -2.0), (9, -9.0)]
    ((step, value),) = curves["diverged"]
    assert step == 2
    assert math.isnan(value)
    assert store.get("a" * 64).step == 9
    assert store.last("loss") == {"a" * 64: 4.5}
    assert store.last("nothing") == {}


def test_going_on_makes_the_end_anew_and_keeps_the_rest(store: TrainingStore) -> None:
    other = begin(store, "b" * 64)
    store.log(other, 9, {"loss": 1.0})
    training = begin(store)
    for step in range(1, 8):
        store.log(training, step, {"loss": float(step)})
    store.stop(training, "failed", "DataError: torn")
    failed = store.get(training.id)
    assert (failed.status, failed.reason, failed.step) == ("failed", "DataError: torn", 7)
    again = begin(store)
    assert (again.key, again.status, again.reason, again.finished) == (training.key, "running", None, None)
    assert again.created == training.created
    store.rewind(again, 5)
    assert [step for step, _ in store.curves(again)["loss"]] == [1, 2, 3, 4, 5]
    assert store.get(training.id).step == 5
    assert store.curves(other) == {"loss": [(9, 1.0)]}


def test_a_training_is_found_by_what_it_published(store: TrainingStore) -> None:
    first, second = begin(store), begin(store, "b" * 64)
    store.published(first, version("1" * 32), step=4)
    store.published(first, version("2" * 32, 1), step=8)
    store.complete(first, version("2" * 32, 2))  # the last step's weights are what it made in the end
    store.published(second, version("1" * 32, 3), step=6)
    found = {digest: store.of_digest(digest * 32) for digest in "123"}
    assert found["3"] is None
    assert found["1"] is not None
    assert (found["1"][0].id, found["1"][1]) == (second.id, 6)
    assert found["2"] is not None
    assert (found["2"][0].id, found["2"][0].version, found["2"][1]) == (first.id, "m:v2", None)
    assert found["2"][0].status == "complete"


def test_an_id_or_its_beginning_is_one_training(store: TrainingStore) -> None:
    begin(store, "ab" * 32), begin(store, "ac" * 32)
    assert store.get("ac").id == "ac" * 32
    for unclear in ("a", "x", ""):
        with pytest.raises(UnknownName, match="harness list trainings"):
            store.get(unclear)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_one_whose_process_was_killed_is_interrupted(tmp_path: Path, store: TrainingStore, number: int) -> None:
    child = subprocess.Popen([sys.executable, "-P", "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    with child:
        assert child.stdout.readline() == "logged\n"
        assert store.get("c").status == "running"
        os.kill(child.pid, number)
        for _ in range(500):  # dead, but not buried: its parent has not asked for it yet
            if store.get("c").status == "interrupted":
                break
            time.sleep(0.01)
        assert store.get("c").status == "interrupted"
    found = store.get("c")
    assert (found.status, found.step) == ("interrupted", 3)
    assert found.heard is not None
    assert store.curves(found) == {"grad_norm": [(3, 2.0)], "loss": [(3, 1.5)]}


def test_nothing_is_claimed_of_other_machines_and_numbers_given_again() -> None:
    own = this_process()
    machine, number, birth = own.rsplit(" ", 2)
    assert not is_gone(own)
    assert not is_gone(f"another.machine 1 {birth}")
    assert not is_gone(f"another.machine {2**22 + 1} {birth}")
    assert is_gone(f"{machine} {2**22 + 1} {birth}")  # above the greatest number that Linux gives
    if birth != "-":
        assert is_gone(f"{machine} {number} 1")


def test_a_workspace_of_the_third_schema_keeps_its_trainings(tmp_path: Path) -> None:
    database = Database(tmp_path, MIGRATIONS[:3])
    with database.transaction() as connection:
        connection.execute(
            "INSERT INTO trainings (id, name, stage, facts, status, steps, created) VALUES"
            " ('old', 'm', 'sft', '{}', 'running', 5, '2026-01-01')"
        )
    database.close()
    store = TrainingStore(Database(tmp_path))
    (found,) = store.all()
    assert (found.id, found.status, found.step, found.heard) == ("old", "running", 0, None)


def test_the_list_says_how_far_each_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "100")
    nothing = CliRunner().invoke(list_command, ["trainings"], catch_exceptions=False)
    assert "there are no trainings yet" in nothing.output
    store = TrainingStore(Database(tmp_path))
    first, second = begin(store), begin(store, "b" * 64)
    store.log(first, 10, {"loss": 0.25})
    store.complete(first, version("1" * 32))
    store.log(second, 4, {"loss": 1.5})
    store.stop(second, "failed", "Diverged: step 4: the loss is nan")
    shown = CliRunner().invoke(list_command, ["trainings"], catch_exceptions=False).output
    assert "a" * 8 in shown
    assert "4 of 10" in shown
    assert "the loss is nan" in shown
    printed = CliRunner().invoke(list_command, ["trainings", "--json"], catch_exceptions=False)
    failed, complete = json.loads(printed.stdout)["trainings"]
    assert complete == {
        "training": "a" * 64, "name": "m", "stage": "sft", "step": 10, "steps": 10, "status": "complete",
        "reason": None, "loss": 0.25, "version": "m:v0", "created": complete["created"],
        "heard": complete["heard"], "finished": complete["finished"],
    }  # fmt: skip
    assert (failed["status"], failed["reason"], failed["step"]) == ("failed", "Diverged: step 4: the loss is nan", 4)
