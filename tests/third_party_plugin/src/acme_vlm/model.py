"""`acme-parrot:WHICH[,sleep=SECONDS][,fail=WORD][,crash=WORD][,look=SIDE]` says the first or last word of its prompt.

With `look` its trace has a map of so many rows and columns: how many tokens each patch of the picture got.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness import CheckpointStore, Failure, Output, Request, Trace, UnknownName, Usage, decode


@dataclass(frozen=True)
class Spec:
    which: str
    sleep: float
    fail: str | None
    crash: str | None
    look: int = 0
    version: str | None = None
    digest: str | None = None

    @property
    def fingerprint(self) -> str:
        look = f" look={self.look}" if self.look else ""
        return f"parrot-1 {self.which} fail={self.fail} crash={self.crash}{look}"

    def preparer(self) -> "Preparer":
        return Preparer()

    def load(self, device: str) -> "Loaded":
        return Loaded(self)


class Preparer:
    def prepare(self, request: Request) -> tuple[list[str], int]:
        pixels = sum(decode(image).width for image in request.images)
        return request.prompt.split(), pixels

    def collate(self, prepared: Sequence[tuple[list[str], int]]) -> Sequence[tuple[list[str], int]]:
        return prepared


class Loaded:
    def __init__(self, spec: Spec) -> None:
        self.spec = spec

    def generate(self, batch: Sequence[tuple[list[str], int]]) -> list[Output | Failure]:
        time.sleep(self.spec.sleep)
        if any(self.spec.crash in words for words, _ in batch):
            raise RuntimeError(f"the parrot choked on {self.spec.crash}")
        return [self._answer(words, pixels) for words, pixels in batch]

    def _answer(self, words: list[str], pixels: int) -> Output | Failure:
        if self.spec.fail in words:
            return Failure("speechless", f"no answer to {' '.join(words)!r}")
        text = words[0 if self.spec.which == "first" else -1]
        usage = Usage(len(words), visual_tokens=pixels // 2, full_visual_tokens=pixels, generated_tokens=1)
        side = range(self.spec.look)
        maps = {"budget": [[float(row * column) for column in side] for row in side]} if side else {}
        return Output(text, usage, Trace(maps=maps, scalars={"words": float(len(words))}))

    def close(self) -> None:
        pass


class Parrot:
    """Says the first or the last word of its prompt."""

    def resolve(self, ref: str, options: Mapping[str, str], checkpoints: CheckpointStore) -> Spec:
        for key in options:
            if key not in ("sleep", "fail", "crash", "look"):
                raise UnknownName("option of acme-parrot", key, ("sleep", "fail", "crash", "look"))
        if ref not in ("first", "last"):
            raise UnknownName("parrot", ref, ("first", "last"))
        sleep, look = float(options.get("sleep", 0)), int(options.get("look", 0))
        return Spec(ref, sleep, options.get("fail"), options.get("crash"), look)
