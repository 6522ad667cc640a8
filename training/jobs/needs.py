"""What a job, a trial or a stage needs of a machine, as files say it."""

from __future__ import annotations

import re
from typing import Final

from pydantic import Field, FiniteFloat, field_validator

from training.jobs.task import Resources
from training.settings import Settings

_SIZE: Final = re.compile(r"(\d+(?:\.\d+)?)\s*(?:([kmgtp])(i?))?b?", re.IGNORECASE)


class Needs(Settings):
    """What it needs of a machine."""

    cpus: FiniteFloat | None = Field(default=None, ge=0)
    """Cores; null asks for one."""
    gpus: FiniteFloat = Field(default=0, ge=0)
    """Devices; a part of one where several share it."""
    memory: str | int | None = None
    """Bytes, or with a unit: 16GB, 512MiB."""
    custom: dict[str, FiniteFloat] = Field(default={})
    """A cluster's own resources, and how much of each."""

    @field_validator("memory")
    @classmethod
    def _readable(cls, memory: str | int | None) -> str | int | None:
        if memory is not None:
            memory_bytes(memory)
        return memory

    def resources(self) -> Resources:
        """As targets take them."""
        memory = None if self.memory is None else memory_bytes(self.memory)
        return Resources(1 if self.cpus is None else self.cpus, self.gpus, memory, dict(self.custom))


def memory_bytes(size: str | int) -> int:
    """A size in bytes: a number of them, or one with a unit, such as 16GB (10**9 bytes each) or 16GiB (2**30).

    As Kubernetes has it, the B may be left out; case does not matter.

    Raises:
        ValueError: it is none.
    """
    found = _SIZE.fullmatch(str(size).strip())
    if found is None:
        raise ValueError("write a size such as 16GB or 512MiB")
    number, letter, binary = found.groups()
    power = " kmgtp".index((letter or " ").lower())
    return int(float(number) * (1024 if binary else 1000) ** power)
