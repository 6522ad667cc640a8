"""What each checkpoint store must do. The tests of a store are a class that inherits these, and a fixture:

import pytest

pytest.register_assert_rewrite("harness.testing.checkpoints")
from harness.testing.checkpoints import CheckpointStoreContract, make

@pytest.fixture
def store(tmp_path):
    return MyStore(...)                         # empty, for each test

class TestMyStore(CheckpointStoreContract):
    pass
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar

import pytest

from harness.digests import digest_directory
from harness.errors import CheckpointError, HarnessError, UnknownName, UnknownVersion, UsageError
from harness.protocols import CheckpointStore
from harness.types import Version

Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """`make("folder", name=content, …)`: a folder with a few files, `weights` among them."""

    def make(folder: str, weights: str = "", **files: str) -> Path:
        root = tmp_path / folder
        contents = {"config.json": "{}", "model/weights.bin": weights or folder, **files}
        for name, content in contents.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        return root

    return make


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def numbers(versions: Sequence[Version]) -> list[int]:
    return [version.number for version in versions]


class CheckpointStoreContract:
    older_is_found_again: ClassVar[bool] = False
    """Whether a store keeps no two versions of a name with equal files, and gives the older one again."""

    def test_a_new_store_is_empty(self, store: CheckpointStore) -> None:
        assert list(store.names()) == []

    def test_versions_count_from_zero(self, store: CheckpointStore, make: Make) -> None:
        published = [store.publish(make(folder), "net") for folder in ("a", "b", "c")]
        assert numbers(published) == [0, 1, 2]
        assert str(published[2]) == "net:v2"
        assert numbers(store.versions("net")) == [2, 1, 0]
        assert [version.digest for version in reversed(store.versions("net"))] == [v.digest for v in published]

    def test_an_alias_moves_only_from_where_it_is_expected(self, store: CheckpointStore, make: Make) -> None:
        for folder in ("a", "b"):
            store.publish(make(folder), "net")
        with pytest.raises(UnknownVersion) as unused:
            store.get("net", "production")
        assert (unused.value.checkpoint, unused.value.name) == ("net", "production")
        store.alias("net", "production", "v0", "first", expected=None)
        for expected in (None, 1):
            with pytest.raises(CheckpointError):
                store.alias("net", "production", "v1", "late", expected=expected)
        assert store.get("net", "production").number == 0
        store.alias("net", "production", "v1", "next", expected=0)
        moves = [(move.before, move.after) for move in store.history("net") if move.alias == "production"]
        assert moves == [(0, 1), (None, 0)]

    def test_names_count_apart(self, store: CheckpointStore, make: Make) -> None:
        assert store.publish(make("a"), "net").number == 0
        assert store.publish(make("a"), "data", type="dataset").number == 0
        assert list(store.names()) == ["data", "net"]
        assert store.get("data", "latest").type == "dataset"

    def test_equal_files_are_the_newest_version_again(self, store: CheckpointStore, make: Make) -> None:
        first = store.publish(make("a", weights="same"), "net")
        again = store.publish(make("b", weights="same"), "net", aliases=["best"])
        assert again.number == first.number == 0
        assert again.digest == first.digest
        assert set(again.aliases) == {"latest", "best"}
        store.publish(make("c"), "net")
        third = store.publish(make("a", weights="same"), "net")
        assert third.number == (0 if self.older_is_found_again else 2)
        assert "latest" in third.aliases

    def test_a_name_counts_as_content(self, store: CheckpointStore, make: Make) -> None:
        store.publish(make("a", weights="x", **{"one": "same"}), "net")
        assert store.publish(make("b", weights="x", **{"two": "same"}), "net").number == 1

    def test_what_is_known_of_a_version(self, store: CheckpointStore, make: Make) -> None:
        parent = store.publish(make("a"), "base")
        metadata = {"step": 100, "loss": 0.25, "config": {"lr": 1e-4, "notes": ["ü", None, True]}}
        folder = make("b")
        published = store.publish(folder, "net", aliases=["best"], metadata=metadata, parents=[parent.digest])
        known = store.get("net", "v0")
        assert known == published
        assert (known.name, known.number, known.type) == ("net", 0, "model")
        assert known.digest == digest_directory(folder)
        assert known.size == sum(len(content) for content in contents(folder).values())
        assert known.metadata == metadata
        assert known.parents == (parent.digest,)
        assert sorted(known.aliases) == ["best", "latest"]
        assert known.created.startswith("20")

    def test_what_comes_out_is_what_went_in(self, store: CheckpointStore, make: Make) -> None:
        folder = make("a", **{"deep/er/f": "1", "sp ace": "2", "naïve-日本": "3", "empty": "", ".hidden": "4"})
        published = store.publish(folder, "net")
        resolved = store.resolve("net", "latest")
        assert (resolved.version, resolved.digest) == ("v0", published.digest)
        out = resolved.checkout()
        assert contents(out) == contents(folder)
        assert digest_directory(out) == published.digest
        assert not any(path.is_symlink() for path in out.rglob("*"))

    def test_a_version_outlives_its_source(self, store: CheckpointStore, make: Make) -> None:
        folder = make("a")
        before = contents(folder)
        store.publish(folder, "net")
        (folder / "config.json").write_text("changed")
        assert contents(store.resolve("net", "v0").checkout()) == before

    def test_references(self, store: CheckpointStore, make: Make) -> None:
        store.publish(make("a"), "net", aliases=["old"])
        store.publish(make("b"), "net", aliases=["new"])
        found = {ref: store.resolve("net", ref).version for ref in ("v0", "v1", "old", "new", "latest")}
        assert found == {"v0": "v0", "v1": "v1", "old": "v0", "new": "v1", "latest": "v1"}
        assert store.get("net", "old").number == 0

    def test_a_folder_is_a_reference(self, store: CheckpointStore, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = make("a")
        published = store.publish(folder, "net")
        monkeypatch.chdir(folder.parent)
        monkeypatch.setenv("HOME", str(folder.parent))
        for ref in (str(folder), "./a", "~/a", "../" + folder.parent.name + "/a"):
            resolved = store.resolve("anything", ref)
            assert resolved.version is None
            assert resolved.digest == published.digest
            assert contents(resolved.checkout()) == contents(folder)
        with pytest.raises(CheckpointError, match=r"anything:\./nothing: there is no folder"):
            store.resolve("anything", "./nothing")

    def test_aliases_move_and_are_remembered(self, store: CheckpointStore, make: Make) -> None:
        for folder in "abc":
            store.publish(make(folder), "net")
        store.alias("net", "production", "v0", reason="first")
        moved = store.alias("net", "production", "latest", reason="better")
        assert moved.number == 2
        assert sorted(moved.aliases) == ["latest", "production"]
        assert store.get("net", "v0").aliases == ()
        store.alias("net", "production", "v2", reason="no move")
        history = [
            (move.before, move.after, move.reason) for move in store.history("net") if move.alias == "production"
        ]
        assert history == [(0, 2, "better"), (None, 0, "first")]
        latest = [(move.before, move.after) for move in store.history("net") if move.alias == "latest"]
        assert latest == [(1, 2), (0, 1), (None, 0)]
        assert all(move.who and move.when.startswith("20") for move in store.history("net"))

    def test_a_deleted_version_is_gone_and_its_number_too(self, store: CheckpointStore, make: Make) -> None:
        first, second, third = (store.publish(make(folder), "net") for folder in "abc")
        assert store.delete("net", "v1").digest == second.digest
        assert numbers(store.versions("net")) == [2, 0]
        with pytest.raises(UnknownVersion):
            store.resolve("net", "v1")
        assert store.get("net", "latest") == third
        for version, folder in ((first, "a"), (third, "c")):
            assert contents(store.resolve("net", f"v{version.number}").checkout()) == contents(make(folder))
        assert store.publish(make("b"), "net").number == 3

    def test_latest_moves_back_to_what_is_left(self, store: CheckpointStore, make: Make) -> None:
        for folder in "abc":
            store.publish(make(folder), "net")
        store.delete("net", "v1")
        store.delete("net", "latest")
        assert store.get("net", "latest").number == 0
        moves = [(move.before, move.after) for move in store.history("net") if move.alias == "latest"]
        assert moves == [(2, 0), (1, 2), (0, 1), (None, 0)]
        assert store.history("net")[0].reason == "v2 was deleted"

    def test_a_version_that_an_alias_stands_for_is_not_deleted_unasked(
        self, store: CheckpointStore, make: Make
    ) -> None:
        store.publish(make("a"), "net", aliases=["production", "best"])
        store.publish(make("b"), "net")
        with pytest.raises(CheckpointError, match="net:v0: best, production stands for it"):
            store.delete("net", "production")
        assert store.get("net", "best").number == 0
        with pytest.raises(CheckpointError, match="net:v0: production stands for it"):
            store.delete("net", "v0", aliased=["best"])
        assert store.get("net", "best").number == 0
        store.delete("net", "v0", aliased=["best", "production"])
        assert numbers(store.versions("net")) == [1]
        for alias in ("production", "best"):
            with pytest.raises(UnknownVersion):
                store.get("net", alias)
            moves = [(move.before, move.after) for move in store.history("net") if move.alias == alias]
            assert moves == [(0, None), (None, 0)]
        store.alias("net", "best", "v1", expected=None)

    def test_a_name_whose_last_version_is_deleted_is_unknown(self, store: CheckpointStore, make: Make) -> None:
        store.publish(make("a"), "net")
        store.publish(make("b"), "other")
        store.delete("net", "latest")
        assert list(store.names()) == ["other"]
        asks: list[Callable[[str], object]] = [
            store.versions, lambda name: store.get(name, "latest"), lambda name: store.delete(name, "v0"),
        ]  # fmt: skip
        for ask in asks:
            with pytest.raises(UnknownName):
                ask("net")
        assert store.publish(make("a"), "net").number == 1
        assert store.get("net", "latest").number == 1

    def test_unknown_names_are_answered_with_near_ones(self, store: CheckpointStore, make: Make) -> None:
        store.publish(make("a"), "network", aliases=["production"])
        with pytest.raises(UnknownName, match=r"unknown checkpoint 'netwrok'.*did you mean 'network'"):
            store.resolve("netwrok", "latest")
        with pytest.raises(UnknownName, match=r"'prodution'.*did you mean 'production'"):
            store.resolve("network", "prodution")
        with pytest.raises(UnknownName, match=r"'v7' \(known: .*v0"):
            store.get("network", "v7")
        with pytest.raises(UnknownName):
            store.alias("network", "best", "v7")
        for ask in (store.versions, store.history):
            with pytest.raises(UnknownName):
                ask("nothing")

    @pytest.mark.parametrize(
        "name", ["../x", "/etc/x", "a/b", "a\0b", "", ".", "a:b", "a b", "-x", "a\nb", "x" * 129, "ü"]
    )
    def test_hostile_names_are_refused(self, store: CheckpointStore, make: Make, name: str) -> None:
        folder = make("a")
        attempts: list[Callable[[], object]] = [
            lambda: store.publish(folder, name),
            lambda: store.publish(folder, "net", type=name),
            lambda: store.publish(folder, "net", aliases=["good", name]),
        ]
        for publish in attempts:
            with pytest.raises(UsageError):
                publish()
        assert list(store.names()) == [], "nothing was published"
        store.publish(folder, "net")
        with pytest.raises(UsageError):
            store.alias("net", name, "v0")
        with pytest.raises(HarnessError):
            store.resolve(name, "latest")

    @pytest.mark.parametrize(
        "ref", ["", "v", "v-1", "v00", "v1e3", "v99999999999999999999", "\0", "a b", "\udcff", "latest "]
    )
    def test_hostile_references_are_unknown(self, store: CheckpointStore, make: Make, ref: str) -> None:
        store.publish(make("a"), "net")
        with pytest.raises(UnknownName):
            store.resolve("net", ref)

    @pytest.mark.parametrize("alias", ["v0", "v12", "V3", "v007"])
    def test_an_alias_is_no_number(self, store: CheckpointStore, make: Make, alias: str) -> None:
        with pytest.raises(UsageError, match="reads like a version's number"):
            store.publish(make("a"), "net", aliases=[alias])
        store.publish(make("a"), "net")
        with pytest.raises(UsageError, match="reads like a version's number"):
            store.alias("net", alias, "v0")

    def test_a_name_keeps_its_type(self, store: CheckpointStore, make: Make) -> None:
        store.publish(make("a"), "net")
        with pytest.raises(CheckpointError, match="net: holds versions of type 'model', not 'dataset'"):
            store.publish(make("b"), "net", type="dataset")
        assert numbers(store.versions("net")) == [0]

    def test_what_json_cannot_hold_is_refused(self, store: CheckpointStore, make: Make) -> None:
        for value in (float("nan"), float("inf"), {1, 2}, b"bytes", object()):
            with pytest.raises(UsageError, match="metadata: only what JSON can hold"):
                store.publish(make("a"), "net", metadata={"loss": value})
        assert list(store.names()) == []

    def test_a_parent_is_a_digest(self, store: CheckpointStore, make: Make) -> None:
        with pytest.raises(UsageError, match="parent 'net:v0': not a digest"):
            store.publish(make("a"), "net", parents=["net:v0"])

    def test_folders_that_cannot_be_published(self, store: CheckpointStore, make: Make, tmp_path: Path) -> None:
        (tmp_path / "empty" / "inner").mkdir(parents=True)
        leading_out = make("leading-out")
        (leading_out / "passwords").symlink_to("/etc/passwd")
        broken = make("broken")
        (broken / "link").symlink_to("nowhere")
        pipe = make("pipe")
        os.mkfifo(pipe / "pipe")
        for folder in (tmp_path / "empty", tmp_path / "missing", leading_out, broken, pipe, pipe / "config.json"):
            with pytest.raises(CheckpointError, match=folder.name):
                store.publish(folder, "net")
        assert list(store.names()) == []

    def test_publishers_at_once_leave_no_gap(self, store: CheckpointStore, make: Make) -> None:
        folders = [[make(f"{worker}-{turn}") for turn in range(3)] for worker in range(4)]

        def work(worker: int) -> list[Version]:
            return [store.publish(folder, "net", aliases=[f"worker-{worker}"]) for folder in folders[worker]]

        with ThreadPoolExecutor(4) as pool:
            published = list(pool.map(work, range(4)))
        assert sorted(version.number for versions in published for version in versions) == list(range(12))
        assert all(numbers(versions) == sorted(numbers(versions)) for versions in published)
        assert numbers(store.versions("net")) == list(reversed(range(12)))
        assert store.get("net", "latest").number == 11
        for worker, versions in enumerate(published):
            assert store.get("net", f"worker-{worker}").number == versions[-1].number
            for version, folder in zip(versions, folders[worker], strict=True):
                assert contents(store.resolve("net", f"v{version.number}").checkout()) == contents(folder)
        held = Counter(alias for version in store.versions("net") for alias in version.aliases)
        assert set(held.values()) == {1}, "an alias is at one version"
