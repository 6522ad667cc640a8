"""A W&B server on the loopback, and a workspace whose harness.toml names the tracker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_server import Server, serve


@pytest.fixture(scope="session")
def loopback() -> Iterator[Server]:
    """One server for all tests of trackers, which each have a project of their own; it knew all that it was asked."""
    pytest.importorskip("wandb", reason="the SDK is not installed: pip install 'vlm-harness[wandb]'")
    with serve() as server:
        yield server
        assert not server.unknown


@pytest.fixture
def server(loopback: Server, workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server, with the environment that leads to it, and whatever went wrong with it mended again."""
    for name, value in loopback.environment(workspace / "wandb").items():
        monkeypatch.setenv(name, value)
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name)
    loopback.requests.clear()
    yield loopback
    loopback.faults.clear()
    if loopback._http is None:
        loopback.up()
