"""Configuration: every mistake is named with its file, its line and the right word."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import BaseModel, Field

from harness.config import Benchmarks, load_settings, read_yaml
from harness.errors import ConfigError, HarnessError

GOOD = """\
benchmarks:
  trivia:
    data: ${TRIVIA_DATA:-somewhere}/trivia
    split: val
    metrics: [exact, {cider: {corpus: words.json}}]
  remote:
    data: {hub: org/name, revision: 0123456789012345678901234567890123456789, split: test}
suites:
  all: [trivia, remote]
gates:
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path / "benchmarks.yaml"


def test_a_good_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text(GOOD)
    settings = load_settings()
    source = settings.source("trivia")
    assert source is not None
    assert source.path == file.parent / "somewhere" / "trivia"
    assert source.split == "val"
    remote = settings.source("remote")
    assert remote is not None
    assert (remote.hub, remote.split) == ("org/name", "test")
    assert settings.suite("all") == ("trivia", "remote")
    assert settings.benchmarks["trivia"].metrics == ("exact", {"cider": {"corpus": "words.json"}})
    monkeypatch.setenv("TRIVIA_DATA", "/elsewhere")
    source = load_settings().source("trivia")
    assert source is not None
    assert source.path == Path("/elsewhere/trivia")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("split: val", "splt: val"), "benchmarks.yaml:4: unknown key 'splt' (did you mean 'split'?)"),
        (("suites:", "suits:"), "benchmarks.yaml:8: unknown key 'suits' (did you mean 'suites'?)"),
        (
            ("split: val", "split: 3"),
            "benchmarks.yaml:4: benchmarks.trivia.split: input should be a valid string, not 3",
        ),
        (("split: val", "split: [val]"), "benchmarks.yaml:4: benchmarks.trivia.split"),
        (("hub: org/name", "hob: org/name"), "benchmarks.yaml:7: unknown key 'hob' (did you mean 'hub'?)"),
        (("revision: 0123456789012345678901234567890123456789", "revision: main"), "benchmarks.yaml:7: "),
        (("split: val", "data: again"), "benchmarks.yaml:4: the key 'data' stands here and in line 3"),
        (("split: val", "split: ${NOT_SET_ANYWHERE}"), "benchmarks.yaml:4: the environment variable NOT_SET_ANYWHERE"),
        (("split: val", "split: [val"), "benchmarks.yaml:"),
        (("all: [trivia, remote]", "all: trivia"), "benchmarks.yaml:9: suites.all: input should be a valid"),
        (("split: val", "\tsplit: val"), "benchmarks.yaml:4: not valid YAML"),
        (("split: val", "split: !!python/object:os.system x"), "benchmarks.yaml:4: not valid YAML"),
    ],
)
def test_a_mistake_is_named_with_its_line(file: Path, change: tuple[str, str], said: str) -> None:
    text = GOOD.replace(*change)
    assert text != GOOD
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_settings()
    assert said in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("content", [b"\xff\xfe", b"- a list", b"just text", b"3"])
def test_a_file_that_is_no_configuration(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(ConfigError, match=r"benchmarks\.yaml"):
        load_settings()


def test_an_empty_file_is_an_empty_configuration(file: Path) -> None:
    file.write_text("")
    assert load_settings().benchmarks == {}


def test_harness_toml(file: Path) -> None:
    file.write_text("")
    (file.parent / "harness.toml").write_text(
        'home = "elsewhere"\ntrackers = ["one"]\n[checkpoints]\nstore = "remote"\nentity = "team"\n'
    )
    workspace = load_settings().workspace
    assert (workspace.home, workspace.trackers) == ("elsewhere", ("one",))
    assert (workspace.checkpoints.store, workspace.checkpoints.options) == ("remote", {"entity": "team"})
    (file.parent / "harness.toml").write_text("hme = 'x'\n")
    with pytest.raises(ConfigError, match=r"harness\.toml: unknown key 'hme' \(did you mean 'home'\?\)"):
        load_settings()


def test_a_named_file_is_the_one_that_is_read(file: Path, tmp_path: Path) -> None:
    file.write_text("suites: {here: []}\n")
    other = tmp_path / "other" / "mine.yaml"
    other.parent.mkdir()
    other.write_text("suites: {there: []}\n")
    assert set(load_settings(other).suites) == {"there"}
    assert set(load_settings(tmp_path).suites) == {"here"}
    with pytest.raises(ConfigError, match="no such file"):
        load_settings(tmp_path / "nowhere.yaml")


def test_what_ships_is_valid(file: Path) -> None:
    settings = load_settings()
    assert settings.file is not None
    assert settings.file.name == "benchmarks.yaml"
    assert settings.file == Path(__file__).parents[2] / "benchmarks.yaml"
    assert read_yaml(settings.file, Benchmarks).suites == settings.suites


class Stages(BaseModel):
    name: str
    stages: dict[str, dict[str, int]] = Field(default={"a": {"b": 1}}, min_length=1)


@pytest.mark.parametrize(
    ("text", "changes", "said"),
    [
        ("", (), "it.yaml: the file is empty"),
        ("# nothing\n", (), "it.yaml: the file is empty"),
        ("stages: {a: {b: 1}}\n", (), "it.yaml:1: 'name' is missing"),
        ("[a]\n", (), "it.yaml: is a list, not a mapping of keys"),
        ("[a]\n", ("name=x",), "it.yaml: is a list, not a mapping of keys"),
        ("a\n", (), "it.yaml: is the one value 'a', not a mapping of keys"),
        ("name: x\nstages: {}\n", (), "it.yaml:2: stages: is empty; at least 1 must be there"),
        ("name: x\nstages:\n  a: [1]\n", (), "it.yaml:3: stages.a: is a list, not a mapping of keys"),
        ("name: x\nstages: 7\n", (), "it.yaml:2: stages: is the one value 7, not a mapping of keys"),
        ("name: x\n", ("name",), "--set name: write KEY=VALUE, with dots between keys: --set save.every=50"),
        (
            "name: x\nstages: {a: {b: 1}}\n",
            ("name=y", "stages.a.b=abc"),
            "it.yaml: stages.a.b: input should be a valid integer, unable to parse string as an integer, not 'abc' "
            "(--set stages.a.b=abc)",
        ),
    ],
)
def test_what_is_wrong_is_said_in_words(tmp_path: Path, text: str, changes: tuple[str, ...], said: str) -> None:
    (tmp_path / "it.yaml").write_text(text)
    with pytest.raises(HarnessError) as caught:
        read_yaml(tmp_path / "it.yaml", Stages, changes)
    assert str(caught.value).removeprefix(f"{tmp_path}/") == said
