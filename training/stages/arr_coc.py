# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""ARR-COC from nothing: first the reader, then the router.

Where boxes are known, the encoder may first be aligned with words, without the language model. Most later steps read
hard choices of a few tokens: they teach the encoder, the words and the language model cheaply, and the
relevance that is given to tokens teaches the router what is relevant. From `router.start` on, every few steps the
choice is soft, all levels of a region that may still count are in the sequence, and the answer's loss teaches the
router where detail is worth its tokens.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainingArguments, set_seed

from arr_coc_model import ArrCocForConditionalGeneration, ArrCocProcessor, Gating
from arr_coc_model.presets import PRESETS, Preset
from harness import ConfigError, Session, file_sha256
from training.alignment import Scene, Vocabulary, alignment_loss, read_scenes
from training.collate import Collator
from training.job import Job
from training.lessons import LearningSettings, Picture
from training.loop import fit, trainer_arguments
from training.recipe import Result
from training.scale import scaled
from training.settings import Settings
from training.tokenizer import word_tokenizer


class Budgets(Settings):
    """Visual tokens of a step, drawn log-uniformly."""

    low: int = Field(default=8, ge=1)
    high: int = Field(default=48, ge=1)

    @model_validator(mode="after")
    def _ordered(self) -> "Budgets":
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")
        return self


class Router(Settings):
    """How the router learns by soft gates.

    Attributes:
        start: share of all steps after which it begins; 1 leaves it untaught.
        every: one step in so many is soft.
        pictures: pictures of a soft step, whose sequences are long.
        hot, cold: temperature of the gates at the start and at the end.
        hard: share of all steps after which soft steps go straight through: forward hard, backward soft.
        floor: regions whose gate is smaller are left out of the sequence.
        budgets: as of all steps.
    """

    start: float = Field(default=0.5, ge=0, le=1)
    every: int = Field(default=4, ge=1)
    pictures: int = Field(default=8, ge=1)
    hot: float = Field(default=1.0, gt=0)
    cold: float = Field(default=0.2, gt=0)
    hard: float = Field(default=0.75, ge=0, le=1)
    floor: float = Field(default=0.02, ge=0, lt=1)
    budgets: Budgets = Budgets(low=16, high=40)


class Alignment(Settings):
    """Supervision of patches by object names, attributes and boxes; results that used it say so.

    Attributes:
        benchmark: whose training pictures have scene graphs; a sample's group is the picture's id there.
        scenes: the scene graph file, in the folder of that benchmark's data.
        weight: of its loss beside the answers'.
        first: steps at the beginning that only align.
    """

    benchmark: str
    scenes: Path
    weight: float = Field(default=1.0, gt=0)
    first: int = Field(default=0, ge=0)

    def file(self, session: Session, split: str) -> Path:
        """Where the scene graphs lie."""
        data = session.benchmark(self.benchmark, split=split).data
        if data.path is None:
            raise ConfigError(f"alignment: {self.benchmark} lies at {data}, and scene graphs need a folder")
        return data.path / self.scenes


class ArrCocStage(LearningSettings):
    """A config whose `stage` is `arr_coc`."""

    stage: Literal["arr_coc"] = "arr_coc"
    name: str = Field(default="arr-coc", min_length=1)
    preset: str = "micro"
    """The architecture."""
    model: dict[str, Any] = Field(default={})
    """Settings of ArrCocConfig on top of the preset."""
    batch: int = Field(default=32, ge=1)
    """Pictures of a step on each device."""
    prompts: int = Field(default=6, ge=1)
    """Prompts a picture, which share its encoding."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """AdamW's highest; a cosine takes it down to a twentieth."""
    warmup: int = Field(default=40, ge=0)
    weight_decay: float = Field(default=0.05, ge=0)
    image_drop: float = Field(default=0.1, ge=0, le=1)
    """Share of prompts that go without their picture, so that the model without pictures is a fair floor."""
    budgets: Budgets = Budgets()
    router: Router = Router()
    alignment: Alignment | None = None
    """Supervision of patches by words and boxes."""
    rare: int = Field(default=2, ge=1)
    """Words that occur fewer times are unknown."""
    instruction: int = Field(default=100, ge=1)
    """Lines that so many prompts have are one token each."""

    @model_validator(mode="after")
    def _possible(self) -> "ArrCocStage":
        if self.preset not in PRESETS:
            raise ValueError(f"no preset {self.preset!r}: there are {', '.join(PRESETS)}")
        return self

    def data_digests(self, session: Session) -> dict[str, str]:
        """What is learnt from: benchmark -> digest of its samples."""
        digests = super().data_digests(session)
        if self.alignment is not None:
            digests[str(self.alignment.scenes)] = file_sha256(self.alignment.file(session, self.split))
        return digests


@dataclass(frozen=True, slots=True)
class Step:
    """How one step is made. `budget` is None where it only aligns patches with words."""

    pictures: int
    budget: int | None
    gating: Gating | None


