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
    """A Ray cluster of this machine's, with the server that takes jobs, from those who have its token; the address."""
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
    said, token = Path(folder, "said.txt"), Path(folder, "token")
    token.write_text("0123456789abcdef" * 4)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
    environment = {**os.environ, "RAY_AUTH_MODE": "token"}
    with said.open("w") as file:
        # In a group of its own, and not ended by `ray stop`, which ends other people's clusters, too.
        head = subprocess.Popen(
            command, start_new_session=True, stdout=file, stderr=subprocess.STDOUT, env=environment
        )  # fmt: skip
    address = f"http://127.0.0.1:{ports[1]}"
    try:
        until = time.monotonic() + 90
        while not answers(f"{address}/api/version"):
            assert time.monotonic() < until, f"the cluster does not come up: {said.read_text()}"
            assert head.poll() is None, f"the cluster has ended: {said.read_text()}"
            time.sleep(0.3)
        yield address
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(head.pid, signal.SIGKILL)
            head.wait()
        del os.environ["RAY_AUTH_TOKEN_PATH"]
        os.environ.pop("RAY_AUTH_MODE", None)  # which a client sets where there is a token
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
    except urllib.error.HTTPError as error:
        error.close()
        return error.code == 401
    except OSError:
        return False
