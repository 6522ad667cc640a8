"""When what is found is what was sent; the log that the SDK writes; how long a server that fails is waited for."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest

from harness import Incomplete
from plugins.trackers import courier
from plugins.trackers.arrival import alike
from plugins.trackers.children import Patience, Unreachable
from plugins.trackers.transcript import _as_log, _records


@pytest.mark.parametrize(
    ("sent", "found", "same"),
    [
        (1, 1.0, True),
        (0.1, 0.1 + 1e-15, True),
        (0.1, 0.1001, False),
        (True, True, True),
        (True, False, False),
        (math.nan, "NaN", True),
        (math.inf, "Infinity", True),
        (-math.inf, "-Infinity", True),
        (math.nan, None, False),
        ([1, {"a": ()}], [1, {"a": []}], True),
        ([1], [1, 2], False),
        ({"a": {}, "b": 1}, {"b": 1}, True),
        ({"a": 1}, {"b": 1}, False),
        (
            {"_type": "table-file", "sha256": "x", "artifact_path": "here"},
            {"sha256": "x", "artifact_path": "there"},
            True,
        ),
        ({"_type": "table-file", "sha256": "x"}, {"sha256": "y"}, False),
        (None, None, True),
    ],
)
def test_values_survive_json_and_the_servers_ways(sent: Any, found: Any, same: bool) -> None:
    assert alike(sent, found) is same


@pytest.mark.parametrize("sizes", [[0, 1, 5], [32_747], [32_740, 3, 9], [32_746, 1], [100_000, 7, 200_000]])
def test_records_of_all_sizes_are_read_as_they_were_written(sizes: list[int]) -> None:
    records = [os.urandom(size) for size in sizes]
    log = b":W&B" + bytes(3) + _as_log(records)
    assert list(_records(log)) == records
    assert list(_records(log[:-1])) == records[:-1]  # its process was killed while it wrote


def test_what_would_leak_is_not_sent(tmp_path: Path) -> None:
    (tmp_path / "run-x.wandb").write_bytes(b"\0\7/somebody/s/folder/x")
    courier._refuse_leaks(tmp_path, ["", "/somebody/else"])
    with pytest.raises(RuntimeError, match="nothing is sent"):
        courier._refuse_leaks(tmp_path, ["", "/somebody/s/folder"])


@pytest.mark.parametrize(("error", "tries"), [(Incomplete("refused"), 3), (Unreachable("silence"), 1)])
def test_a_server_that_fails_costs_a_process_so_many_seconds_in_all(
    error: Incomplete, tries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    patience, given = Patience(50), []

    def fail() -> None:
        nonlocal now
        with patience.trying() as seconds:
            given.append(seconds)
            now += 20.0
            raise error

    for _ in range(6):
        with pytest.raises(Incomplete, match=str(error)):
            fail()
    assert given == [50.0, 30.0, 10.0][:tries]
    patience = Patience(50)
    for _ in range(6):
        with patience.trying() as seconds:  # what arrives may take as long as it takes
            assert seconds == 50
            now += 40.0
