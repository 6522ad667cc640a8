"""What the W&B store does beside the contract: lineage, the Registry, the cache, moves at once, what never leaves."""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from logging_proxy import refuse_all_other_hosts
from tests_support import ROOT
from wandb_server import REGISTRY, Server

from harness.digests import digest_directory
from harness.errors import CheckpointError, ConfigError, IntegrityError, StoreError, UnknownVersion, UsageError
from harness.testing.checkpoints import Make, contents, make, numbers
from plugins.checkpoints import moves
from plugins.checkpoints.moves import Entry, Log, Moved
from plugins.checkpoints.wandb import WandbStore

__all__ = ["make"]
MakeStore = Callable[..., WandbStore]


def downloads(server: Server) -> list[str]:
    return [request.label for request in server.requests if request.label.startswith("GET /storage/content")]


def visible(cache: Path) -> list[Path]:
    """What of the cache counts as a version."""
    return [path for folder in ("checkouts", "versions") for path in (cache / folder).rglob("*") if path.is_file()]


# --- what is kept at the server ---------------------------------------------------------------------------------------


def test_parents_are_inputs_of_the_run_that_publishes(server: Server, store: WandbStore, make: Make) -> None:
    base = store.publish(make("a"), "base", type="dataset")
    store.publish(make("b"), "base", type="dataset")
    metadata = {"parents": {"base:v0": base.digest}}
    published = store.publish(make("c"), "net", metadata=metadata, parents=[base.digest, "f" * 32])
    run = server.artifact("net:v0").created_by
    assert run is not None
    assert server.used(run.name) == ["base:v0"]
    assert run.job_type == "publish"
    assert published.parents == (base.digest, "f" * 32), "also one that the project does not have"


def test_the_digest_is_that_of_w_and_b(server: Server, store: WandbStore, make: Make) -> None:
    folder = make("a")
    assert store.publish(folder, "net").digest == digest_directory(folder) == server.artifact("net:v0").digest


def test_no_secret_and_no_place_of_the_machine_is_sent(
    server: Server, store: WandbStore, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "harness"), "train"])
    metadata = {
        "environment": {"command": f"{tmp_path}/bin/harness train --hub-token hunter2 /data/secret-project/x.yaml"},
        "settings": {"data": str(tmp_path / "data" / "gqa"), "hub": "https://me:hunter3@hub/x", "lr": 0.1, "steps": 3},
        "parents": {str(tmp_path / "base"): "a" * 32},
        "relative": "data/gqa",
    }
    version = store.publish(make("a"), "net", aliases=["best"], metadata=metadata, parents=["a" * 32])
    store.alias("net", "production", "v0", reason=f"better, as in {tmp_path}/notes")
    sent = server.received().decode(errors="replace")
    for secret in (str(tmp_path), str(Path.home()) + "/", "hunter2", "hunter3", "/data/secret-project"):
        assert secret not in sent
    assert os.environ["WANDB_API_KEY"] not in sent
    places = set(re.findall(r'\\?"(/[^"\\]+/[^"\\]*)\\?"', sent))
    assert {place.split("/")[2].rpartition("-")[0] for place in places} == {"harness-wandb"}, "links, nothing else"
    assert version.metadata["settings"]["lr"] == 0.1
    assert version.metadata["relative"] == "data/gqa"
    assert version.metadata["settings"]["data"].endswith("gqa")


