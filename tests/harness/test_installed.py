"""What is installed, against what Python's own reading of it says each time."""

from __future__ import annotations

import time
from importlib import metadata
from pathlib import Path

import pytest

from harness import installed


def lay(folder: Path, name: str, version: str) -> None:
    information = folder / f"{name}-{version}.dist-info"
    information.mkdir(parents=True)
    (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (information / "entry_points.txt").write_text(f"[harness.things]\n{name} = {name}:Thing\n")


def test_versions_are_those_of_the_distributions() -> None:
    assert installed.versions() == {item.name: item.version for item in metadata.distributions()}
    assert len(installed.versions()) > 10
    installed.versions().clear()
    assert installed.versions(), "what one caller does with it is not the others' business"


def test_what_is_installed_meanwhile_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    lay(tmp_path, "alpha", "1.0")
    assert [point.name for point in installed.entry_points("harness.things")] == ["alpha"]
    time.sleep(0.02)  # the clock of files may be as coarse
    lay(tmp_path, "beta", "2.0")
    (alpha, beta) = sorted(installed.entry_points("harness.things"), key=lambda point: point.name)
    assert [installed.described(point.dist) for point in (alpha, beta)] == [("alpha", "1.0"), ("beta", "2.0")]
    assert installed.versions()["beta"] == "2.0"


def test_what_did_not_change_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    known = installed.entry_points("harness"), installed.versions()
    for name in ("entry_points", "distributions"):
        monkeypatch.setattr(metadata, name, lambda **_: pytest.fail("it was read again"))
    assert (installed.entry_points("harness"), installed.versions()) == known
