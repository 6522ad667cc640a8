# mypy: allow-untyped-calls
# Parts of transformers and trl carry no annotations.

"""Group relative policy optimization (Shao et al. 2024, DeepSeekMath) through trl.

Answers are sampled at every optimizer step, so that each saved point lies between two samplings, and the random state
that is saved with it is all that the next one depends on.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

from transformers import PreTrainedModel
from trl.trainer.grpo_config import GRPOConfig
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import add_fused_lm_head

from harness import decode
from training.aligning.preferences import Preference
from training.aligning.rewards import Asked, ModelReward, Reward, ScoreReward
from training.aligning.settings import AlignStage, RewardModel
from training.aligning.trainer import Quiet, arguments, ordered, rows_of, speak_as_expected
from training.conversations import placeholder
from training.job import Job
from training.modelling.models import adapt, find_start, load
from training.scale import scaled

COLUMN = "asked"


class GroupTrainer(Quiet, GRPOTrainer):
    """trl's trainer, given the reference that it would load by the model's name.

    Args:
        reference: the model before training; None where it is the one that is trained, without its adapters.
        beta: weight of the divergence from it.
    """

    def __init__(self, *, reference: PreTrainedModel | None, beta: float, **given: Any) -> None:
        super().__init__(**given)
        self.beta = beta
        self.ref_model = None
        if reference is not None and beta > 0:
            add_fused_lm_head(reference, temperature=self.temperature)
            speak_as_expected(reference)
            self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)


def make_trainer(job: Job, preferences: Sequence[Preference]) -> tuple[GroupTrainer, Any]:
    """Model, reference, reward, processor and prompts, put together; and the processor.

    Raises:
        UnknownName, ConfigError, DataError, CheckpointError: what it starts from, asks or is rewarded by is not there.
    """
    settings: AlignStage = job.settings
    args = GRPOConfig(
        **arguments(job),
        num_generations=settings.num_generations,
        max_completion_length=settings.max_completion_length,
        temperature=settings.temperature,
        shuffle_dataset=False,
        loss_type="grpo",
        beta=0.0,
    )
    reward = make_reward(job, preferences, args.device)
    start = find_start(settings.start, job.session, settings.revision)
    model, processor = load(start)
    reference = load(start)[0].eval().requires_grad_(False) if settings.lora is None and settings.strength else None
    prompts = rows_of(settings) // settings.num_generations
    taught = adapt(model, settings.lora, settings.seed)
    trainer = scaled(GroupTrainer, settings.scale)(
        reference=reference,
        beta=settings.strength,
        model=taught,
        args=args,
        reward_funcs=as_function(reward),
        train_dataset=ordered(len(reward.asked), prompts, settings.seed, COLUMN).with_transform(Asking(reward.asked)),
        processing_class=templated(processor),
    )
    speak_as_expected(taught)
    return trainer, processor


def make_reward(job: Job, preferences: Sequence[Preference], device: Any) -> Reward:
    """As the settings name it."""
    settings: AlignStage = job.settings
    if isinstance(settings.reward, RewardModel):
        judge = find_start(settings.reward.model, job.session, settings.reward.revision)
        return ModelReward(judge, preferences, device)
    return ScoreReward(job.session, str(settings.reward), settings.split)


class Asking:
    """Numbers of prompts to what trl's trainer takes: conversations, and their pictures."""

    def __init__(self, asked: Sequence[Asked]) -> None:
        self.asked = asked

    def __call__(self, rows: Mapping[str, Sequence[int]]) -> dict[str, list[Any]]:
        """The same rows with `prompt` and `images`."""
        found = [self.asked[number] for number in rows[COLUMN]]
        return {
            COLUMN: list(rows[COLUMN]),
            "prompt": [[{"role": "user", "content": one.prompt}] for one in found],
            "images": [[decode(image) for image in one.images] for one in found],
        }


def as_function(reward: Reward) -> Any:
    """The reward as trl calls one: with conversations that end in the answer."""

    def function(completions: Sequence[Any], asked: Sequence[int], **columns: Any) -> list[float | None]:
        return reward.worth(
            [reward.asked[number] for number in asked], [answer[0]["content"] for answer in completions]
        )

    function.__name__ = reward.name
    return function


def templated(processor: Any) -> Any:
    """The processor; one without a chat template gets one that says what `conversations.render` does."""
    if getattr(processor, "chat_template", None) is not None:
        return processor
    mark = "" if hasattr(processor, "num_query_tokens") else placeholder(processor)
    given = copy.deepcopy(processor)
    given.chat_template = (
        "{% for message in messages %}{% for part in message['content'] %}"
        f"{{% if part['type'] == 'image' %}}{mark}{{% else %}}{{{{ part['text'] }}}}{{% endif %}}"
        "{% endfor %}{% endfor %}"
    )
    return given