def test_nothing_is_copied_or_left_behind(
    server: Server, store: WandbStore, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store.publish(make("a", weights="w" * 1000), "net")
    kept = [path for path in (tmp_path / "wandb").rglob("*") if path.is_file() and path.stat().st_size >= 1000]
    assert [path for path in kept if b"wwww" in path.read_bytes()] == []
    assert not (tmp_path / "wandb" / "dir" / "wandb").exists()


def test_what_others_logged_is_a_checkpoint(
    server: Server, store: WandbStore, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import wandb

    folder = make("a")
    settings = wandb.Settings(console="off", silent=True)
    with wandb.init(project=server.project, dir=str(tmp_path), reinit="create_new", settings=settings) as run:
        artifact = wandb.Artifact("theirs", "model", metadata={"loss": 0.5})
        artifact.add_dir(str(folder))
        run.log_artifact(artifact, aliases=["best"]).wait()
    version = store.get("theirs", "best")
    assert (version.digest, version.metadata, version.parents) == (digest_directory(folder), {"loss": 0.5}, ())
    assert version.size == sum(len(content) for content in contents(folder).values())
    assert contents(store.resolve("theirs", "v0").checkout()) == contents(folder)
    assert [(move.after, move.who) for move in store.history("theirs") if move.alias == "latest"] == [(0, "unknown")]
    assert store.publish(folder, "theirs").number == 0


def test_metadata_that_was_changed_is_not_believed(server: Server, store: WandbStore, make: Make) -> None:
    store.publish(make("a"), "net")
    artifact = server.artifact("net:v0")
    record = json.loads(artifact.metadata)
    record["harness"]["digest"] = "0" * 32
    artifact.metadata = json.dumps(record)
    assert store.get("net", "v0").digest == artifact.digest
    record["harness"]["digest"] = artifact.digest
    record["harness"]["files"]["config.json"]["sha256"] = "0" * 64
    artifact.metadata = json.dumps(record)
    with pytest.raises(IntegrityError, match=r"net:v0: config\.json is not what was published"):
        store.resolve("net", "v0").checkout()


def test_promoted_versions_are_linked_to_the_registry(server: Server, make_store: MakeStore, make: Make) -> None:
    store = make_store(registry="model")
    for folder in "ab":
        store.publish(make(folder), "net")
    store.alias("net", "best", "v0")
    assert server.versions("net", REGISTRY) == {}
    store.alias("net", "production", "v0")
    store.alias("net", "production", "v1")
    assert server.versions("net", REGISTRY) == {"v0": [], "v1": ["latest", "production"]}
    server.faults.status(500, "LinkArtifact")
    with pytest.raises(StoreError):
        make_store(registry="model", timeout=2).alias("net", "production", "v0", expected=1)
    server.faults.clear()
    assert store.get("net", "production").number == 1, "not moved where it could not be linked"
    assert store.alias("net", "production", "v0", expected=1).number == 0


# --- moves of aliases -------------------------------------------------------------------------------------------------


def test_one_of_several_promotions_wins(server: Server, make_store: MakeStore, make: Make) -> None:
    store = make_store()
    for folder in "abcd":
        store.publish(make(folder), "net")
    store.alias("net", "production", "v0", expected=None)
    start = threading.Barrier(3)

    def promote(number: int) -> str:
        mine = make_store()
        start.wait()
        try:
            return str(mine.alias("net", "production", f"v{number}", f"run {number}", expected=0).number)
        except CheckpointError as error:
            return str(error)

    with ThreadPoolExecutor(3) as pool:
        said = list(pool.map(promote, range(1, 4)))
    winners = [text for text in said if text.isdigit()]
    assert winners == [str(store.get("net", "production").number)]
    beaten = f"net:production is at v{winners[0]}, not at v0 as expected: it was moved meanwhile"
    assert sum(text.startswith(beaten) for text in said) == 2
    assert [move.after for move in store.history("net") if move.alias == "production"] == [int(winners[0]), 0]


def test_a_move_that_was_never_carried_out_is_none(server: Server, make_store: MakeStore, make: Make) -> None:
    store = make_store(timeout=2)
    for folder in "ab":
        store.publish(make(folder), "net")
    store.alias("net", "production", "v0", "first")
    log = Log(store._project, "net")
    killed = Entry("x" * 32, 0, 1, (Moved("production", 0, 1),), moves.now(), "somebody", "killed before the move")
    assert log._write(killed).version == "v1"
    assert [move.after for move in store.history("net") if move.alias == "production"] == [0]
    store.alias("net", "production", "v1", "after waiting for them", expected=0)
    assert [move.reason for move in store.history("net") if move.alias == "production"] == [
        "after waiting for them", "first",
    ]  # fmt: skip


def test_a_move_whose_writer_was_killed_before_it_said_so_counts(
    server: Server, make_store: MakeStore, make: Make
) -> None:
    store = make_store()
    for folder in "ab":
        store.publish(make(folder), "net")
    store.alias("net", "production", "v0", "first")
    log = Log(store._project, "net")
    log._write(Entry("x" * 32, 0, 1, (Moved("production", 0, 1),), moves.now(), "somebody", "killed after the move"))
    collection = server.collection("net")
    collection.move_aliases(collection.artifact_membership("v1"), ["production"])
    store.alias("net", "production", "v0", "back", expected=1)
    told = [(move.before, move.after, move.reason) for move in store.history("net") if move.alias == "production"]
    assert told == [(1, 0, "back"), (0, 1, "killed after the move"), (None, 0, "first")]


def test_what_was_moved_at_the_server_is_told(server: Server, store: WandbStore, make: Make) -> None:
    for folder in "ab":
        store.publish(make(folder), "net")
    store.alias("net", "production", "v0", "first")
    collection = server.collection("net")
    collection.move_aliases(collection.artifact_membership("v1"), ["production"])
    newest = store.history("net")[0]
    assert (newest.alias, newest.before, newest.after) == ("production", 0, 1)
    assert (newest.who, newest.reason) == ("unknown", "moved without the harness")


# --- the cache --------------------------------------------------------------------------------------------------------


def test_a_version_in_the_cache_needs_no_server(
    server: Server, make_store: MakeStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make("a")
    make_store().publish(folder, "net")
    out = make_store().resolve("net", "latest").checkout()
    server.requests.clear()
    assert make_store().resolve("net", "v0").checkout() == out
    assert downloads(server) == []
    server.down()
    again = pickle.loads(pickle.dumps(make_store().resolve("net", "v0")))
    assert again.checkout() == out
    assert again.digest == digest_directory(folder)
    server.up()
    server.requests.clear()
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert make_store().resolve("net", "v0").checkout() == out
    assert server.requests == []


def test_a_server_that_gives_no_answer_is_waited_for_once(
    server: Server, make_store: MakeStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_store().publish(make("a"), "net")
    make_store().resolve("net", "v0").checkout()
    store = make_store(timeout=2)
    assert store.get("net", "v0").number == 0
    fault = server.faults.status(500, "POST /graphql")
    assert contents(store.resolve("net", "v0").checkout()) == contents(make("a"))
    assert fault.met
    monkeypatch.setattr(store._project, "find", lambda name, ref: pytest.fail("it is asked again"))
    assert contents(store.resolve("net", "v0").checkout()) == contents(make("a"))


def test_threads_in_each_others_way_cost_nothing(
    store: WandbStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from wandb.sdk.lib.capped_dict import CappedDict

    prune, pruned = CappedDict._prune_dict, 0

    def prune_at_once(cache: CappedDict, size: int) -> None:
        nonlocal pruned
        pruned += 1
        if pruned % 3 == 1:  # an attempt removes two at most
            raise KeyError("another thread has just removed it")
        prune(cache, size)

    monkeypatch.setattr(CappedDict, "_prune_dict", prune_at_once)
    store.publish(make("a"), "net")
    assert numbers(store.versions("net")) == [0]
    assert store.get("net", "v0").number == 0
    assert pruned > 2


def test_a_number_that_is_given_anew_finds_the_new_files(
    server: Server, make_store: MakeStore, make: Make, tmp_path: Path
) -> None:
    def resolved(store: WandbStore) -> dict[str, bytes]:
        return contents(store.resolve("net", "v0").checkout())

    def make_anew() -> None:
        server.state.projects[server.entity, server.project].collections.clear()

    make_store().publish(make("a"), "net")
    assert resolved(make_store()) == contents(make("a"))
    make_anew()
    assert make_store().publish(make("b"), "net").number == 0
    server.down()
    with pytest.raises(StoreError):
        make_store(timeout=1).resolve("net", "v0")  # what the cache has of it is another version's
    server.up()
    assert resolved(make_store()) == contents(make("b"))
    make_anew()
    assert make_store(cache=tmp_path / "elsewhere").publish(make("c"), "net").number == 0
    assert resolved(make_store()) == contents(make("c"))
    server.down()
    assert resolved(make_store()) == contents(make("c"))


def test_what_others_logged_stays_where_others_read_it(server: Server, make_store: MakeStore, make: Make) -> None:
    folder = make("a")
    make_store().publish(folder, "theirs")
    server.artifact("theirs:v0").metadata = None  # as others log them
    out = make_store().resolve("theirs", "v0").checkout()
    places = {path: path.stat().st_ino for path in out.rglob("*")}
    server.requests.clear()
    assert make_store().resolve("theirs", "v0").checkout() == out
    found = make_store().resolve("theirs", "v0")
    found.known = None  # type: ignore[attr-defined]  # as if it had been found before the first one was there
    assert found.checkout() == out
    assert {path: path.stat().st_ino for path in out.rglob("*")} == places
    assert downloads(server) == []


def test_damage_in_the_cache_is_mended(server: Server, store: WandbStore, make: Make) -> None:
    folder = make("a", weights="precious")
    store.publish(folder, "net")
    out = store.resolve("net", "v0").checkout()
    assert all(path.stat().st_mode & 0o777 == 0o444 for path in out.rglob("*") if path.is_file())
    weights = out / "model" / "weights.bin"
    weights.chmod(0o644)
    weights.write_text("spurious")
    (out / "stranger.py").write_text("import this")
    server.requests.clear()
    assert contents(store.resolve("net", "v0").checkout()) == contents(folder)
    assert len(downloads(server)) == 1, "only what was damaged"


def test_two_at_once_download_once(server: Server, make_store: MakeStore, make: Make) -> None:
    folder = make("a")
    make_store().publish(folder, "net")
    server.requests.clear()
    server.faults.slow(0.3, "GET /storage/content")
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda _: make_store().resolve("net", "v0").checkout(), range(2)))
    assert found[0] == found[1]
    assert len(downloads(server)) == len(contents(folder))


# --- faults -----------------------------------------------------------------------------------------------------------


def test_a_corrupted_file_is_never_seen(server: Server, store: WandbStore, make: Make, tmp_path: Path) -> None:
    store.publish(make("a", weights="corrupted"), "net")  # the server keeps equal content once
    server.corrupt("net:v0", "model/weights.bin")
    for _ in range(2):
        with pytest.raises(IntegrityError, match=r"net:v0: what the server has is not what was published"):
            store.resolve("net", "v0").checkout()
        assert visible(tmp_path / "cache") == []


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the SDK leaves cut files open
def test_a_cut_download_goes_on(server: Server, make_store: MakeStore, make: Make, tmp_path: Path) -> None:
    folder = make("a", weights="w" * 100_000)
    store = make_store(timeout=2)
    store.publish(folder, "net")
    weights = server.artifact("net:v0").file("x", server.artifact("net:v0").entries()["model/weights.bin"]["digest"])
    server.faults.cut(f"GET /storage/{weights.storage_path}", times=None)
    with pytest.raises(StoreError, match="downloading net:v0 failed"):
        store.resolve("net", "v0").checkout()
    assert visible(tmp_path / "cache") == []
    server.faults.clear()
    server.requests.clear()
    assert contents(store.resolve("net", "v0").checkout()) == contents(folder)
    assert len(downloads(server)) == 1, "what had come is not loaded again"
    server.faults.cut("GET /storage/content")
    assert contents(make_store(cache=tmp_path / "other").resolve("net", "v0").checkout()) == contents(folder)
    gc.collect()


def test_an_answer_that_is_lost_costs_nothing(server: Server, store: WandbStore, make: Make) -> None:
    for number, operation in enumerate(("CommitArtifact", "CreateArtifact$", "PUT /storage/content")):
        server.faults.cut(operation, times=1)
        assert store.publish(make(operation), "net").number == number
    server.faults.status(500, "", times=2)
    assert store.publish(make("later"), "net").number == 3
    assert numbers(store.versions("net")) == [3, 2, 1, 0]
    lost = server.faults.cut("CommitArtifact", times=1)
    assert store.alias("net", "production", "v0", expected=None).number == 0
    assert lost.met == 1
    assert [move.after for move in store.history("net") if move.alias == "production"] == [0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "operation"),
    [
        *(("status", name) for name in ("ProjectArtifacts", "UpsertBucket", "CreateArtifact$", "PUT /", "CommitArt")),
        *(("slow", name) for name in ("UpsertBucket", "PUT /", "CommitArt")),
    ],
)
def test_a_failing_server_is_said_and_nothing_is_half_there(
    server: Server, make_store: MakeStore, make: Make, operation: str, fault: str
) -> None:
    store = make_store(timeout=2)
    store.publish(make("a"), "net")
    if fault == "status":
        server.faults.status(500, operation)
    else:
        server.faults.slow(5, operation)
    with pytest.raises(StoreError, match=rf"project {server.entity}/{server.project} at {server.url}: .* failed"):
        store.publish(make("b"), "net", aliases=["best"])
    server.faults.clear()
    if (fault, operation) != ("slow", "CommitArt"):  # its answer came too late, but it was carried out
        assert server.versions("net") == {"v0": ["latest"]}
    assert store.publish(make("b"), "net", aliases=["best"]).number == 1
    assert server.versions("net") == {"v0": [], "v1": ["best", "latest"]}


def test_a_server_that_is_down_is_said(server: Server, make_store: MakeStore, make: Make) -> None:
    store = make_store(timeout=1)
    store.publish(make("a"), "net")
    server.down()
    with pytest.raises(StoreError, match=rf"at {server.url}: .* failed .*run the same command again"):
        store.publish(make("b"), "net")
    server.up()
    assert store.publish(make("b"), "net").number == 1


def test_without_a_login_the_next_step_is_said(
    server: Server, make_store: MakeStore, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WANDB_API_KEY")
    for ask in (lambda store: store.names(), lambda store: store.publish(make("a"), "net")):
        with pytest.raises(ConfigError, match=f"no login for {server.url}: run `wandb login"):
            ask(make_store())
    monkeypatch.setenv("WANDB_MODE", "offline")
    with pytest.raises(ConfigError, match=r"WANDB_MODE=offline: .*need their server.*checkpoints mirror"):
        make_store().names()


def test_options_are_checked(tmp_path: Path) -> None:
    for options in ({"timeout": "soon"}, {"timeout": 0}, {"entity": 3}, {"registry_aliases": "production"}):
        with pytest.raises(UsageError, match=f"checkpoints: {next(iter(options))}"):
            WandbStore(**options)  # type: ignore[arg-type]


def test_a_type_that_w_and_b_keeps_is_refused(store: WandbStore, make: Make) -> None:
    for kind in ("job", "wandb-history"):
        with pytest.raises(UsageError, match="keeps it for itself"):
            store.publish(make("a"), "net", type=kind)


# --- processes --------------------------------------------------------------------------------------------------------

PUBLISH = """
import sys
from pathlib import Path
from plugins.checkpoints.wandb import WandbStore
folder, worker = Path(sys.argv[1]), sys.argv[2]
source = folder / f"source-{worker}"
source.mkdir()
(source / "shared.bin").write_bytes(b"shared" * 1000)
store = WandbStore(cache=folder / "cache")
store.names()
print("ready", flush=True)
sys.stdin.readline()
for turn in range(3):
    (source / "weights.bin").write_text(f"{worker} {turn}")
    print(store.publish(source, "net", metadata={"worker": worker, "turn": turn}).number, flush=True)
"""


@pytest.mark.slow
def test_processes_publish_at_once_without_a_gap(server: Server, store: WandbStore, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-P", "-c", PUBLISH, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    children = [subprocess.Popen([*command, str(n)], env=environment, text=True, **pipes) for n in range(4)]
    for child in children:
        assert child.stdout
        assert child.stdout.readline() == "ready\n"
    with ThreadPoolExecutor(4) as pool:
        said = [out.split() for out, _ in pool.map(lambda child: child.communicate("go\n", timeout=120), children)]
    assert sorted(int(number) for out in said for number in out) == list(range(12))
    assert numbers(store.versions("net")) == list(reversed(range(12)))
    for version in store.versions("net"):
        folder = store.resolve("net", f"v{version.number}").checkout()
        assert (folder / "weights.bin").read_text() == f"{version.metadata['worker']} {version.metadata['turn']}"


@pytest.mark.slow
def test_a_publisher_that_is_killed_leaves_nothing_half_there(
    server: Server, make_store: MakeStore, make: Make, tmp_path: Path
) -> None:
    folder = make("a", weights="w" * 100_000)
    code = "import sys\nfrom pathlib import Path\nfrom plugins.checkpoints.wandb import WandbStore\n"
    code += "WandbStore().publish(Path(sys.argv[1]), 'net')"
    slow = server.faults.slow(1.5, "PUT /storage/content")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-P", "-c", code, str(folder)], env=environment)
    until = time.monotonic() + 60
    while not slow.met:
        assert time.monotonic() < until
        time.sleep(0.01)
    child.kill()
    child.wait()
    server.faults.clear()
    assert list(server.versions("net")) in ([], ["v0"]), "the SDK's own process may still have ended it"
    store = make_store()
    assert store.publish(folder, "net").number == 0
    assert numbers(store.versions("net")) == [0]
    assert contents(store.resolve("net", "latest").checkout()) == contents(folder)


@pytest.mark.slow
def test_a_download_that_is_killed_goes_on(server: Server, make_store: MakeStore, make: Make, tmp_path: Path) -> None:
    folder = make("a", weights="w" * 100_000)
    make_store().publish(folder, "net")
    code = "import sys\nfrom plugins.checkpoints.wandb import WandbStore\nstore = WandbStore(cache=sys.argv[1])\n"
    code += "store.resolve('net', 'v0').checkout()"
    digest = server.artifact("net:v0").entries()["model/weights.bin"]["digest"]
    slow = server.faults.slow(30, server.artifact("net:v0").file("x", digest).storage_path)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-P", "-c", code, str(tmp_path / "cache")], env=environment)
    until = time.monotonic() + 60
    while not slow.met or not list((tmp_path / "cache" / "unfinished").rglob("config.json")):
        assert time.monotonic() < until
        time.sleep(0.01)
    child.kill()
    child.wait()
    assert visible(tmp_path / "cache") == []
    server.faults.clear()
    server.requests.clear()
    assert contents(make_store().resolve("net", "v0").checkout()) == contents(folder)
    assert len(downloads(server)) == 1


ALL = """
import sys
from pathlib import Path
from harness.errors import StoreError
from plugins.checkpoints.wandb import WandbStore
store = WandbStore(cache=Path(sys.argv[1], "cache"), timeout=3)
folder = Path(sys.argv[1], "folder")
folder.mkdir(exist_ok=True)
(folder / "weights.bin").write_text("weights")
try:
    store.alias("net", "production", f"v{store.publish(folder, 'net').number}")
    store.resolve("net", "production").checkout()
except StoreError as error:
    print(error)
"""


@pytest.mark.slow
def test_no_other_host_is_asked(server: Server, tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-c", ALL, str(tmp_path)]
    with refuse_all_other_hosts() as proxy:
        environment = {**os.environ, **proxy.environment, "PYTHONPATH": str(ROOT), "HOME": str(tmp_path)}
        environment.pop("WANDB_ERROR_REPORTING")
        server.faults.status(500, "CommitArtifact")  # what the SDK might report to its makers
        failed = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
        server.faults.clear()
        subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=120)
    assert "commitArtifact" in failed.stdout
    assert server.versions("net") == {"v0": ["latest", "production"]}
    assert proxy.asked == []


@pytest.mark.slow
def test_a_key_that_is_refused_is_said(server: Server, tmp_path: Path) -> None:
    code = "from plugins.checkpoints.wandb import WandbStore\nWandbStore(timeout=5).names()"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "WANDB_API_KEY": "f" * 40}
    child = subprocess.run(
        [sys.executable, "-P", "-c", code], env=environment, capture_output=True, text=True, check=False, timeout=120
    )
    assert "ConfigError" in child.stderr
    assert "the server refuses it" in child.stderr
    assert "f" * 40 not in child.stderr


def test_a_deleted_version_is_not_downloaded(server: Server, make_store: MakeStore, make: Make) -> None:
    store = make_store()
    for folder in "ab":
        store.publish(make(folder), "net")
    found = store.resolve("net", "v0")
    store.delete("net", "v0")
    with pytest.raises(UnknownVersion, match="it was deleted at the server"):
        found.checkout()
