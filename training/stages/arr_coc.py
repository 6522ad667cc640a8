# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""ARR-COC from nothing: first the reader, then the router.

Where boxes are known, the encoder may first be aligned with words, without the language model. Most later steps read
hard choices of a few tokens: they teach the encoder, the words and the language model cheaply, and the
relevance that is given to tokens teaches the router what is relevant. From `router.start` on, every few steps the
choice is soft, all levels of a region that may still count are in the sequence, and the answer's loss teaches the
router where detail is worth its tokens.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator
from transformers import Trainer, TrainingArguments, set_seed

from arr_coc_model import ArrCocForConditionalGeneration, ArrCocProcessor
from arr_coc_model.presets import PRESETS, Preset
from harness import ConfigError, Session, file_sha256
from training.arr_coc.alignment import Scene, Vocabulary, read_scenes
from training.arr_coc.collate import Collator
from training.arr_coc.trainer import ArrCocTrainer
from training.job import Job
from training.lessons import LearningSettings, Picture
from training.loop import fit, trainer_arguments
from training.modelling.models import find_start, load
from training.modelling.tokenizer import word_tokenizer
from training.recipe import Result
from training.scale import scaled
from training.settings import Settings


class Budgets(Settings):
    """Visual tokens of a step, drawn log-uniformly."""

    low: int = Field(default=8, ge=1)
    """At least."""
    high: int = Field(default=48, ge=1)
    """At most."""

    @model_validator(mode="after")
    def _ordered(self) -> "Budgets":
        if self.low > self.high:
            raise ValueError(f"low={self.low} is above high={self.high}")
        return self


class Router(Settings):
    """How the router learns by soft gates."""

    start: float = Field(default=0.5, ge=0, le=1)
    """Share of all steps after which it begins; 1 leaves it untaught."""
    every: int = Field(default=4, ge=1)
    """One step in so many is soft."""
    pictures: int = Field(default=8, ge=1)
    """Pictures of a soft step, whose sequences are long."""
    hot: float = Field(default=1.0, gt=0)
    """Temperature of the gates at the start; it falls geometrically."""
    cold: float = Field(default=0.2, gt=0)
    """Temperature of the gates at the end."""
    hard: float = Field(default=0.75, ge=0, le=1)
    """Share of all steps after which soft steps go straight through: forward hard, backward soft."""
    floor: float = Field(default=0.02, ge=0, lt=1)
    """Regions whose gate is smaller are left out of the sequence."""
    budgets: Budgets = Budgets(low=16, high=40)
    """As of all steps."""


class Distillation(Settings):
    """The model's pass with all visual tokens teaches it what to say with few.

    Worth it where the budgets go up to all tokens, or what it starts from has read them: else the teacher has never
    learnt to read what it sees.
    """

    weight: float = Field(default=1.0, gt=0)
    """Of its loss beside the answers'."""
    temperature: float = Field(default=1.0, gt=0)
    """Of both distributions over words."""
    every: int = Field(default=1, ge=1)
    """One step in so many has it; a pass with all tokens is long."""


class Gains(Settings):
    """Predicted gains are held against what single splits prove to be worth to the answer, once the router learns."""

    weight: float = Field(default=0.1, gt=0)
    """Of its loss beside the answers'."""
    every: int = Field(default=4, ge=1)
    """One step in so many has it; it costs a pass of three times the questions, without gradients."""


