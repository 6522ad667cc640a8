"""A W&B server on the loopback, and the environment that leads to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from wandb_server import Server, serve


@pytest.fixture
def server(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server that knew all that it was asked, and a login for it; nothing says where its runs go."""
    pytest.importorskip("wandb", reason="the SDK is not installed: pip install 'vlm-harness[wandb]'")
    with serve() as server:
        for name, value in server.environment(workspace / "wandb").items():
            monkeypatch.setenv(name, value)
        for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
            monkeypatch.delenv(name)
        yield server
        assert not server.unknown
