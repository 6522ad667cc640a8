"""`harness view` as a process of its own: its address, its end, and what stands in its way."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(made: Any, third_party: Path) -> Iterator[Start]:
    """Starts `harness view` with these arguments, in the workspace."""
    begun: list[subprocess.Popen[str]] = []
    environment = {**os.environ, "PYTHONPATH": str(third_party)}

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-P", "-m", "harness", "view", *arguments]
        pipe = subprocess.PIPE
        begun.append(subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True))
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def address(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", line), process.communicate()
    return line


def fetch(url: str, **headers: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(
    ("number", "code", "last"), [(signal.SIGINT, 0, ""), (signal.SIGTERM, 143, "terminated")]
)  # fmt: skip
def test_it_serves_until_it_is_told_to_end(made: Any, start: Start, number: int, code: int, last: str) -> None:
    run = made.run("acme-parrot:last")
    process = start("--port", "0")
    url = address(process)
    status, text = fetch(url)
    assert (status, run.id in text) == (200, True)
    assert fetch(url, Host="evil.example")[0] == 421
    assert fetch(f"{url}runs/{run.id}")[0] == 200
    kept = socket.create_connection(("127.0.0.1", int(url.split(":")[2].strip("/"))))  # a browser's
    begun = time.monotonic()
    process.send_signal(number)
    _, said = process.communicate(timeout=20)
    assert process.returncode == code
    assert time.monotonic() - begun < 5
    kept.close()
    assert "Traceback" not in said
    assert "error" not in said.lower()
    assert last in said


def test_a_taken_port_is_one_clear_error(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start("--port", str(port))
        out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    assert re.fullmatch(rf"error: cannot listen at 127\.0\.0\.1, port {port} \(.*\); --port 0 takes .*\n", said)


def test_an_address_of_no_machine_is_one_clear_error(start: Start) -> None:
    process = start("--port", "0", "--host", "192.0.2.1")
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out, said.count("\n")) == (2, "", 1)
    assert "cannot listen at 192.0.2.1" in said


def test_letting_others_in_is_warned_of(made: Any, start: Start) -> None:
    made.run("acme-parrot:last")
    process = start("--port", "0", "--host", "0.0.0.0")
    assert process.stdout is not None
    assert process.stderr is not None
    port = process.stdout.readline().strip().strip("/").rpartition(":")[2]
    assert "warning: there is no password" in process.stderr.readline()
    assert fetch(f"http://127.0.0.1:{port}/", Host=f"10.1.2.3:{port}")[0] == 200
    assert fetch(f"http://127.0.0.1:{port}/", Host="evil.example")[0] == 421


def test_a_broken_configuration_ends_it_at_once(made: Any, start: Start) -> None:
    (made.folder / "benchmarks.yaml").write_text("benchmark: {}\n")
    process = start("--port", "0")
    out, said = process.communicate(timeout=20)
    assert (process.returncode, out) == (2, "")
    assert "unknown key 'benchmark'" in said


def test_a_workspace_is_not_made_by_looking_at_it(made: Any, start: Start) -> None:
    process = start("--port", "0")
    assert "There are no runs" in fetch(address(process))[1]
    assert not (made.folder / "home").exists()
