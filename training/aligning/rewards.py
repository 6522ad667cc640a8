# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""What an answer is worth: as the harness scores it, or as a reward model does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from harness import ConfigError, DataError, ImageRef, Options, Output, Pair, Sample, Session
from training.aligning.preferences import Preference
from training.modelling.models import Start
from training.modelling.weights import load_whole


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt about pictures; with the benchmark's sample where it is from one."""

    images: tuple[ImageRef, ...]
    prompt: str
    sample: Sample | None = None


class Reward(Protocol):
    """Prompts, and what answers to them are worth."""

    @property
    def name(self) -> str:
        """Under which its mean is logged."""

    @property
    def asked(self) -> Sequence[Asked]:
        """What is asked."""

    def worth(self, asked: Sequence[Asked], texts: Sequence[str]) -> list[float | None]:
        """A value an answer; None where it has none."""


class ScoreReward:
    """A benchmark's own score: what `harness eval` gives an answer, parsed and scored under the rules configured.

    A score of which less is better counts negatively.

    Args:
        score: `BENCHMARK.SCORE`.

    Raises:
        UnknownName, ConfigError: there is no such benchmark or score, or it is none of single answers.
        DataError: the split is not there or empty.
    """

    def __init__(self, session: Session, score: str, split: str) -> None:
        self.name = score
        benchmark, _, wanted = score.partition(".")
        (task,) = session.tasks([benchmark], Options(split=split, metrics=(wanted,)))
        self._task, unmet = session.scorer.able(task, lambda text: None)
        if wanted in unmet:
            raise ConfigError(f"reward: {score} cannot be computed here: {unmet[wanted]}")
        (choice,) = self._task.metrics
        self._metric, self._score = choice.metric, wanted
        info = choice.metric.info.get(wanted)
        if info is None or info.corpus or info.higher_is_better is None:
            raise ConfigError(
                f"reward: {score} is no score of a single answer that could be better or worse; take another"
            )
        self._sign = 1.0 if info.higher_is_better else -1.0
        self.asked = [self._ask(sample) for sample in self._task.samples()]
        if not self.asked:
            raise DataError(f"{task.data}: the split {split!r} of {benchmark} holds nothing to ask")
        self.worth(self.asked[:1], [""])

    def _ask(self, sample: Sample) -> Asked:
        request = self._task.request(sample)
        return Asked(request.images, request.prompt, sample)

    def worth(self, asked: Sequence[Asked], texts: Sequence[str]) -> list[float | None]:
        """See `Reward`."""
        pairs = [
            Pair(one.sample, self._task.benchmark.parse(text, self._task.profile), Output(text))
            for one, text in zip(asked, texts, strict=True)
            if one.sample is not None
        ]
        values = self._metric.compute(pairs, self._task.protocol)[self._score].per_sample
        if values is None:
            raise ConfigError(f"reward: {self.name} has no value for a single answer; take another")
        return [None if math.isnan(value) else self._sign * float(value) for value in values]


class ModelReward:
    """What a reward model says of a question and an answer; it sees no picture.

    Raises:
        CheckpointError: it is not whole.
    """

    def __init__(self, start: Start, preferences: Sequence[Preference], device: torch.device) -> None:
        self.name = "reward_model"
        self.asked = [Asked((one.image,), one.prompt) for one in preferences]
        models: Any = AutoModelForSequenceClassification
        tokenizers: Any = AutoTokenizer
        self._tokenizer = tokenizers.from_pretrained(start.place, **start.pinned)
        self._model = load_whole(models, start.place, start.name, dtype=torch.float32, **start.pinned)
        self._model.eval().to(device)

    @torch.no_grad()
    def worth(self, asked: Sequence[Asked], texts: Sequence[str]) -> list[float | None]:
        """See `Reward`."""
        rows = [judged(self._tokenizer, one.prompt, text) for one, text in zip(asked, texts, strict=True)]
        batch = self._tokenizer.pad({"input_ids": rows}, padding_side="right", return_tensors="pt")
        values = self._model(**batch.to(self._model.device)).logits[:, 0]
        return [float(value) for value in values]


def judged(tokenizer: Any, prompt: str, answer: str) -> list[int]:
    """Tokens of a question and an answer, as a reward model reads them."""
    return [*tokenizer(f"{prompt}\n{answer}")["input_ids"], tokenizer.eos_token_id]
