"""What a config of the stage `align` holds."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, model_validator

from harness import ConfigError, Options, Session
from training.aligning.preferences import OnBad, Preferences, read_preferences
from training.identity import judged
from training.modelling.models import Lora, find_start
from training.settings import Settings, TrainerSettings

METHODS: Final = {
    "dpo": ("loss_type", "sft_weight", "reference_free"),
    "rlhf": ("reward", "split", "num_generations", "max_completion_length", "temperature"),
    "reward": (),
}
"""Method -> the keys that only it has."""


class RewardModel(Settings):
    """A reward that a model gives."""

    model: str
    """`NAME:ref` of a model that `alignment_method: reward` made, or its folder (./dir)."""
    revision: str | None = None
    """The hub's commit, where it is on the hub."""


class AlignStage(TrainerSettings):
    """A config whose `stage` is `align`."""

    stage: Literal["align"] = "align"
    alignment_method: Literal["dpo", "rlhf", "reward"] = "dpo"
    """`dpo` learns from preferences directly; `rlhf` from rewards of sampled answers; `reward` makes a reward model."""
    start: str
    """The model that is aligned: `NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub."""
    revision: str | None = None
    """The hub's commit."""
    lora: Lora | None = None
    """Adapters; null trains all weights."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """AdamW's highest."""
    beta: float | None = Field(default=None, ge=0)
    """How closely the model is held to the one it starts from: DPO's β, by default 0.1; the weight of the divergence
    in `rlhf`, by default 0.04."""

    preferences: str | None = None
    """A file of JSON lines {image, prompt, chosen, rejected}, a dataset's folder, or `org/name` on the hub."""
    preferences_revision: str | None = None
    """The hub's commit."""
    on_bad: OnBad = "error"
    """Whether bad preferences are an `error`, or are left out (`skip`) and counted."""

    loss_type: Literal["sigmoid", "ipo", "hinge"] = "sigmoid"
    """`sigmoid` is DPO (Rafailov et al. 2023), `ipo` Azar et al. 2023, `hinge` SLiC (Zhao et al. 2023)."""
    sft_weight: float = Field(default=0.0, ge=0)
    """Weight of the chosen answers' own likelihood in the loss."""
    reference_free: bool | None = None
    """Whether the model without its adapters is the reference, instead of a second copy; null does so where there are
    adapters."""

    reward: str | RewardModel | None = None
    """`BENCHMARK.SCORE`, as the harness scores an answer, asked on that benchmark's split; or {model: NAME:ref}, asked
    the prompts of `preferences`."""
    split: str = "train"
    """The split of the reward's benchmark that is learnt from."""
    num_generations: int = Field(default=8, ge=2)
    """Answers that are sampled for a prompt and compared with each other."""
    max_completion_length: int = Field(default=16, ge=1)
    """Their tokens, at most."""
    temperature: float = Field(default=1.0, gt=0)
    """At which they are sampled."""

    @model_validator(mode="after")
    def _one_method(self) -> AlignStage:
        method = self.alignment_method
        for other, keys in METHODS.items():
            for key in keys:
                if other != method and getattr(self, key) != type(self).model_fields[key].default:
                    raise ValueError(f"{key}: is for alignment_method: {other}; remove it, or align so")
        if method == "reward" and self.beta is not None:
            raise ValueError("beta: a reward model has none; remove it")
        if method == "dpo" and self.beta == 0:
            raise ValueError("beta: must be above 0 for dpo")
        if self.reference_free and self.lora is None:
            raise ValueError("reference_free: needs adapters that can be left out; give lora: too")
        if method == "rlhf":
            self._check_reward()
        elif self.preferences is None:
            raise ValueError(f"preferences: {method} learns from them; name a file of JSON lines")
        if method == "reward" and self.evaluate is not None:
            raise ValueError("evaluate: a reward model answers no questions; remove it")
        return self

    def _check_reward(self) -> None:
        if self.scale.strategy == "fsdp":
            raise ValueError("scale.strategy: rlhf generates while it trains, which spread weights cannot; take ddp")
        if self.reward is None:
            raise ValueError("reward: rlhf needs one; write BENCHMARK.SCORE or {model: NAME:ref}")
        if isinstance(self.reward, str):
            if not all(self.reward.partition(".")):
                raise ValueError(f"reward: {self.reward!r} must be BENCHMARK.SCORE, such as gqa.accuracy")
            if self.preferences is not None:
                raise ValueError("preferences: the reward's benchmark says what is asked; remove them")
        elif self.preferences is None:
            raise ValueError("preferences: a reward model says nothing of what is asked; name a file with prompts")
        if self.batch * self.accumulate % self.num_generations:
            asked = f"batch x accumulate = {self.batch * self.accumulate}"
            raise ValueError(f"{asked} answers a step are no whole groups of num_generations: {self.num_generations}")

    @property
    def strength(self) -> float:
        """`beta`, or the method's own where it is not given."""
        return self.beta if self.beta is not None else {"dpo": 0.1}.get(self.alignment_method, 0.04)

    def read_preferences(self) -> Preferences:
        """All records, checked.

        Raises:
            DataError: they are not there, or bad.
        """
        if self.preferences is None:
            raise ConfigError("preferences: none are named")
        return read_preferences(self.preferences, revision=self.preferences_revision, on_bad=self.on_bad)

    def data_digests(self, session: Session) -> dict[str, str]:
        """What is learnt from: the preferences, or the benchmark whose prompts are asked and whose rules reward."""
        if isinstance(self.reward, str):
            name, _, score = self.reward.partition(".")
            (task,) = session.tasks([name], Options(split=self.split, metrics=(score,)))
            return {name: judged(session, task, score)}
        return {"preferences": self.read_preferences().digest(session)}

    def parents(self, session: Session) -> dict[str, str]:
        """What it starts from, and the reward model."""
        starts = [find_start(self.start, session, self.revision)]
        if isinstance(self.reward, RewardModel):
            starts.append(find_start(self.reward.model, session, self.reward.revision))
        return {start.name: start.digest for start in starts}
