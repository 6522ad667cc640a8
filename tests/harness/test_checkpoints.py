"""The embedded registry: the contract of every store, and what happens to it under kills, races and damage."""

from __future__ import annotations

import json
import os
import pickle
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from harness.blobs import Blobs
from harness.checkpoints import EmbeddedStore
from harness.cli.checkpoints import command
from harness.database import Database
from harness.digests import FileDigest
from harness.errors import CheckpointError, IntegrityError, StoreError, UnknownName, UsageError
from harness.types import Version

pytest.register_assert_rewrite("harness.testing.checkpoints")
from harness.testing.checkpoints import (  # noqa: E402
    CheckpointStoreContract,
    Make,
    contents,
    make,
    numbers,
)

__all__ = ["make"]

ROOT = Path(__file__).parents[2]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def store(home: Path) -> Iterator[EmbeddedStore]:
    database = Database(home)
    yield EmbeddedStore(database, home)
    database.close()


def blob_of(home: Path, content: bytes) -> Path:
    (path,) = [path for path in (home / "blobs").rglob("*") if path.is_file() and path.read_bytes() == content]
    return path


def flip(path: Path) -> None:
    path.chmod(0o644)
    with path.open("r+b") as file:
        first = file.read(1)[0]
        file.seek(0)
        file.write(bytes([first ^ 1]))
    path.chmod(0o444)


class TestEmbeddedStore(CheckpointStoreContract):
    pass


# --- several writers --------------------------------------------------------------------------------------------------

PUBLISH = """
import sys
from pathlib import Path
from harness.checkpoints import EmbeddedStore
from harness.database import Database
home, worker, versions = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
source = home.parent / f"source-{worker}"
source.mkdir()
(source / "shared.bin").write_bytes(b"shared" * 1000)
store = EmbeddedStore(Database(home), home)
print("ready", flush=True)
sys.stdin.readline()
for turn in range(versions):
    (source / "weights.bin").write_text(f"{worker} {turn}")
    print(store.publish(source, "net", metadata={"worker": worker, "turn": turn}).number, flush=True)
"""