class Alignment(Settings):
    """Supervision of patches by object names, attributes and boxes; results that used it say so."""

    benchmark: str
    """Whose training pictures have scene graphs; a sample's group is the picture's id there."""
    scenes: Path
    """The scene graph file, in the folder of that benchmark's data."""
    weight: float = Field(default=1.0, gt=0)
    """Of its loss beside the answers'."""
    first: int = Field(default=0, ge=0)
    """Steps at the beginning that only align."""

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
    start: str | None = None
    """The ARR-COC that goes on learning: `NAME:ref` of the registry or a folder (./dir); null makes a new one."""
    preset: str = "micro"
    """The architecture of a new one."""
    model: dict[str, Any] = Field(default={})
    """Settings of ArrCocConfig on top of the preset."""
    batch: int = Field(default=32, ge=1)
    """Pictures of a step on each device."""
    prompts: int = Field(default=6, ge=1)
    """Prompts a picture, which share its encoding."""
    learning_rate: float = Field(default=3e-3, gt=0)
    """AdamW's highest; a cosine takes it down to a twentieth."""
    warmup: int = Field(default=40, ge=0)
    schedule: Literal["cosine"] = "cosine"
    """This stage has its own and no other: a warm-up and a cosine in each of two phases, before and after alignment."""
    weight_decay: float = Field(default=0.05, ge=0)
    image_drop: float = Field(default=0.1, ge=0, le=1)
    """Share of prompts that go without their picture, so that the model without pictures is a fair floor."""
    budgets: Budgets = Budgets()
    """Visual tokens of a step."""
    router: Router = Router()
    """How the router learns."""
    distill: Distillation | None = None
    """Teaching by its own pass with all tokens."""
    gains: Gains | None = None
    """Regression of gains onto measured drops of the loss."""
    alignment: Alignment | None = None
    """Supervision of patches by words and boxes."""
    rare: int = Field(default=2, ge=1)
    """Words that occur fewer times are unknown to a new one."""
    instruction: int = Field(default=100, ge=1)
    """Lines that so many prompts have are one token each of a new one's."""

    @field_validator("schedule", mode="before")
    @classmethod
    def _own(cls, schedule: Any) -> Any:
        if schedule != "cosine":
            raise ValueError("this stage has its own schedule, a cosine in each of its two phases; leave it out")
        return schedule

    @model_validator(mode="after")
    def _possible(self) -> "ArrCocStage":
        if self.preset not in PRESETS:
            raise ValueError(f"no preset {self.preset!r}: there are {', '.join(PRESETS)}")
        made = {"preset", "model", "rare", "instruction"} & self.model_fields_set
        if self.start is not None and made:
            raise ValueError(f"start: what goes on learning is as it is; leave out {', '.join(sorted(made))}")
        if self.gains is not None and self.scale.strategy == "fsdp":
            # A process whose rows split nowhere skips a pass that gathers weights for the others.
            raise ValueError("gains: cannot be measured where weights are spread; take scale.strategy: ddp")
        return self

    def parents(self, session: Session) -> dict[str, str]:
        """What it starts from."""
        if self.start is None:
            return super().parents(session)
        start = find_start(self.start, session)
        return {**super().parents(session), start.name: start.digest}

    def data_digests(self, session: Session) -> dict[str, str]:
        """What is learnt from: benchmark -> digest of its samples."""
        digests = super().data_digests(session)
        if self.alignment is not None:
            digests[str(self.alignment.scenes)] = file_sha256(self.alignment.file(session, self.split))
        return digests


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
    start = None if settings.start is None else load(find_start(settings.start, job.session))
    device = job.session.settings.workspace.device
    trainer = make_trainer(settings, pictures, job.folder / "trainer", start, device)
    return fit(trainer, trainer.processor, job, finish)


def finish(trainer: Trainer, folder: Path) -> None:
    """Writes the trained model, its processor and tokenizer."""
    assert isinstance(trainer, ArrCocTrainer)
    model: Any = trainer.model
    model.eval().save_pretrained(folder)
    trainer.processor.save_pretrained(folder)


def make_trainer(
    settings: ArrCocStage,
    pictures: Sequence[Picture],
    folder: Path,
    start: tuple[Any, Any] | None = None,
    device: str = "auto",
) -> ArrCocTrainer:
    """Tokenizer, processor, model and data, put together.

    Args:
        folder: for its checkpoints.
        start: model and processor that go on learning.
        device: the workspace's.

    Raises:
        ConfigError: what goes on is no ARR-COC, or the settings of the model or its budgets cannot be.
    """
    model, processor = start or _new(settings, pictures)
    if not isinstance(model, ArrCocForConditionalGeneration):
        raise ConfigError(f"start: {settings.start} is a {type(model).__name__}, not ARR-COC")
    config, tokenizer = model.config, processor.tokenizer
    try:
        for budgets in (settings.budgets, settings.router.budgets):
            config.check_budget(budgets.low)
            config.check_budget(budgets.high)
    except ValueError as error:
        raise ConfigError(f"budgets: {error}") from error
    vocabulary = Vocabulary([picture.scene for picture in pictures if picture.scene is not None], tokenizer)
    # train_sampling_strategy: what is drawn at which place is the draws' own to say.
    args = {**trainer_arguments(settings, folder, device), "adam_beta2": 0.98, "train_sampling_strategy": "sequential"}
    return scaled(ArrCocTrainer, settings.scale)(
        settings,
        vocabulary,
        model,
        processor,
        args=TrainingArguments(**args),
        train_dataset=settings.draws(pictures),
        data_collator=Collator(processor, vocabulary, config.regions.grid),
    )


def _new(settings: ArrCocStage, pictures: Sequence[Picture]) -> tuple[ArrCocForConditionalGeneration, ArrCocProcessor]:
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
    except (TypeError, ValueError) as error:
        raise ConfigError(f"model: {error}") from error
    return ArrCocForConditionalGeneration(config), processor
