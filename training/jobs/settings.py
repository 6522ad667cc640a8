"""The job file. A field's docstring is what `harness launch JOB --explain` says of it."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import Field, FiniteFloat, field_validator, model_validator

from harness import ConfigError, names_secret, read_yaml
from training.jobs.arguments import MACROS
from training.jobs.needs import Needs
from training.jobs.secrets import looks_secret
from training.jobs.task import is_harness
from training.settings import NAME, Settings

CHECKPOINT: Final = "{checkpoint_artifact}"
RESUME: Final = "{resume_from_artifact}"
STRATEGY: Final = "{distributed_strategy}"


class JobNeeds(Needs):
    """What the job needs of a machine."""

    cpus: FiniteFloat | None = Field(default=None, ge=0)
    """Cores; also the threads that PyTorch computes with. Null asks for one, and leaves the threads alone."""
    accelerator: str | None = None
    """The kind of GPU, such as A100, as the cluster calls it."""
    processes: int = Field(default=1, ge=1)
    """That train together on the machine, one a device."""


class Build(Settings):
    """The image that W&B Launch builds around the code."""

    base_image: str | None = None
    """What it starts from."""
    dockerfile: str | None = None
    """A path within the code."""
    context: str | None = None
    """The folder within the code that the Dockerfile copies from."""


class JobSettings(Settings):
    """A job: one command with its parameters, and what it needs."""

    name: str = ""
    """How people call it; by default the file's name."""
    job_type: Literal["code", "git", "image"] = "code"
    """What `uri` is: a folder of code, a git repository, or a container image (which only W&B Launch runs)."""
    uri: str | None = None
    """Where the program comes from: a folder, which is sent along; URL#REVISION of a git repository; an image. Null
    works in the current folder, which the machine that runs it must see."""
    entry_point: tuple[str, ...] = ()
    """The command, as one text or a list of words: `harness train sft.yaml`, `python train.py ${args}`."""
    parameters: dict[str, Any] = Field(default={})
    """Arguments: in the place of `${args}` (`--key=value`), `${args_no_hyphens}`, `${args_no_boolean_flags}` or
    `${args_json}`; where none of them stands, `harness train` gets `--set key=value`, others `--key=value` at the
    end."""
    runtime: str | None = Field(default=None, pattern=r"^3\.\d+$")
    """Python's version, such as 3.11."""
    build: Build | None = None
    resource: Literal["local-process", "ray", "local-container", "kubernetes", "sagemaker", "gcp-vertex"] | None = None
    """Where it runs if `--on` does not say: `local-process` here, `ray` on Ray, others through W&B Launch, whose queues
    are of that kind."""
    resource_args: dict[str, Any] = Field(default={})
    """What W&B Launch gives to that kind of resource, in its words."""
    resources: JobNeeds = JobNeeds()
    environment: dict[str, str] = Field(default={})
    """Variables and their values. Never a secret: its name goes to `secrets`."""
    secrets: tuple[str, ...] = ()
    """Names of variables that must be set where the job runs. Their values are stored and sent nowhere; only a job that
    prints one leaves it in its log."""
    spot_instance: bool = False
    """The machine may be taken away at any time."""
    max_retries: int = Field(default=3, ge=0)
    """How often it is started again after it was ended from outside; an error of its own is never tried again."""
    checkpoint_artifact: str | None = None
    """A version in the registry, NAME:REF, that stands where `{checkpoint_artifact}` does, as NAME:vN."""
    resume_from_artifact: str | None = None
    """NAME, or NAME:REF: what it goes on from, where `{resume_from_artifact}` stands; after an interruption the newest
    version of NAME. Parameters and words with `{resume_from_artifact}` are left out while there is none.
    `harness train` goes on by itself and needs none."""
    distributed_strategy: Literal["auto", "ddp", "fsdp"] | None = None
    """How a model is spread over processes: `scale.strategy` of `harness train`; others say where it goes by
    `{distributed_strategy}`."""

    @field_validator("name")
    @classmethod
    def _short(cls, name: str) -> str:
        if name and not (NAME.fullmatch(name) and len(name) <= 60):
            raise ValueError("is made of at most 60 letters, digits, '.', '_' and '-'")
        return name

    @field_validator("entry_point", mode="before")
    @classmethod
    def _words(cls, given: Any) -> Any:
        return shlex.split(given) if isinstance(given, str) else given

    @model_validator(mode="after")
    def _whole(self) -> JobSettings:
        if self.job_type != "code" and self.uri is None:
            raise ValueError(f"uri: is missing; job_type: {self.job_type} says what it is, not where")
        if not self.entry_point and self.job_type != "image":
            raise ValueError("entry_point: is missing; write the command, such as `harness train sft.yaml`")
        self._check_inputs()
        return self

    @property
    def is_harness(self) -> bool:
        """Whether it is a command of ours, whose exit codes mean what ours do."""
        return is_harness(self.entry_point)

    @property
    def is_training(self) -> bool:
        """Whether it is `harness train`."""
        return self.entry_point[:2] == ("harness", "train")

    def mentions(self, placeholder: str) -> bool:
        """Whether something stands for it in the command or the parameters."""
        return any(placeholder in text for text in (*self.entry_point, *_texts(self.parameters)))

    def _check_inputs(self) -> None:
        for key, mark in (("checkpoint_artifact", CHECKPOINT), ("resume_from_artifact", RESUME)):
            said, used = getattr(self, key) is not None, self.mentions(mark)
            if said and not used:
                raise ValueError(f"{key}: goes nowhere; write {mark} in a parameter or in entry_point")
            if used and not said:
                raise ValueError(f"{mark}: nothing says what it is; add `{key}: NAME:REF`")
        if self.distributed_strategy is None and self.mentions(STRATEGY):
            raise ValueError(f"{STRATEGY}: nothing says what it is; add `distributed_strategy:`")


