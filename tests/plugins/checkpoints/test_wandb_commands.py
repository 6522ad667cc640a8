"""The commands on the W&B store, and copies between it and the embedded registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from wandb_server import Server

from harness.checkpoints import EmbeddedStore
from harness.cli import command as harness_command
from harness.database import Database
from harness.errors import IntegrityError, StoreError, UsageError
from harness.mirroring import mirror
from harness.testing.checkpoints import Make, contents, make, numbers
from plugins.checkpoints.wandb import WandbStore
from plugins.checks.workspace import Checkpoints

__all__ = ["make"]


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[EmbeddedStore]:
    database = Database(tmp_path / "home")
    yield EmbeddedStore(database, tmp_path / "home")
    database.close()


@pytest.fixture
def harness(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`harness(…)` in a folder whose harness.toml names the W&B store."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("HARNESS_CHECKPOINTS", raising=False)
    monkeypatch.setenv("COLUMNS", "100")
    settings = (
        f'[checkpoints]\nstore = "wandb"\nproject = "{server.project}"\ncache = "{tmp_path}/cache"\ntimeout = 10\n'
    )
    (tmp_path / "harness.toml").write_text(settings)
    return lambda *arguments: CliRunner().invoke(harness_command, arguments)


def said(result: Result) -> Any:
    assert result.exit_code == 0, result.output + str(result.exception)
    return json.loads(result.stdout)


# --- copies -----------------------------------------------------------------------------------------------------------


def test_copies_there_and_back_are_equal(
    store: WandbStore, embedded: EmbeddedStore, make: Make, tmp_path: Path
) -> None:
    embedded.publish(make("a"), "net", metadata={"step": 1}, parents=["a" * 32])
    embedded.publish(make("b"), "net", metadata={"step": 2})
    embedded.publish(make("c"), "net", aliases=["best"])
    embedded.alias("net", "production", "v0")
    copies = mirror(embedded, store, "net", aliases=True)
    assert [(item.source.number, item.target.number, item.copied) for item in copies] == [
        (0, 0, True), (1, 1, True), (2, 2, True),
    ]  # fmt: skip
    for version in embedded.versions("net"):
        copy = store.get("net", f"v{version.number}")
        assert (copy.digest, copy.metadata, copy.parents) == (version.digest, version.metadata, version.parents)
        assert copy.aliases == version.aliases
    assert [item.copied for item in mirror(embedded, store, "net", aliases=True)] == [False] * 3
    database = Database(tmp_path / "other")
    try:
        other = EmbeddedStore(database, tmp_path / "other")
        assert [item.target.number for item in mirror(store, other, "net", "v1")] == [0]
        mirror(store, other, "net")
        assert [version.digest for version in other.versions("net")] == [
            embedded.get("net", ref).digest for ref in ("v2", "v0", "v1")
        ]
        assert other.get("net", "latest").digest == embedded.get("net", "latest").digest
        assert contents(other.resolve("net", "latest").checkout()) == contents(make("c"))
    finally:
        database.close()


def test_a_copy_of_an_older_version_leaves_latest_where_it_is(
    store: WandbStore, embedded: EmbeddedStore, make: Make
) -> None:
    for folder in "ab":
        embedded.publish(make(folder), "net")
    mirror(embedded, store, "net", "latest")
    mirror(embedded, store, "net", "v0")
    assert numbers(store.versions("net")) == [1, 0]
    assert store.get("net", "latest").digest == embedded.get("net", "latest").digest


def test_copying_goes_on_after_a_fault(server: Server, store: WandbStore, embedded: EmbeddedStore, make: Make) -> None:
    for folder in "abc":
        store.publish(make(folder, weights=f"copied {folder}"), "net")  # the server keeps equal content once
    server.corrupt("net:v1", "model/weights.bin")
    with pytest.raises(IntegrityError, match="net:v1: what the server has is not what was published"):
        mirror(store, embedded, "net")
    assert numbers(embedded.versions("net")) == [0]
    server.corrupt("net:v1", "model/weights.bin")  # the byte is turned back
    assert [item.copied for item in mirror(store, embedded, "net")] == [False, True, True]
    assert {version.digest for version in embedded.versions("net")} == {v.digest for v in store.versions("net")}


def test_the_mirror_command(
    harness: Callable[..., Result], store: WandbStore, embedded: EmbeddedStore, make: Make
) -> None:
    for folder in "ab":
        embedded.publish(make(folder), "net", aliases=[folder])
    call = ("checkpoints", "mirror", "net", "--from", "embedded", "--to", "wandb")
    document = said(harness(*call, "--aliases", "--json"))
    assert [item["copied"] for item in document["versions"]] == [True, True]
    assert all(item["from"]["digest"] == item["to"]["digest"] for item in document["versions"])
    assert [version.aliases for version in store.versions("net")] == [("b", "latest"), ("a",)]
    assert "0 of 2 versions copied to the W&B project" in harness(*call).stdout
    assert isinstance(harness("checkpoints", "mirror", "net", "--from", "wandb", "--to", "wandb").exception, UsageError)
    unknown = harness("checkpoints", "mirror", "net", "--from", "wanbd", "--to", "embedded").exception
    assert "did you mean 'wandb'" in str(unknown)


# --- the other commands -----------------------------------------------------------------------------------------------


def test_the_commands_work_on_the_store(
    harness: Callable[..., Result], store: WandbStore, make: Make, tmp_path: Path
) -> None:
    first = store.publish(make("a"), "net", metadata={"step": 100})
    second = store.publish(make("b"), "net", parents=[first.digest])
    assert [row["version"] for row in said(harness("list", "checkpoints", "--json"))["checkpoints"]] == ["v1", "v0"]
    assert said(harness("checkpoints", "show", "net", "--json"))["parents"] == [
        {"digest": first.digest, "versions": ["net:v0"]}
    ]
    for version in ("v0", "v1"):
        moved = harness("promote", f"net:{version}", "--to", "production", "--force", "--reason", "a try")
        assert moved.exit_code == 0, moved.output
    assert store.get("net", "production").number == 1
    assert harness("rollback", "net", "--alias", "production").exit_code == 0
    assert store.get("net", "production").number == 0
    log = said(harness("checkpoints", "log", "net", "--json"))
    assert [(m["before"], m["after"]) for m in log["moves"] if m["alias"] == "production"] == [
        ("v1", "v0"), ("v0", "v1"), (None, "v0"),
    ]  # fmt: skip
    pulled = said(harness("checkpoints", "pull", "net:v1", "--out", str(tmp_path / "out"), "--json"))
    assert pulled["digest"] == second.digest
    assert contents(tmp_path / "out") == contents(make("b"))
    assert said(harness("checkpoints", "verify", "--json")) == {"files": 4, "bytes": 6, "damaged": []}
    assert said(harness("checkpoints", "delete", "net:v1", "--json"))["deleted"]["version"] == "v1"
    assert "removes by itself" in str(harness("checkpoints", "gc").exception)
    found = Checkpoints().run()  # of `harness doctor`
    assert (found.ok, found.detail.partition(" in ")[0]) == (True, "net (1)")


def test_verify_names_what_is_damaged(
    harness: Callable[..., Result], server: Server, store: WandbStore, make: Make
) -> None:
    for folder in "ab":
        store.publish(make(folder, weights=f"verified {folder}"), "net")  # the server keeps equal content once
    server.corrupt("net:v0", "model/weights.bin")
    found = harness("checkpoints", "verify", "net", "--json")
    assert isinstance(found.exception, IntegrityError)
    assert [item["version"] for item in json.loads(found.stdout)["damaged"]] == ["net:v0"]


def test_an_unknown_option_is_answered_with_the_near_one(harness: Callable[..., Result]) -> None:
    Path("harness.toml").write_text('[checkpoints]\nstore = "wandb"\nentitiy = "team"\n')
    found = harness("checkpoints", "log").exception
    assert isinstance(found, UsageError)
    assert "unknown option 'entitiy' (did you mean 'entity'?)" in str(found)


def test_the_environment_chooses_the_store(
    harness: Callable[..., Result], store: WandbStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.publish(make("a"), "net")
    monkeypatch.setenv("HARNESS_CHECKPOINTS", "embedded")
    assert said(harness("checkpoints", "log", "--json")) == {"checkpoints": []}
    Path("harness.toml").unlink()
    monkeypatch.setenv("HARNESS_CHECKPOINTS", "wandb")
    assert [item["name"] for item in said(harness("checkpoints", "log", "--json"))["checkpoints"]] == ["net"]


@pytest.mark.slow  # it asks torch, too
def test_doctor_says_that_the_server_does_not_answer(harness: Callable[..., Result], server: Server) -> None:
    text = Path("harness.toml").read_text()
    Path("harness.toml").write_text(text.replace("timeout = 10", "timeout = 1"))
    server.down()
    result = harness("doctor", "--json")
    assert result.exit_code == 2
    found = json.loads(result.stdout)["checkpoints"]
    assert found["state"] == "wrong"
    assert server.url in found["detail"]
    assert isinstance(harness("checkpoints", "log").exception, StoreError)