def spawn(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-c", code, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_processes_publish_at_once_without_a_gap(home: Path, store: EmbeddedStore) -> None:
    children = [spawn(PUBLISH, home, worker, 4) for worker in range(8)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    said = []
    with ThreadPoolExecutor(len(children)) as pool:
        said = [out.split() for out, _ in pool.map(lambda child: child.communicate("go\n"), children)]
    assert all(child.returncode == 0 for child in children)
    assert sorted(int(number) for out in said for number in out) == list(range(32))
    assert numbers(store.versions("net")) == list(reversed(range(32)))
    for version in store.versions("net"):
        folder = store.resolve("net", f"v{version.number}").checkout()
        assert (folder / "weights.bin").read_text() == f"{version.metadata['worker']} {version.metadata['turn']}"
    assert not [check for check in store.verify() if check.problem]
    assert list((home / "tmp").iterdir()) == []


def test_equal_content_is_stored_once(home: Path, store: EmbeddedStore, make: Make) -> None:
    store.publish(make("a", weights="x", one="same", two="same"), "net")
    store.publish(make("b", weights="y", one="same"), "other")
    stored = [path for path in (home / "blobs").rglob("*") if path.is_file()]
    assert sorted(path.read_bytes() for path in stored) == [b"same", b"x", b"y", b"{}"]
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in stored)


def test_one_of_several_promotions_wins(store: EmbeddedStore, make: Make) -> None:
    for folder in "abcdefgh":
        store.publish(make(folder), "net")
    store.alias("net", "production", "v0", expected=None)
    start = threading.Barrier(7)

    def promote(number: int) -> str:
        start.wait()
        try:
            return str(store.alias("net", "production", f"v{number}", f"run {number}", expected=0).number)
        except CheckpointError as error:
            return str(error)

    with ThreadPoolExecutor(7) as pool:
        said = list(pool.map(promote, range(1, 8)))
    winners = [text for text in said if text.isdigit()]
    assert winners == [str(store.get("net", "production").number)]
    beaten = f"net:production is at v{winners[0]}, not at v0 as expected: it was moved meanwhile"
    assert sum(text.startswith(beaten) for text in said) == 6
    assert [move.after for move in store.history("net") if move.alias == "production"] == [int(winners[0]), 0]
    with pytest.raises(CheckpointError, match="not at no version as expected"):
        store.alias("net", "production", "v0", expected=None)


def test_a_user_without_a_name_has_a_number(store: EmbeddedStore, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    store.publish(make("a"), "net")
    assert store.history("net")[0].who == f"uid {os.getuid()}"


# --- killed in the middle ---------------------------------------------------------------------------------------------

KILLED = """
import os, signal, sqlite3, sys
from pathlib import Path
from harness.checkpoints import EmbeddedStore
from harness.database import Database
home, source, point, count = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
left = count

def reach() -> None:
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)

def before(function):
    def counted(*arguments, **options):
        reach()
        return function(*arguments, **options)
    return counted

if point == "sync":
    os.fsync = before(os.fsync)
elif point == "rename":
    Path.replace = before(Path.replace)
else:
    def traced(statement: str) -> None:
        if statement.startswith(point):
            reach()
    prepare = Database._prepare
    def prepare_and_trace(self, connection):
        prepare(self, connection)
        connection.set_trace_callback(traced)
    Database._prepare = prepare_and_trace
EmbeddedStore(Database(home), home).publish(source, "net", aliases=["best"])
"""

POINTS = [
    ("sync", 1), ("sync", 4), ("rename", 1), ("rename", 2), ("rename", 4), ("BEGIN", 1),
    ("INSERT INTO versions", 1), ("INSERT INTO version_files", 1), ("INSERT INTO version_files", 5),
    ("INSERT OR REPLACE INTO aliases", 2), ("INSERT INTO alias_moves", 2), ("COMMIT", 1),
]  # fmt: skip


@pytest.mark.parametrize(("point", "count"), POINTS)
def test_a_killed_publish_leaves_nothing_visible(
    home: Path, store: EmbeddedStore, make: Make, point: str, count: int
) -> None:
    first = store.publish(make("a", one="1"), "net")
    source = make("b", one="2", two="3", three="4")
    child = spawn(KILLED, home, source, point, count)
    child.communicate()
    assert child.returncode == -9, "the point was reached"
    assert store.versions("net") == [first]
    assert store.get("net", "latest") == first
    assert [move.alias for move in store.history("net")] == ["latest"]
    with pytest.raises(UnknownName):
        store.get("net", "best")
    assert contents(store.resolve("net", "latest").checkout()) == contents(make("a", one="1"))
    second = store.publish(source, "net", aliases=["best"])
    assert second.number == 1
    assert contents(store.resolve("net", "best").checkout()) == contents(source)
    assert not [check for check in store.verify() if check.problem]


FULL = """
import resource, signal, sys
from pathlib import Path
from harness.checkpoints import EmbeddedStore
from harness.database import Database
from harness.errors import StoreError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
home = Path(sys.argv[1])
try:
    EmbeddedStore(Database(home), home).publish(Path(sys.argv[2]), "net")
except StoreError as error:
    print(error)
"""


def test_a_publish_that_finds_no_room_leaves_nothing(home: Path, store: EmbeddedStore, make: Make) -> None:
    first = store.publish(make("a"), "net")
    child = spawn(FULL, home, make("b", weights="x" * 3_000_000))
    said, _ = child.communicate()
    assert child.returncode == 0
    assert re.match(rf"{re.escape(str(home))}: .*weights\.bin cannot be kept there \(File too large\); free some", said)
    assert store.versions("net") == [first]
    assert list((home / "tmp").iterdir()) == []


def test_a_workspace_that_cannot_be_written_is_named(tmp_path: Path, make: Make) -> None:
    (tmp_path / "file").touch()
    home = tmp_path / "file" / "home"
    with pytest.raises(StoreError, match="file/home: the workspace cannot be created"):
        EmbeddedStore(Database(home), home).publish(make("a"), "net")


# --- deleting and collecting ------------------------------------------------------------------------------------------


def blobs_of(home: Path) -> list[bytes]:
    return sorted(path.read_bytes() for path in (home / "blobs").rglob("*") if path.is_file())


def test_a_deleted_version_leaves_no_file_that_others_do_not_have(home: Path, store: EmbeddedStore, make: Make) -> None:
    source = make("a", weights="x", one="shared")
    store.publish(source, "net")
    store.publish(make("b", weights="y", one="shared"), "net")
    store.publish(source, "twin")
    kept = [store.resolve("net", f"v{number}").checkout() for number in (0, 1)]
    store.delete("net", "v0")
    assert blobs_of(home) == sorted([b"{}", b"shared", b"y", b"x"]), "the twin has all of its files"
    assert kept[0].is_dir()
    store.delete("twin", "v0")
    assert blobs_of(home) == sorted([b"{}", b"shared", b"y"])
    assert [folder.is_dir() for folder in kept] == [False, True]
    assert not [check for check in store.verify() if check.problem]


DELETING = """
import os, signal, sys
from pathlib import Path
from harness.checkpoints import EmbeddedStore
from harness.database import Database
home = Path(sys.argv[1])
EmbeddedStore._sweep = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
EmbeddedStore(Database(home), home).delete("net", "v0")
"""


def test_what_a_killed_delete_leaves_is_collected(home: Path, store: EmbeddedStore, make: Make) -> None:
    store.publish(make("a", weights="x"), "net")
    store.publish(make("b", weights="y"), "net")
    store.resolve("net", "v0").checkout()
    child = spawn(DELETING, home)
    child.communicate()
    assert child.returncode == -9
    assert numbers(store.versions("net")) == [1]
    assert b"x" in blobs_of(home)
    stale, fresh = home / "tmp" / "stale", home / "tmp" / "fresh"
    stale.write_bytes(b"12345")
    fresh.write_bytes(b"12345")
    os.utime(stale, (0, 0))
    freed = store.collect()
    assert (freed.files, freed.size) == (4, 6), "the blob, its checkout's two names, and the stale file"
    assert blobs_of(home) == sorted([b"{}", b"y"])
    assert not stale.exists()
    assert fresh.exists()
    assert store.collect().files == 0


def test_what_is_collected_under_a_publish_is_kept_again(
    home: Path, store: EmbeddedStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The moment at which files are kept but no version has them yet."""
    source = make("a", weights="x")
    other = EmbeddedStore(Database(home), home)
    keep, collected = Blobs.keep, []

    def collect_after(blobs: Blobs, path: Path) -> FileDigest:
        digest = keep(blobs, path)
        if path.name == "weights.bin" and not collected:
            collected.append(other.collect().files)
        return digest

    monkeypatch.setattr(Blobs, "keep", collect_after)
    store.publish(source, "net")
    assert collected[0] >= 1
    assert contents(store.resolve("net", "v0").checkout()) == contents(source)


COLLECT = """
import sys
from pathlib import Path
from harness.checkpoints import EmbeddedStore
from harness.database import Database
home = Path(sys.argv[1])
store = EmbeddedStore(Database(home), home)
print("ready", flush=True)
while not (home / "stop").exists():
    store.collect()
"""


def test_collecting_while_others_publish_and_delete_loses_nothing(home: Path, store: EmbeddedStore) -> None:
    collector = spawn(COLLECT, home)
    assert collector.stdout
    assert collector.stdout.readline() == "ready\n"
    children = [spawn(PUBLISH, home, worker, 6) for worker in range(2)]
    for child in children:
        child.communicate("go\n")
        for version in store.versions("net")[3:]:
            store.delete("net", f"v{version.number}")
    (home / "stop").touch()
    collector.communicate()
    assert [child.returncode for child in (*children, collector)] == [0, 0, 0]
    assert numbers(store.versions("net")) == [11, 10, 9]
    assert not [check for check in store.verify() if check.problem]
    for version in store.versions("net"):
        store.resolve("net", f"v{version.number}").checkout()
    store.collect()
    assert len(blobs_of(home)) == 4, "three of weights and the shared one"


# --- damage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("checked_out", [False, True])
def test_a_flipped_byte_is_found_and_mended(home: Path, store: EmbeddedStore, make: Make, checked_out: bool) -> None:
    source = make("a", weights="precious")
    store.publish(source, "net")
    store.publish(make("b"), "net")
    if checked_out:
        store.resolve("net", "v0").checkout()
    blob = blob_of(home, b"precious")
    flip(blob)
    with pytest.raises(IntegrityError) as raised:
        store.resolve("net", "v0").checkout()
    message = str(raised.value)
    assert message.startswith("net:v0: model/weights.bin is not what was published: ")
    assert re.search(rf"{blob}: its sha256 is [0-9a-f]{{64}} instead of {blob.name}; publish the same folder", message)
    (bad,) = [check for check in store.verify() if check.problem]
    assert (bad.version, bad.path, bad.size) == ("net:v0", "model/weights.bin", 8)
    assert store.resolve("net", "v1").checkout().is_dir(), "others are untouched"
    assert store.publish(source, "net").number == 2
    assert contents(store.resolve("net", "v0").checkout()) == contents(source)
    assert not [check for check in store.verify() if check.problem]


def test_a_missing_and_a_cut_file_are_found(home: Path, store: EmbeddedStore, make: Make) -> None:
    store.publish(make("a", weights="missing"), "net")
    store.publish(make("b", weights="cut short"), "net")
    blob_of(home, b"missing").unlink()
    cut = blob_of(home, b"cut short")
    cut.chmod(0o644)
    cut.write_bytes(b"cut")
    with pytest.raises(IntegrityError, match=r"net:v0: model/weights.bin .*: it is missing"):
        store.resolve("net", "v0").checkout()
    with pytest.raises(IntegrityError, match=r"net:v1: model/weights.bin .*: it has 3 bytes instead of 9"):
        store.resolve("net", "v1").checkout()
    problems = {check.version: check.problem for check in store.verify() if check.problem}
    assert problems.keys() == {"net:v0", "net:v1"}
    assert {check.version for check in store.verify("net", "v1")} == {"net:v1"}


def test_damage_to_a_shared_file_names_every_version(home: Path, store: EmbeddedStore, make: Make) -> None:
    store.publish(make("a", one="shared"), "net")
    store.publish(make("b", two="shared"), "other")
    flip(blob_of(home, b"shared"))
    bad = {(check.version, check.path) for check in store.verify() if check.problem}
    assert bad == {("net:v0", "one"), ("other:v0", "two")}


def replaced(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").write_text("other")


def linked(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to("/etc/passwd")


def folder_for_file(folder: Path) -> None:
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()


def file_for_folder(folder: Path) -> None:
    (folder / "model" / "weights.bin").unlink()
    (folder / "model").rmdir()
    (folder / "model").touch()


def linked_folder(folder: Path) -> None:
    elsewhere = folder.parents[2] / "elsewhere"
    (folder / "model").rename(elsewhere)
    (folder / "model").symlink_to(elsewhere)


def stranger(folder: Path) -> None:
    (folder / "model" / "pytorch_model.bin").write_text("pickled")
    (folder / "more").mkdir()
    (folder / "more" / "file").touch()


def linked_whole(folder: Path) -> None:
    elsewhere = folder.parents[2] / "elsewhere"
    folder.rename(elsewhere)
    (elsewhere / "stranger").touch()
    folder.symlink_to(elsewhere)


@pytest.mark.parametrize(
    "spoil",
    [replaced, linked, folder_for_file, file_for_folder, linked_folder, linked_whole, stranger],
)
def test_a_spoilt_checkout_is_made_anew(
    home: Path, store: EmbeddedStore, make: Make, spoil: Callable[[Path], None]
) -> None:
    source = make("a")
    store.publish(source, "net")
    folder = store.resolve("net", "v0").checkout()
    spoil(folder)
    again = store.resolve("net", "v0").checkout()
    assert again == folder
    assert contents(again) == contents(source)
    assert not again.is_symlink()
    assert not any(path.is_symlink() for path in again.rglob("*"))
    elsewhere = home.parent / "elsewhere"
    assert not elsewhere.exists() or list(elsewhere.iterdir()), "what a link led to is left alone"
    assert not [check for check in store.verify() if check.problem]


def test_files_are_copied_where_they_cannot_be_linked(
    home: Path, store: EmbeddedStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make("a", weights="precious")
    store.publish(source, "net")

    def refuse(self: Path, target: Path) -> None:
        raise OSError(18, "Invalid cross-device link")

    monkeypatch.setattr(Path, "hardlink_to", refuse)
    folder = store.resolve("net", "v0").checkout()
    assert contents(folder) == contents(source)
    assert not (folder / "model" / "weights.bin").samefile(blob_of(home, b"precious"))
    flip(folder / "model" / "weights.bin")
    assert contents(store.resolve("net", "v0").checkout()) == contents(source)


def test_a_changed_list_of_files_is_found(store: EmbeddedStore, make: Make, home: Path) -> None:
    store.publish(make("a"), "net")
    with Database(home).transaction() as connection:
        connection.execute("UPDATE version_files SET path = 'renamed' WHERE path = 'config.json'")
    with pytest.raises(IntegrityError, match="net:v0: the list of its files is not what was published"):
        store.resolve("net", "v0").checkout()


def test_many_check_out_at_once(store: EmbeddedStore, make: Make) -> None:
    source = make("a", **{f"part-{index}": str(index) for index in range(20)})
    store.publish(source, "net")
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: store.resolve("net", "v0").checkout(), range(16)))
    assert len(set(folders)) == 1
    assert contents(folders[0]) == contents(source)


def test_a_folder_that_changes_while_in_use_is_named(store: EmbeddedStore, make: Make) -> None:
    folder = make("a")
    resolved = store.resolve("net", str(folder))
    assert resolved.digest
    (folder / "config.json").write_text("changed")
    with pytest.raises(IntegrityError, match=f"{folder}: the folder changed while it was in use"):
        resolved.checkout()


def test_what_is_resolved_can_be_sent_to_another_process(store: EmbeddedStore, make: Make) -> None:
    folder = make("a")
    store.publish(folder, "net")
    for ref in ("v0", str(folder)):
        resolved = store.resolve("net", ref)
        digest = resolved.digest
        received = pickle.loads(pickle.dumps(resolved))
        assert received.digest == digest
        assert contents(received.checkout()) == contents(folder)


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def harness(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_HOME", str(home))
    monkeypatch.delenv("HARNESS_CHECKPOINTS", raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    return lambda *arguments: CliRunner().invoke(command, arguments)


@pytest.fixture
def published(store: EmbeddedStore, make: Make) -> tuple[Version, Version]:
    first = store.publish(make("a", weights="precious"), "net", metadata={"step": 100})
    second = store.publish(make("b"), "net", parents=[first.digest, "f" * 32])
    store.alias("net", "production", "v0", reason="the \x1b[31mfirst")
    return first, second


def test_log(harness: Callable[..., Result], published: tuple[Version, Version]) -> None:
    document = json.loads(harness("log", "net", "--json").stdout)
    assert document["checkpoint"] == "net"
    assert [version["version"] for version in document["versions"]] == ["v1", "v0"]
    assert document["versions"][1]["aliases"] == ["production"]
    move = document["moves"][0]
    assert (move["alias"], move["before"], move["after"]) == ("production", None, "v0")
    text = harness("log", "net").stdout
    assert "net:v1" in text
    assert r"the \x1b[31mfirst" in text
    assert max(map(len, text.splitlines())) <= 80
    (newest,) = json.loads(harness("log", "--json").stdout)["checkpoints"]
    assert (newest["name"], newest["version"]) == ("net", "v1")
    assert "net:v1" in harness("log").stdout


def test_show(harness: Callable[..., Result], published: tuple[Version, Version]) -> None:
    first, second = published
    document = json.loads(harness("show", "net", "--json").stdout)
    assert (document["version"], document["digest"]) == ("v1", second.digest)
    known, unknown = document["parents"]
    assert known == {"digest": first.digest, "versions": ["net:v0"]}
    assert unknown == {"digest": "f" * 32, "versions": []}
    text = harness("show", "net:production").stdout
    assert "net:v0" in text
    assert "step=100" in text
    assert f"net:v0 = {first.digest}" in harness("show", "net:v1").stdout


def test_verify(harness: Callable[..., Result], published: tuple[Version, Version], home: Path) -> None:
    whole = harness("verify", "--json")
    assert whole.exit_code == 0
    assert json.loads(whole.stdout) == {"files": 4, "bytes": 13, "damaged": []}
    assert "4 of 4 files (13 bytes) are as they were published" in harness("verify").stdout
    flip(blob_of(home, b"precious"))
    found = harness("verify", "net:v0", "--json")
    assert isinstance(found.exception, IntegrityError)
    (bad,) = json.loads(found.stdout)["damaged"]
    assert (bad["version"], bad["path"]) == ("net:v0", "model/weights.bin")
    assert "its sha256 is" in bad["problem"]
    assert "net:v0: model/weights.bin:" in harness("verify").stdout
    assert harness("verify", "net:v1").exit_code == 0


def test_pull(harness: Callable[..., Result], published: tuple[Version, Version], make: Make, tmp_path: Path) -> None:
    out = tmp_path / "some" / "where"
    document = json.loads(harness("pull", "net:production", "--out", str(out), "--json").stdout)
    assert document == {"version": "net:v0", "digest": published[0].digest, "folder": str(out)}
    assert contents(out) == contents(make("a", weights="precious"))
    (out / "config.json").write_text("mine")
    again = harness("pull", "net", "--out", str(out))
    assert isinstance(again.exception, UsageError)
    assert "is there already" in str(again.exception)
    assert harness("pull", "net", "--out", str(tmp_path / "newest")).stdout.startswith("net:v1 is in ")
    full = harness("pull", "net", "--out", "/proc/nowhere/net")
    assert isinstance(full.exception, StoreError)
    assert [path.name for path in out.parent.iterdir()] == ["where"]


def test_delete_and_gc(harness: Callable[..., Result], published: tuple[Version, Version], home: Path) -> None:
    assert isinstance(harness("delete", "net").exception, UsageError)
    assert isinstance(harness("delete", "net:v0").exception, CheckpointError)
    deleted = json.loads(harness("delete", "net:v0", "--aliased", "--json").stdout)["deleted"]
    assert (deleted["version"], deleted["digest"]) == ("v0", published[0].digest)
    assert "deleted net:v1" in harness("delete", "net:v1").stdout
    assert json.loads(harness("log", "--json").stdout) == {"checkpoints": []}
    assert blobs_of(home) == []
    assert json.loads(harness("gc", "--json").stdout) == {"files": 0, "bytes": 0}
    assert "removed 0 files" in harness("gc").stdout


def test_commands_name_what_they_do_not_find(harness: Callable[..., Result], home: Path) -> None:
    nothing = harness("log")
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    assert "no checkpoints yet" in nothing.stderr
    for arguments in (
        ("log", "net"),
        ("show", "net:v1"),
        ("verify", "net"),
        ("verify", "net:v3"),
        ("delete", "net:v0"),
    ):
        assert isinstance(harness(*arguments).exception, UnknownName)
    assert json.loads(harness("verify", "--json").stdout) == {"files": 0, "bytes": 0, "damaged": []}
    assert not home.exists(), "looking creates nothing"
