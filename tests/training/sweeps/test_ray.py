"""Trials as tasks of a real Ray cluster on this machine."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

LASTING = """
method: grid
metric: {name: loss}
parameters: {number: {values: [1, 2, 3, 4]}}
command:
  - sh
  - -c
  - 'n=${0#number=}; trap "echo $n >> saved; exit 143" TERM; echo $n >> begun;
    for i in $(seq 15); do echo "{\\"step\\": $i, \\"loss\\": $n}"; sleep 0.2; done; echo $n >> ended;
    echo "{\\"loss\\": $n}"'
  - ${args_no_hyphens}
launch: {resources: {cpus: 1, memory: 10MB}}
"""


def workers() -> list[int]:
    """Ray's processes that carry a trial out, of whichever cluster."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (folder / "cmdline").read_bytes().startswith(b"ray::carry_out"):
                found.append(int(folder.name))
    return found


def test_a_dead_workers_trial_is_given_out_again(sweeps: Any) -> None:
    before = set(workers())
    sweeps.write(LASTING)
    driver = sweeps.start("it.yaml", "--engine", "ray", "--address", "local", "--workers", "2", "--json")
    sweeps.wait(lambda: len(sweeps.numbers("begun")) >= 2)
    (victim, *_) = sorted(set(workers()) - before)
    os.kill(victim, signal.SIGKILL)
    out, said = driver.communicate(timeout=120)
    assert driver.returncode == 0, said
    assert "begins again: killed from outside (exit code 137)" in said
    assert sorted(sweeps.numbers("ended").elements()) == [1, 2, 3, 4]
    assert sum(sweeps.numbers("begun").values()) == 5
    assert '"counts":{"all":4,"done":4}' in out


def test_an_interrupted_driver_lets_trials_save_and_goes_on(sweeps: Any) -> None:
    sweeps.write(LASTING)
    driver = sweeps.start("it.yaml", "--engine", "ray", "--address", "local", "--workers", "2")
    sweeps.wait(lambda: len(sweeps.numbers("begun")) >= 2)
    os.kill(driver.pid, signal.SIGTERM)
    assert driver.wait(60) == 143
    assert sorted(sweeps.numbers("saved").elements()) == [1, 2]
    told = sweeps.run("it.yaml", "--engine", "ray", "--address", "local")
    assert told["counts"] == {"all": 4, "done": 4}


def test_what_no_machine_has_is_said(sweeps: Any) -> None:
    sweeps.write(LASTING.replace("cpus: 1", "cpus: 1, custom: {tpu: 4}"))
    told = sweeps.run("it.yaml", "--engine", "ray", "--address", "local", "--workers", "1", code=3)
    assert "no machine of the Ray cluster has 1 CPU, 1e+07 memory, 4 tpu" in told["trials"][0]["reason"]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:10001", "nowhere"])
def test_no_cluster_answers(sweeps: Any, address: str) -> None:
    sweeps.write(LASTING)
    told = sweeps.run("it.yaml", "--engine", "ray", "--address", address, code=2)
    assert address in told["said"]
    assert "give --address HOST:PORT" in told["said"]


def test_a_dead_cluster_is_not_waited_for(sweeps: Any) -> None:
    """What listens there takes the connection and never answers, as where a cluster has died."""
    sweeps.write(LASTING)
    temporary = Path(tempfile.mkdtemp(prefix="ray"))  # short, since it holds sockets
    environment = {"RAY_TMPDIR": str(temporary), "RAY_ADDRESS": ""}
    with socket.create_server(("127.0.0.1", 0)) as dead:
        address = f"127.0.0.1:{dead.getsockname()[1]}"
        (temporary / "ray").mkdir()
        (temporary / "ray" / "ray_current_cluster").write_text(address)
        began = time.monotonic()
        said = sweeps.run("it.yaml", "--engine", "ray", "--address", address, code=2, environment=environment)["said"]
        assert f"no Ray cluster answers at {address} (" in said
        assert "give --address HOST:PORT" in said
        assert time.monotonic() - began < 90
        sweeps.write(LASTING.replace("1, 2, 3, 4", "1"))
        told = sweeps.run("it.yaml", "--engine", "ray", environment=environment)
    shutil.rmtree(temporary)
    assert told["counts"] == {"all": 1, "done": 1}
