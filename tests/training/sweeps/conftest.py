"""Sweeps as processes, in a folder of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest


@dataclass
class Sweeps:
    """A folder with sweep files."""

    folder: Path
    children: list[subprocess.Popen[str]] = field(default_factory=list)

    def write(self, text: str, name: str = "it.yaml") -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        return path

    def start(self, *arguments: str, environment: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        """`harness sweep`, in a session of its own, as a shell starts a job."""
        child = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness", "sweep", *arguments], cwd=self.folder, text=True,
            env={**os.environ, "HARNESS_HOME": str(self.folder / "home"), **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        self.children.append(child)
        return child

    def run(
        self, *arguments: str, code: int | None = 0, environment: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """What a sweep's JSON says, and under "said" what went to stderr."""
        child = self.start(*arguments, "--json", environment=environment)
        out, said = child.communicate(timeout=240)
        assert code is None or child.returncode == code, said
        assert out.count("\n") <= 1
        return {**(json.loads(out) if out else {}), "said": said}

    def numbers(self, name: str) -> Counter[int]:
        """How often each trial wrote itself down."""
        path = self.folder / name
        return Counter(map(int, path.read_text().split())) if path.exists() else Counter()

    def wait(self, there: Callable[[], bool], seconds: float = 60) -> None:
        until = time.monotonic() + seconds
        while not there():
            assert time.monotonic() < until, "it never came"
            time.sleep(0.01)

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                os.kill(child.pid, signal.SIGKILL)
            child.communicate()


@pytest.fixture
def sweeps(tmp_path: Path) -> Iterator[Sweeps]:
    made = Sweeps(tmp_path)
    yield made
    made.close()
