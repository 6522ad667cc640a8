"""Fixtures for all tests: somebody else's plugin, installed for real, and a small set of questions for it."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from tests_support import ROOT, Command, write_settings, write_trivia

# Workers share the cores, and threads that wait for one another spin. Torch reads it on import, here and in children.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell's background jobs ignore SIGINT, and so would the children of their tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# A machine with other work is no defect of what is tested.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


def pytest_collection_finish() -> None:
    set_aside()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> Iterator[None]:
    yield
    if nextitem is not None and nextitem.path != item.path:
        set_aside()


def set_aside() -> None:
    """What is there now stays. With torch loaded, each collection of garbage would look through half a million objects,
    and evaluations end with one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def third_party(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that pip installed the third-party plugin into."""
    target = tmp_path_factory.mktemp("site")
    source = ROOT / "tests" / "third_party_plugin"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True, text=True)
    return target


@pytest.fixture
def with_third_party(third_party: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The third-party plugin is importable in this process."""
    monkeypatch.syspath_prepend(str(third_party))


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder with a workspace of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HARNESS_DATA", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


@pytest.fixture
def cli(workspace: Path, with_third_party: None, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run `harness ARGUMENTS` in this process, which is quicker."""
    from harness.cli import run

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, code, captured.out, captured.err)

    return call


@pytest.fixture
def harness(workspace: Path, third_party: Path) -> Command:
    """Run `harness ARGUMENTS` as a process of its own, in the workspace, with the third-party plugin installed."""
    environment = {**os.environ, "PYTHONPATH": str(third_party), "PYTHONWARNINGS": ""}

    def run(*arguments: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "harness", *arguments],
            env=environment, capture_output=True, text=True, timeout=timeout, check=False,
        )  # fmt: skip

    return run


@pytest.fixture
def trivia(workspace: Path) -> Path:
    """The questions' folder; `benchmarks.yaml` beside it names it."""
    folder = write_trivia(workspace / "trivia")
    write_settings(workspace)
    return folder
