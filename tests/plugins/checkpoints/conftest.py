"""A W&B server on the loopback, and stores on projects of it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from wandb_server import Server, serve

from plugins.checkpoints.wandb import WandbStore

pytest.register_assert_rewrite("harness.testing.checkpoints")

_counter = itertools.count()
MakeStore = Callable[..., WandbStore]


@pytest.fixture(scope="session")
def loopback() -> Iterator[Server]:
    """One server for all tests, which each have a project of their own; it knew all that it was asked."""
    with serve() as server:
        yield server
        assert not server.unknown


@pytest.fixture(scope="module", autouse=True)
def connected(loopback: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Nothing of the SDK is left in the process for other tests."""
    with loopback.connected(tmp_path_factory.mktemp("wandb")):
        yield


@pytest.fixture
def server(loopback: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """The server with an empty project, and the environment that leads to it; its faults end with the test."""
    for name, value in loopback.environment(tmp_path / "wandb").items():
        monkeypatch.setenv(name, value)
    loopback.project = f"project-{next(_counter)}"
    monkeypatch.setenv("WANDB_PROJECT", loopback.project)
    loopback.requests.clear()
    yield loopback
    loopback.faults.clear()
    if loopback.is_down:
        loopback.up()


@pytest.fixture
def make_store(server: Server, tmp_path: Path) -> MakeStore:
    """`make_store(option=…)`: a store on the test's project, as if made by a process of its own."""

    def make(**options: object) -> WandbStore:
        return WandbStore(**{"cache": tmp_path / "cache", "timeout": 10, **options})  # type: ignore[arg-type]

    return make


@pytest.fixture
def store(make_store: MakeStore) -> WandbStore:
    return make_store()
