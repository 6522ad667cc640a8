"""`acme-book:REF[,luck=N]` answers from `answers.json` of a checkpoint of the registry: {"question": "answer"}."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import CheckpointStore, Failure, Output, Request, Resolved, Usage


@dataclass(frozen=True)
class Spec:
    resolved: Resolved
    luck: str = ""

    @property
    def fingerprint(self) -> str:
        return f"book-1 {self.resolved.digest} {self.luck}"

    @property
    def version(self) -> str | None:
        return self.resolved.version

    @property
    def digest(self) -> str:
        return self.resolved.digest

    def preparer(self) -> "Preparer":
        return Preparer()

    def load(self, device: str) -> "Loaded":
        return Loaded(json.loads((self.resolved.checkout() / "answers.json").read_text()))


class Preparer:
    def prepare(self, request: Request) -> str:
        return request.prompt.removeprefix("Please: ")

    def collate(self, prepared: Sequence[str]) -> Sequence[str]:
        return prepared


@dataclass
class Loaded:
    answers: Mapping[str, str]

    def generate(self, batch: Sequence[str]) -> list[Output | Failure]:
        return [
            Output(self.answers[prompt], Usage(len(prompt.split()), generated_tokens=1, seconds=0.01))
            if prompt in self.answers
            else Failure("unknown", f"no answer to {prompt!r}")
            for prompt in batch
        ]

    def close(self) -> None:
        pass


class Book:
    def resolve(self, ref: str, options: Mapping[str, str], checkpoints: CheckpointStore) -> Spec:
        return Spec(checkpoints.resolve("acme-book", ref), options.get("luck", ""))