def plan_step(settings: ArrCocStage, step: int) -> Step:
    """The step's budget and gates: a function of seed and step alone, so that resuming changes nothing."""
    if settings.alignment is not None and step < settings.alignment.first:
        return Step(settings.batch, None, None)
    random = np.random.default_rng((settings.seed, step))
    router, done = settings.router, step / settings.steps
    soft = done >= router.start and step % router.every == 0
    budgets = router.budgets if soft else settings.budgets
    budget = round(math.exp(random.uniform(math.log(budgets.low), math.log(budgets.high))))
    if not soft:
        return Step(settings.batch, budget, None)
    share = (done - router.start) / (1 - router.start)
    temperature = router.hot * (router.cold / router.hot) ** share
    gating = Gating(temperature=temperature, hard=done >= router.hard, floor=router.floor)
    return Step(min(router.pictures, settings.batch), budget, gating)


def learning_rate(settings: ArrCocStage, step: int) -> float:
    """The rate as a share of the highest: a warm-up and a cosine down to a twentieth, in each of the two phases.

    The language model joins when alignment is done, and needs its high rates then.
    """
    first = 0 if settings.alignment is None else min(settings.alignment.first, settings.steps)
    begin, end = (0, first) if step < first else (first, settings.steps)
    done = (step - begin) / max(1, end - begin)
    return min(1.0, (step - begin + 1) / max(1, settings.warmup)) * (0.05 + 0.475 * (1 + math.cos(math.pi * done)))


class ArrCocTrainer(Trainer):
    """The Hugging Face Trainer with steps as `plan_step` has them."""

    def __init__(
        self,
        settings: ArrCocStage,
        vocabulary: Vocabulary,
        model: ArrCocForConditionalGeneration,
        processor: ArrCocProcessor,
        **kwargs: Any,
    ) -> None:
        super().__init__(model=model, processing_class=processor, **kwargs)
        self.taught = model
        self.processor = processor
        self.settings = settings
        self.vocabulary = vocabulary
        self.model_accepts_loss_kwargs = False

    def create_scheduler(self, num_training_steps: int, optimizer: Optimizer | None = None) -> LambdaLR:
        """The schedule of `learning_rate`."""
        if self.lr_scheduler is None:
            assert self.optimizer is not None
            self.lr_scheduler = LambdaLR(optimizer or self.optimizer, partial(learning_rate, self.settings))
        return self.lr_scheduler

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Tensor | Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """The answers' loss, and that of the alignment by its weight."""
        step = plan_step(self.settings, self.state.global_step)
        rows = step.pictures * self.settings.prompts
        target, described = (inputs.pop(name)[: step.pictures] for name in ("target", "described"))
        batch = {name: value[: step.pictures if name == "pixel_values" else rows] for name, value in inputs.items()}
        alignment = self.settings.alignment
        words = None if alignment is None else self.vocabulary.ids.to(target.device)
        if step.budget is None:
            output = model(pixel_values=batch["pixel_values"], find_words=words)
            loss = target.new_zeros(())
        else:
            output = model(**batch, token_budget=step.budget, gating=step.gating, find_words=words)
            loss = output.loss
        if alignment is not None:
            excluding = self.vocabulary.excluding.to(target.device)
            loss = loss + alignment.weight * alignment_loss(output.likeness, target, excluding, described)
        return (loss, output) if return_outputs else loss


def run(job: Job) -> Result:
    """Trains, from the newest complete trainer checkpoint if there is one.

    Raises:
        UnknownName, ConfigError, DataError: a benchmark is unknown, its training split is not there or empty, or the
            model's settings cannot be.
    """
    settings: ArrCocStage = job.settings
    scenes: dict[tuple[str, str], Scene] = {}
    if (alignment := settings.alignment) is not None:
        found = read_scenes(alignment.file(job.session, settings.split))
        scenes = {(alignment.benchmark, picture): scene for picture, scene in found.items()}
    pictures = settings.pictures(job.session, scenes)
    set_seed(settings.seed)
    trainer = make_trainer(settings, pictures, job.folder / "trainer")
    return fit(trainer, trainer.processor, job, finish)


def finish(trainer: Trainer, folder: Path) -> None:
    """Writes the trained model, its processor and tokenizer."""
    assert isinstance(trainer, ArrCocTrainer)
    model: Any = trainer.model
    model.eval().save_pretrained(folder)
    trainer.processor.save_pretrained(folder)


def make_trainer(settings: ArrCocStage, pictures: Sequence[Picture], folder: Path) -> ArrCocTrainer:
    """Tokenizer, processor, model and data, put together."""
    lessons = [lesson for picture in pictures for lesson in picture.lessons]
    tokenizer = word_tokenizer(
        (lesson.prompt for lesson in lessons),
        (answer for lesson in lessons for answer in lesson.answers),
        rare=settings.rare,
        instruction=settings.instruction,
    )
    preset: Preset = PRESETS[settings.preset]
    processor = preset.processor(tokenizer)
    try:
        config = preset.configuration(processor, **settings.model)
        for budgets in (settings.budgets, settings.router.budgets):
            config.check_budget(budgets.low)
            config.check_budget(budgets.high)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model: {error}") from error
    vocabulary = Vocabulary([picture.scene for picture in pictures if picture.scene is not None], tokenizer)
    # train_sampling_strategy: what is drawn at which place is the draws' own to say.
    args = {**trainer_arguments(settings, folder), "adam_beta2": 0.98, "train_sampling_strategy": "sequential"}
    return scaled(ArrCocTrainer, settings.scale)(
        settings,
        vocabulary,
        ArrCocForConditionalGeneration(config),
        processor,
        args=TrainingArguments(**args),
        train_dataset=settings.draws(pictures),
        data_collator=Collator(processor, vocabulary, config.regions.grid),
    )
