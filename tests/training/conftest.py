"""What tests of the training package share."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from training.microworld import build


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of two dozen pictures."""
    return build(tmp_path_factory.mktemp("data") / "world", images=16, evaluation_images=8).path


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[str]:
    """A Ray cluster of this machine's, with the server that takes jobs; its address."""
    ports = [free_port() for _ in range(6)]
    names = (
        "port", "dashboard-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port", "metrics-export-port",
        "ray-client-server-port",
    )  # fmt: skip
    folder = tempfile.mkdtemp(prefix="ray")  # short, since it holds sockets
    command = [
        sys.executable, "-P", "-m", "ray.scripts.scripts", "start", "--head", "--block", "--num-cpus=4",
        "--include-dashboard=true", "--disable-usage-stats", f"--temp-dir={folder}", "--object-store-memory=80000000",
        *(f"--{name}={port}" for name, port in zip(names, ports, strict=True)),
    ]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    # In a group of its own, and not ended by `ray stop`, which ends other people's clusters, too.
    head = subprocess.Popen(command, start_new_session=True, **quiet)  # type: ignore[call-overload]
    address = f"http://127.0.0.1:{ports[1]}"
    try:
        until = time.monotonic() + 90
        while not answers(f"{address}/api/jobs/"):
            assert time.monotonic() < until, "the cluster does not come up"
            assert head.poll() is None, "the cluster has ended"
            time.sleep(0.3)
        yield address
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except (OSError, urllib.error.URLError):
        return False
