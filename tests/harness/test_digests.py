"""Digests against W&B's own SDK and against its formula written out."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from harness.digests import (
    FileDigest,
    copy_file,
    digest_directory,
    file_sha256,
    in_threads,
    list_files,
    manifest_digest,
)
from harness.errors import CheckpointError

FOLDERS: list[dict[str, bytes]] = [
    {"config.json": b"{}"},
    {"model.safetensors": bytes(range(256)) * 5000, "config.json": b"", "tokenizer/vocab.txt": b"a\nb\n"},
    # Sorted as whole names, "a-b" comes before "a/b" and "a.b" between them: a walk's order is another.
    {"a/b": b"1", "a-b": b"2", "a.b": b"3", "a/B": b"4", "A/b": b"5", "ab": b"6", "a b": b"7", "a/b c/d": b"8"},
    {"naïve.txt": b"1", "nai\u0308ve.txt": b"2", "日本/語.bin": b"3", "🦜": b"4", "\U00010400": b"5", "\uffee": b"6"},
    {"colon:in:name": b"1", "50%": b"2", "#hash?": b"3", "quote'\"": b"4", "back\\slash": b"5", " led": b"6"},
    {".hidden": b"1", "...": b"2", "deep/er/and/deep/er": b"3", "*": b"4", "~": b"5", "-": b"6", "$HOME": b"7"},
]

WANDB = """
import json, sys, wandb
folders = json.load(sys.stdin)
for folder in folders:
    artifact = wandb.Artifact("some-name", "model")
    artifact.add_dir(folder)
    print("digest", artifact.digest)
