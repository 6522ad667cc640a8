"""`majority:REF`: the most frequent answer to questions that begin with the same words. It never looks at a picture.

A checkpoint is a folder with one file, `majority.json`:

    {"version": 1, "answers": {"how many": "2", "is the": "yes", …}, "fallback": "yes"}

The keys are leading words of a prompt's first line, in lower case, divided by single spaces. The longest one that the
prompt begins with gives the answer; where there is none, the fallback does. `training/stages/majority.py` writes it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness import CheckpointError, CheckpointStore, ModelSpec, Output, Request, Resolved
from plugins.models.references import find_trained, refuse_unknown

NAME = "majority"
REVISION = 1
"""Changes whenever the same file would answer differently."""
FILE = "majority.json"
RECIPE = "training/configs/majority.yaml"


class Table(BaseModel):
    """The content of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    version: Literal[1]
    answers: dict[str, str]
    fallback: str

    @classmethod
    def read(cls, folder: Path) -> Table:
        """The table in a checkpoint's folder.

        Raises:
            CheckpointError: it is missing or malformed.
        """
        path = folder / FILE
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise CheckpointError(
                f"{path}: cannot be read ({error.strerror}); make one: harness train {RECIPE}"
            ) from error
        except ValidationError as error:
            problem = error.errors()[0]
            place = ".".join(map(str, problem["loc"])) or "the file"
            raise CheckpointError(f"{path}: {place}: {problem['msg']}; make another: harness train {RECIPE}") from error

    def answer(self, prompt: str) -> str:
        """The answer to a prompt, by the leading words of its first line."""
        line, _, _ = prompt.partition("\n")
        words = line.lower().split()
        for count in range(len(words), 0, -1):
            if (found := self.answers.get(" ".join(words[:count]))) is not None:
                return found
        return self.fallback


class Majority:
    """The model plugin."""

    def resolve(self, ref: str, options: Mapping[str, str], checkpoints: CheckpointStore) -> ModelSpec:
        """See `ModelPlugin`.

        Raises:
            UnknownName: an option, version or alias is unknown.
            CheckpointError: none was made yet, or there is no such folder.
        """
        refuse_unknown(options, ())
        return MajoritySpec(find_trained(NAME, ref, checkpoints, RECIPE))


@dataclass(frozen=True, slots=True)
class MajoritySpec:
    """See `ModelSpec`."""

    checkpoint: Resolved

    @property
    def fingerprint(self) -> str:
        return hashlib.sha256(f"{NAME} {REVISION} {self.checkpoint.digest}".encode()).hexdigest()

    @property
    def version(self) -> str | None:
        return self.checkpoint.version

    @property
    def digest(self) -> str | None:
        return self.checkpoint.digest

    def preparer(self) -> Prompts:
        return Prompts()

    def load(self, device: str) -> Answers:
        """The table; no device is needed for it.

        Raises:
            CheckpointError: the file is missing or malformed.
        """
        del device
        return Answers(Table.read(self.checkpoint.checkout()))


class Prompts:
    """See `Preparer`: a prompt is all that is needed of a request."""

    def prepare(self, request: Request) -> str:
        return request.prompt

    def collate(self, prepared: Sequence[str]) -> Sequence[str]:
        return prepared


class Answers:
    """See `LoadedModel`."""

    def __init__(self, table: Table) -> None:
        self._table = table

    def generate(self, batch: Sequence[str]) -> Sequence[Output]:
        return [Output(self._table.answer(prompt)) for prompt in batch]

    def close(self) -> None:
        """Nothing is held."""
