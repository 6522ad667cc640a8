"""Several processes that train together end with the exit code of theirs."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

SCRIPT = """
import os, sys, time
rank, how = os.environ["RANK"], sys.argv[1]
open(rank, "w").close()
if rank == "1":
    if how == "fail":
        sys.exit(3)
    if how == "kill":
        os.kill(os.getpid(), 9)
if how != "ok":
    time.sleep(60)
"""


def start(folder: Path, how: str) -> subprocess.Popen[bytes]:
    (folder / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-P", "-m", "training.jobs.several", "2", sys.executable, "script.py", how]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.parametrize(("how", "code"), [("ok", 0), ("fail", 3), ("kill", 137)])
def test_their_exit_code_is_its_own(tmp_path: Path, how: str, code: int) -> None:
    assert start(tmp_path, how).wait(60) == code
    assert (tmp_path / "0").exists()
    assert (tmp_path / "1").exists()


def test_a_signal_ends_all_of_them(tmp_path: Path) -> None:
    several = start(tmp_path, "wait")
    until = time.monotonic() + 60
    while not ((tmp_path / "0").exists() and (tmp_path / "1").exists()):
        assert time.monotonic() < until
        time.sleep(0.05)
    several.send_signal(signal.SIGTERM)
    assert several.wait(60) == 143
