"""Job files: what they may say, and what they must not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from tests_support import Command

from harness import ConfigError
from training.jobs.arguments import with_arguments
from training.jobs.needs import Needs, memory_bytes
from training.jobs.settings import read_job


def job(folder: Path, text: str, *changes: str) -> object:
    (folder / "my job.yaml").write_text(text)
    return read_job(folder / "my job.yaml", changes)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("entry_point: x\nmax_retry: 3\n", "my job.yaml:2: unknown key 'max_retry' (did you mean 'max_retries'?)"),
        ("entry_point: x\nresources: {gpu: 1}\n", "my job.yaml:2: unknown key 'gpu' (did you mean 'gpus'?)"),
        ("entry_point: x\nresources: {memory: 16 apples}\n", "my job.yaml:2: resources.memory: write a size such as"),
        ("entry_point: x\nruntime: '2.7'\n", "my job.yaml:2: runtime"),
        ("entry_point: x\nmax_retries: -1\n", "my job.yaml:2: max_retries"),
        ("entry_point: x\nresource: kubernets\n", "my job.yaml:2: resource"),
        ("name: a\n", "entry_point: is missing"),
        ("entry_point: x\njob_type: git\n", "uri: is missing"),
        ("entry_point: x\ncheckpoint_artifact: a:v1\n", "checkpoint_artifact: goes nowhere; write"),
        ("entry_point: 'x {resume_from_artifact}'\n", "add `resume_from_artifact: NAME:REF`"),
        ("entry_point: 'x ${arg}'\n", "the environment variable arg is not set"),
        ("entry_point: x\nname: 'a b'\n", "my job.yaml:2: name"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        job(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("entry_point: x\nenvironment: {HF_TOKEN: abc}\n", "2: environment: HF_TOKEN"),
        ("entry_point: x\nenvironment: {MODE: hf_abcdefghijklmnopqrstuvwxyz}\n", "2: environment: MODE"),
        ("max_retries: 1\nentry_point: x --key=sk-abcdefghijklmnopqrst\n", "2: entry_point"),
        ("entry_point: x\nparameters:\n  z: 1\n  a: [{b: ghp_abcdefghijklmnopqrstuvwx}]\n", "4: parameters: a"),
        ("entry_point: x\nparameters: {ghp_abcdefghijklmnopqrstuvwx: 1}\n", "2: parameters"),
        ("entry_point: x\nuri: https://me:hunter2@example.org/repo.git\njob_type: git\n", "2: uri"),
        ("entry_point: x\nparameters: {note: '${MY_PASSWORD}!'}\n", "2: parameters: note"),
    ],
)
def test_a_secret_is_refused_and_never_repeated(
    tmp_path: Path, text: str, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setenv("MY_PASSWORD", "correct-horse")
    with pytest.raises(
        ConfigError, match=r"looks like a secret.*write only the variable's name, under `secrets:`"
    ) as caught:
        job(tmp_path, text)
    assert f"my job.yaml:{place} looks like a secret" in str(caught.value)
    secrets = ("abcdefghij", "hunter2", "correct-horse")
    assert not any(secret in str(caught.value) for secret in secrets), str(caught.value)


def test_what_is_wrong_with_a_job_names_its_file(cli: Command, workspace: Path) -> None:
    (workspace / "one.yaml").write_text("name: a\nentry_point: x\nsecrets: [NOT_SET_ANYWHERE]\n")
    (workspace / "two.yaml").write_text("name: a\nentry_point: x\nuri: nowhere\n")
    for name, said in (("one", "the variable NOT_SET_ANYWHERE is not set"), ("two", "uri: there is no folder")):
        done = cli("launch", f"{name}.yaml")
        assert done.returncode == 2
        assert f"error: {name}.yaml: a: {said}" in done.stderr


def test_what_only_resembles_a_secret_may_stand(tmp_path: Path) -> None:
    text = "entry_point: x ${args}\nparameters: {pad_token: <pad>, max_tokens: 8, revision: " + "a1" * 20 + "}\n"
    job(tmp_path, text)


def test_a_common_value_of_a_variable_makes_no_file_suspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("CACHE_KEY", "trainingjob"), ("SORT_KEY", "training-jobs-of-many-kinds")):
        monkeypatch.setenv(name, value)
    words = "entry_point: x --project=trainingjob\nparameters: {a: training-jobs-of-many-kinds}\n"
    job(tmp_path, words)
    monkeypatch.setenv("CACHE_KEY", "1f8d4e2a9c7b6035")
    with pytest.raises(ConfigError, match="looks like a secret"):
        job(tmp_path, "entry_point: x --with=1f8d4e2a9c7b6035\n")


def test_a_job_is_named_by_its_file_unless_it_says_so(tmp_path: Path) -> None:
    assert job(tmp_path, "entry_point: x\n").name == "my-job"  # type: ignore[attr-defined]
    assert job(tmp_path, "entry_point: x\n", "name=other").name == "other"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16GB", 16 * 10**9), ("1.5 GiB", 3 * 2**29), ("512Mi", 2**29), ("7", 7), ("2TB", 2 * 10**12), ("3K", 3000),
        ("16gb", 16 * 10**9), ("16gib", 2**34), (16_000_000_000, 16 * 10**9), ("1PB", 10**15), ("12b", 12),
    ],
)  # fmt: skip
def test_sizes_are_read_in_the_usual_units(text: str | int, size: int) -> None:
    assert memory_bytes(text) == size
    assert Needs(memory=text).resources().memory == size


@pytest.mark.parametrize("text", ["16 apples", "", "-1GB", "1.2.3", "16i", "16iB", -3])
def test_what_is_no_size_is_refused(text: str | int) -> None:
    with pytest.raises(ValueError, match="write a size such as 16GB or 512MiB"):
        memory_bytes(text)


PARAMETERS = {"lr": 0.1, "fast": True, "slow": False, "name": "a b", "layers": [1, 2]}


@pytest.mark.parametrize(
    ("macro", "words"),
    [  # the forms that W&B's documentation gives
        ("${args}", ["--lr=0.1", "--fast=True", "--slow=False", "--name=a b", "--layers=[1, 2]"]),
        ("${args_no_hyphens}", ["lr=0.1", "fast=True", "slow=False", "name=a b", "layers=[1, 2]"]),
        ("${args_no_boolean_flags}", ["--lr=0.1", "--fast", "--name=a b", "--layers=[1, 2]"]),
        ("${args_json}", [json.dumps(PARAMETERS)]),
    ],
)
def test_parameters_stand_where_a_macro_does(macro: str, words: list[str]) -> None:
    assert with_arguments(["x", macro, "y"], PARAMETERS, settings=True) == ["x", *words, "y"]
    assert with_arguments(["x"], {"a": 1}, settings=False) == ["x", "--a=1"]


def test_settings_of_a_training_are_read_back_as_they_were() -> None:
    parameters = {"save.every": 5, "a": "yes", "b": "", "c": "1e3", "d": None, "e": {"f": [1, "x: y"]}, "g": "a: b: c"}
    words = with_arguments(["harness", "train"], parameters, settings=True)
    assert words[2::2] == ["--set"] * len(parameters)
    read = {name: yaml.safe_load(text) for name, _, text in (word.partition("=") for word in words[3::2])}
    assert read == parameters


def test_every_key_is_explained(cli: Command, workspace: Path) -> None:
    (workspace / "job.yaml").write_text("entry_point: harness train sft.yaml\nmax_retries: 1\n")
    told = cli("launch", "job.yaml", "--explain")
    assert told.returncode == 0, told.stderr
    assert "# How often it is started again after it was ended from outside" in told.stdout
    plain = " ".join(told.stdout.replace("#", "").split())
    assert "and leaves the threads alone. (number or null) cpus:" in plain
    assert "and how much of each. (mapping to number) custom:" in plain
    again = workspace / "again.yaml"
    again.write_text(told.stdout)
    first, second = (
        json.loads(cli("launch", name, "--explain", "--json").stdout) for name in ("job.yaml", "again.yaml")
    )
    assert first == second, "what is explained is a job file"