"""


def write(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.skipif(importlib.util.find_spec("wandb") is None, reason="wandb is not installed")
def test_digest_is_that_of_the_wandb_sdk(tmp_path: Path) -> None:
    folders = [write(tmp_path / str(index), files) for index, files in enumerate(FOLDERS)]
    linked = write(tmp_path / "linked", {"real/model.bin": b"weights"})
    (linked / "alias").symlink_to("real")
    (linked / "file").symlink_to("real/model.bin")
    (linked / "empty").mkdir()
    folders.append(linked)
    settings = {"WANDB_MODE": "offline", "WANDB_SILENT": "true"}
    settings |= {name: str(tmp_path) for name in ("WANDB_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR", "WANDB_CONFIG_DIR")}
    child = subprocess.run(
        [sys.executable, "-P", "-c", WANDB],
        input=json.dumps([str(folder) for folder in folders]), env={**os.environ, **settings}, cwd=tmp_path,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr
    theirs = [line.split()[1] for line in child.stdout.splitlines() if line.startswith("digest")]
    assert [digest_directory(folder) for folder in folders] == theirs


segment = st.text(
    st.characters(exclude_categories=["Cc", "Cs"], exclude_characters="/"), min_size=1, max_size=20
).filter(lambda text: text not in (".", "..") and len(text.encode()) < 200)
names = st.lists(segment, min_size=1, max_size=3).map("/".join)


@settings(deadline=None)
@given(files=st.dictionaries(names, st.binary(max_size=50), min_size=1, max_size=8))
def test_digest_is_the_formula(files: dict[str, bytes]) -> None:
    assume(not any(other.startswith(name + "/") for name in files for other in files))
    manifest = b"wandb-artifact-manifest-v1\n"
    for name, content in sorted(files.items(), key=lambda item: item[0]):
        manifest += name.encode() + b":" + base64.b64encode(hashlib.md5(content).digest()) + b"\n"
    with tempfile.TemporaryDirectory() as folder:
        assert digest_directory(write(Path(folder), files)) == hashlib.md5(manifest).hexdigest()


def test_the_order_of_a_manifest_does_not_count() -> None:
    assert manifest_digest({"a/b": "1", "a-b": "2"}) == manifest_digest({"a-b": "2", "a/b": "1"})


@settings(deadline=None, max_examples=50)
@given(content=st.binary(max_size=300), repeat=st.sampled_from([1, 20_000]))
def test_file_hashes_are_those_of_the_content(content: bytes, repeat: int) -> None:
    content *= repeat
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder), {"f": content}) / "f"
        copy = io.BytesIO()
        digest = copy_file(path, copy)
        assert copy.getvalue() == content
        md5 = base64.b64encode(hashlib.md5(content).digest()).decode()
        assert digest == FileDigest(hashlib.sha256(content).hexdigest(), md5, len(content))
        assert file_sha256(path) == digest.sha256


def test_files_are_listed_by_name(tmp_path: Path) -> None:
    write(tmp_path, {"b": b"", "a/c": b"", "a-b": b""})
    (tmp_path / "empty").mkdir()
    assert list(list_files(tmp_path)) == ["a-b", "a/c", "b"]


def test_a_link_that_leads_out_is_followed_unless_refused(tmp_path: Path) -> None:
    outside = write(tmp_path / "outside", {"weights.bin": b"x", "more/weights.bin": b"y"})
    folder = write(tmp_path / "folder", {"config.json": b""})
    (folder / "weights.bin").symlink_to(outside / "weights.bin")
    assert sorted(list_files(folder)) == ["config.json", "weights.bin"]
    with pytest.raises(CheckpointError, match=r"folder/weights.bin: a link that leads out of the folder"):
        list_files(folder, contained=True)
    (folder / "weights.bin").unlink()
    (folder / "more").symlink_to(outside / "more")
    with pytest.raises(CheckpointError, match=r"folder/more/weights.bin: a link that leads out"):
        list_files(folder, contained=True)


def test_a_link_within_is_followed(tmp_path: Path) -> None:
    write(tmp_path, {"real/model.bin": b"x"})
    (tmp_path / "last").symlink_to("real")
    assert list(list_files(tmp_path, contained=True)) == ["last/model.bin", "real/model.bin"]


def loop(folder: Path) -> None:
    (folder / "inner").mkdir()
    (folder / "inner" / "loop").symlink_to("..")


def crossed_loop(folder: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (folder / one).mkdir()
        (folder / one / "loop").symlink_to(folder / other)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (loop, "inner/loop: a link to a folder that holds it"),
        (crossed_loop, "loop: a link to a folder that holds it"),
        (lambda folder: (folder / "broken").symlink_to("nowhere"), "broken: neither a file nor a folder"),
        (lambda folder: (folder / "self").symlink_to("self"), "self: neither a file nor a folder"),
        (lambda folder: os.mkfifo(folder / "pipe"), "pipe: neither a file nor a folder"),
        (lambda folder: (folder / "a\nb").touch(), r"the file name 'a\\nb' cannot be used"),
        (lambda folder: (folder / "a\x1bb").touch(), r"the file name 'a\\x1bb' cannot be used"),
        (lambda folder: (folder / os.fsdecode(b"\xff")).touch(), r"the file name '\\udcff' cannot be used"),
    ],
)
def test_what_cannot_be_taken_for_a_file_is_named(tmp_path: Path, spoil: object, message: str) -> None:
    write(tmp_path, {"config.json": b""})
    assert callable(spoil)
    spoil(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        list_files(tmp_path)


def test_a_folder_without_files_is_named(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="inner: the folder holds no files"):
        digest_directory(tmp_path / "inner")
    with pytest.raises(CheckpointError, match="nothing: no such folder"):
        digest_directory(tmp_path / "nothing")
    with pytest.raises(CheckpointError, match="file: no such folder"):
        digest_directory(tmp_path / "file")


def test_threads_keep_the_order() -> None:
    def wait(delay: float) -> float:
        time.sleep(delay)
        return delay

    delays = [0.03, 0.0, 0.02, 0.01]
    assert list(in_threads(wait, delays)) == delays
    with pytest.raises(ZeroDivisionError):
        list(in_threads(lambda number: 1 / number, [1, 0, 2]))
