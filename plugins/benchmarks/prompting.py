"""Prompt profiles: what a model is asked, and how much it may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from harness import Generation, Request, Sample, UnknownName


@dataclass(frozen=True, slots=True)
class Profile:
    """A prompt, greedy generation, and where it stops.

    Attributes:
        template: the prompt; `{question}` stands for the sample's question.
        max_new_tokens: tokens that an answer may have.
    """

    template: str
    max_new_tokens: int


SHORT_ANSWER: Mapping[str, Profile] = MappingProxyType(
    {
        "llava": Profile("{question}\nAnswer the question using a single word or phrase.", 16),
        "plain": Profile("{question}", 16),
    }
)
"""Short answers. `llava` is LLaVA-1.5's prompt, which lmms-eval uses too."""


COST = ("compression", "tokens", "latency", "allocation")
"""The metrics of what answers cost, which every benchmark has beside its own."""


@dataclass(frozen=True, slots=True)
class Prompted:
    """The part of a benchmark that is the same for all: requests and parsing by profile.

    Attributes:
        profiles: by name, the default first.
    """

    profiles: Mapping[str, Profile]

    def request(self, sample: Sample, profile: str) -> Request:
        chosen = self.profiles.get(profile)
        if chosen is None:
            raise UnknownName("profile", profile, self.profiles)
        prompt = chosen.template.format(question=sample.question)
        return Request(sample.images, prompt, Generation(chosen.max_new_tokens))

    def parse(self, text: str, profile: str) -> str:
        """The whole text: what counts as the same answer is for the metric's protocol to say."""
        return text.strip()
