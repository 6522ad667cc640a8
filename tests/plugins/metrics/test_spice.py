"""SPICE: what it refuses to start without, and what becomes of its program's output; the program is a stand-in."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocoevalcap.spice import get_stanford_models as models
from pycocoevalcap.spice import spice as official

from harness import HarnessError, MissingExtra, Pair
from plugins.checks import spice as check
from plugins.metrics.spice import Spice

MakePair = Callable[..., Pair]
Program = Callable[[list[Any]], list[Mapping[str, Any]]]

JARS = ("stanford-corenlp-3.6.0.jar", "stanford-corenlp-3.6.0-models.jar")


@pytest.fixture(autouse=True)
def spice_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty folder in the place of pycocoevalcap's own; a download fails the test."""

    def download(*_: Any, **__: Any) -> None:
        raise AssertionError("must not download")

    monkeypatch.setattr(models, "urlretrieve", download)
    monkeypatch.setattr(models, "SPICEDIR", str(tmp_path))
    monkeypatch.setattr(official, "TEMP_DIR", str(tmp_path / "tmp"))
    monkeypatch.setattr(official, "CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path


def install(folder: Path, *names: str) -> None:
    (folder / "lib").mkdir(exist_ok=True)
    for name in names:
        (folder / "lib" / name).touch()


def put_java(monkeypatch: pytest.MonkeyPatch, folder: Path, version: str) -> None:
    program = folder / "bin" / "java"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2020-01-01' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent))


@pytest.fixture
def ready(monkeypatch: pytest.MonkeyPatch, spice_folder: Path) -> None:
    """All that SPICE needs, as far as its check can see."""
    install(spice_folder, *JARS)
    put_java(monkeypatch, spice_folder, "11.0.20")


def put_program(monkeypatch: pytest.MonkeyPatch, answer: Program) -> list[Any]:
    """Stand in for the Java program: it reads pycocoevalcap's input file, says something, and writes its output."""
    read: list[Any] = []

    def call(command: list[str], cwd: str) -> None:
        assert command[:4] == ["java", "-jar", "-Xmx8G", "spice-1.0.jar"]
        assert (Path(cwd) / command[3]).is_file()
        read.extend(json.loads(Path(command[4]).read_text()))
        subprocess.run(["/bin/sh", "-c", "echo 'SPICE evaluation took: 1 s'"], check=True)
        Path(command[command.index("-out") + 1]).write_text(json.dumps(answer(read)))

    monkeypatch.setattr(official.subprocess, "check_call", call)
    return read


def scores(**of_category: float | None) -> dict[str, dict[str, float | None]]:
    return {category: {"f": f, "pr": f, "re": f} for category, f in of_category.items()}


def pairs_of(pair: MakePair) -> list[Pair]:
    return [
        pair("A dog runs.", "The dog runs!", "A dog", facts={"domain": "in-domain"}),
        pair("Two cats", "A cat"),
        pair("", "a cow"),
    ]


@pytest.mark.usefixtures("ready")
def test_the_programs_output_becomes_scores(
    pair: MakePair, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    found = [scores(All=0.5, Color=None), scores(All=0.25, Color=1.0), scores(All=0.0, Color=None)]
    read = put_program(
        monkeypatch,
        lambda asked: [{"image_id": row["image_id"], "scores": found[row["image_id"]]} for row in reversed(asked)],
    )
    measured = Spice().compute(pairs_of(pair), "official")["spice"]
    assert measured.value == pytest.approx(0.25)
    np.testing.assert_array_equal(np.asarray(measured.per_sample), [0.5, 0.25, 0.0])
    assert measured.labels == {"domain": ["in-domain", None, None]}
    assert [(row["test"], row["refs"]) for row in read] == [
        ("a dog runs", ["the dog runs", "a dog"]),
        ("two cats", ["a cat"]),
        ("", ["a cow"]),
    ]
    stdout, stderr = capfd.readouterr()
    assert stdout == ""
    assert "SPICE evaluation took" in stderr


@pytest.mark.usefixtures("ready")
def test_an_undefined_picture_leaves_the_whole_undefined(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in pycocoevalcap, whose mean is over all pictures."""
    found = [scores(All=0.5), scores(All=None), scores(All=0.0)]
    put_program(monkeypatch, lambda asked: [{"image_id": n, "scores": found[n]} for n in range(len(asked))])
    measured = Spice().compute(pairs_of(pair), "official")["spice"]
    assert measured.value is not None
    assert math.isnan(measured.value)
    np.testing.assert_array_equal(np.asarray(measured.per_sample), [0.5, np.nan, 0.0])


@pytest.mark.usefixtures("ready")
def test_a_program_that_fails(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(asked: list[Any]) -> list[Mapping[str, Any]]:
        raise subprocess.CalledProcessError(1, ["java"])

    put_program(monkeypatch, fail)
    with pytest.raises(HarnessError, match=r"spice-1\.0\.jar: failed \(Command .* returned non-zero exit status 1"):
        Spice().compute(pairs_of(pair), "official")


@pytest.mark.parametrize(("there", "lacking"), [((), JARS), (JARS[:1], JARS[1:]), (JARS[1:], JARS[:1])])
def test_without_models(
    pair: MakePair,
    monkeypatch: pytest.MonkeyPatch,
    spice_folder: Path,
    there: tuple[str, ...],
    lacking: tuple[str, ...],
) -> None:
    put_java(monkeypatch, spice_folder, "1.8.0_402")
    install(spice_folder, *there)
    result = check.Spice().run()
    assert not result.ok
    assert not result.required
    assert result.detail == f"{' and '.join(lacking)} not in {spice_folder / 'lib'}"
    assert result.hint.startswith(f"put {' and '.join(lacking)} there, from http://nlp.stanford.edu/software/stanford-")
    assert "`python -m pycocoevalcap.spice.get_stanford_models`" in result.hint
    with pytest.raises(MissingExtra) as error:
        Spice().compute(pairs_of(pair), "official")
    assert str(error.value) == f"SPICE cannot be computed here: {result.detail}; {result.hint}"


@pytest.mark.parametrize(
    ("version", "major"), [("1.8.0_402", 8), ("11.0.20", 11), ("14", 14), ("15", 15), ("17.0.15", 17)]
)
def test_javas_version(monkeypatch: pytest.MonkeyPatch, spice_folder: Path, version: str, major: int) -> None:
    put_java(monkeypatch, spice_folder, version)
    install(spice_folder, *JARS)
    assert check.java_version() == major
    result = check.Spice().run()
    assert result.ok == (major < 15)
    assert result.ok or result.detail == f"Java {major} has no JavaScript engine"


def test_without_java(pair: MakePair, monkeypatch: pytest.MonkeyPatch, spice_folder: Path) -> None:
    install(spice_folder, *JARS)
    monkeypatch.setenv("PATH", "")
    assert check.java_version() is None
    assert check.Spice().run().ok  # that there is a Java is another check's business
    with pytest.raises(MissingExtra, match="Java 8 or newer"):
        Spice().compute(pairs_of(pair), "official")


def test_what_it_needs_is_said_beforehand() -> None:
    [(name, info)] = Spice().info.items()
    assert name == "spice"
    assert info.needs == ("java", "spice_models")
    assert info.higher_is_better
    assert not info.corpus


def test_of_nothing_there_is_no_score() -> None:
    assert Spice().compute([], "official")["spice"].value is None