def read_job(path: Path, changes: Sequence[str] = ()) -> JobSettings:
    """A job file.

    Args:
        changes: `key.path=value`, each in the place of what the file has there.

    Raises:
        ConfigError: it cannot be read, holds a wrong key, with the line, or a secret.
    """
    job = read_yaml(path, JobSettings, changes, keep=MACROS)
    _check_secrets(job, path, changes)
    return job if job.name else job.model_copy(update={"name": re.sub(r"[^A-Za-z0-9._-]+", "-", path.stem)[:60]})


def _check_secrets(job: JobSettings, path: Path, changes: Sequence[str]) -> None:
    """Only where a job is written: what is a secret elsewhere, by that environment, must not make it unreadable."""
    found = next(_secret_places(job), None)
    if found is None:
        return
    changed = any(change.partition("=")[0].split(".")[: len(found)] == list(found) for change in changes)
    raise ConfigError(
        f"{': '.join(found)} looks like a secret, and its value would be stored; write only the variable's name, under "
        "`secrets:`",
        path,
        None if changed else _line_of(path, found),
    )


def _secret_places(job: JobSettings) -> Iterator[tuple[str, ...]]:
    """The keys under which something stands that looks like a secret."""
    for name, value in job.environment.items():
        if names_secret(name) or looks_secret(value):
            yield "environment", name
    if any(map(looks_secret, job.entry_point)):
        yield ("entry_point",)
    for name, value in job.parameters.items():
        if any(map(looks_secret, (name, *_texts(value)))):
            yield ("parameters",) if looks_secret(name) else ("parameters", name)
    if looks_secret(job.uri or ""):
        yield ("uri",)


def _line_of(path: Path, keys: Sequence[str]) -> int | None:
    """The line of a key in a file that was read before; of the last that is there on the way to it."""
    node, line = yaml.compose(path.read_text(encoding="utf-8"), yaml.SafeLoader), None
    for key in keys:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        found = next(((name, value) for name, value in pairs if name.value == key), None)
        if found is None:
            break
        line, node = found[0].start_mark.line + 1, found[1]
    return line


def _texts(value: Any) -> list[str]:
    """All texts within a value."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in _texts(item)]
    if isinstance(value, list | tuple):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []
