"""Trials as jobs of a queue, taken by an agent of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests_support import Command

from harness import open_session


def test_an_agent_carries_trials_out(sweeps: Any) -> None:
    home = sweeps.folder / "home"
    sweeps.write("""
method: grid
metric: {name: loss}
parameters: {number: {values: [3, 1, 2]}}
command: [sh, -c, 'n=${0#number=}; echo $n >> begun; echo "{\\"loss\\": $n}"', "${args_no_hyphens}"]
launch: {queue: slow-lane, resources: {cpus: 1}}
""")
    with open_session(home) as session:
        queue = session.work.open("queue", "slow-lane", {"on": "local", "options": {}})
        driver = sweeps.start("it.yaml", "--json")
        sweeps.wait(lambda: session.work.counts(queue) == {"waiting": 3})
        assert not sweeps.numbers("begun")
    agent = [sys.executable, "-P", "-m", "harness", "agent", "--queue", "slow-lane", "--count", "2"]
    environment = {**os.environ, "HARNESS_HOME": str(home)}
    subprocess.run(agent, check=True, env=environment, cwd=sweeps.folder, capture_output=True, timeout=60)
    out, said = driver.communicate(timeout=60)
    assert driver.returncode == 0, said
    assert '"counts":{"all":3,"done":3}' in out
    assert sorted(sweeps.numbers("begun").elements()) == [1, 2, 3]


def test_a_queue_that_is_not_there(cli: Command, workspace: Path) -> None:
    text = "method: grid\nparameters: {a: {value: 1}}\ncommand: [echo]\nlaunch: {queue: slow-lane}\n"
    (workspace / "it.yaml").write_text(text)
    result = cli("sweep", "it.yaml")
    assert (result.returncode, "unknown queue 'slow-lane'" in result.stderr) == (2, True)
