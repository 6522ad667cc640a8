"""What the configs of all stages share. A field's docstring is what `harness train CONFIG --explain` says of it."""

import importlib.util
import re
from pathlib import Path
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from harness import MissingExtra
from training.wandb_sdk import PROJECT

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,121}")
"""What the registry takes, with room for the `-steps` under which checkpoints are published."""


class Settings(BaseModel):
    """A part of a config: no unknown keys, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class StageSettings(Settings):
    """What every stage has."""

    stage: str
    """The kind of training."""
    name: str
    """Under which the result is published in the registry."""
    license: str | None = None
    """Of the result, as its card names it; null takes that of what it starts from."""
    makes: ClassVar[str] = "model"
    """The type of the published versions."""

    @field_validator("name")
    @classmethod
    def _publishable(cls, name: str) -> str:
        if not NAME.fullmatch(name):
            raise ValueError(
                "is made of at most 122 letters, digits, '.', '_' and '-', and starts with a letter or digit"
            )
        return name


class Scale(Settings):
    """How the work is spread over processes and devices, and how exactly it is computed."""

    strategy: Literal["auto", "ddp", "fsdp"] = "auto"
    """With several processes: `ddp` keeps the whole model in each, `fsdp` a share; `auto` is `ddp`."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Of the arithmetic; weights and optimizer stay in float32."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    compile: bool = False
    """Use torch.compile."""
    workers: int | None = Field(default=None, ge=0)
    """Processes that prepare batches ahead, for each device; 0 prepares them in the training process; null is 0 on a
    CPU, whose cores all compute, and beside a GPU its share of the cores, 8 at most."""
    deepspeed: Path | None = None
    """A DeepSpeed configuration that takes the place of `strategy`, for teams that have one; stages 0 to 2 of ZeRO."""

    @model_validator(mode="after")
    def _one_way(self) -> "Scale":
        if self.deepspeed is not None and self.strategy != "auto":
            raise ValueError("deepspeed: takes the place of strategy:; leave one of them out")
        return self


class Saving(Settings):
    """Points from which an interrupted training goes on."""

    every: int = Field(default=100, ge=1)
    """Steps from one to the next."""
    keep: int = Field(default=2, ge=1)
    """The newest so many are kept, and the best."""
    publish: bool = True
    """Make each a version of NAME-steps in the registry, from which any machine can go on."""
    resume: Literal["auto", "never"] = "auto"
    """`auto` goes on from the newest whole one, `never` starts again."""
    grace: float = Field(default=30.0, gt=0)
    """Seconds after SIGTERM in which the step under way may end and be saved."""


class Evaluating(Settings):
    """The harness's own benchmarks, asked of the model while it is trained and when it is done."""

    benchmarks: tuple[str, ...] = Field(min_length=1)
    """Their names."""
    split: str | None = None
    """Which split; as benchmarks.yaml has it where none is given."""
    limit: int | None = Field(default=64, ge=1)
    """Samples of each benchmark; null for all."""
    every: int | None = Field(default=None, ge=1)
    """Steps from one evaluation to the next; null evaluates only the finished model."""
    batch: int = Field(default=16, ge=1)
    """Samples that are answered together, as `harness eval --batch` has it."""
    best: str | None = None
    """The score, such as `gqa.accuracy`, by which the best checkpoint is chosen; null takes the last."""
    higher_is_better: bool = True
    """Whether a larger `best` is better."""

    @model_validator(mode="after")
    def _measured(self) -> "Evaluating":
        if self.best is not None and self.every is None:
            raise ValueError("best: is chosen among evaluations while training; say how many steps apart with every:")
        return self


class Tracking(Settings):
    """Where curves go beside the workspace, which always has them."""

    report_to: tuple[Literal["wandb"], ...] = ()
    """Trackers; `wandb` is told by `WANDB_MODE`, and writes into the workspace where nobody is logged in."""
    project: str = Field(default=PROJECT, min_length=1)
    """The tracker's project."""
    run_name: str = "{name}-{timestamp}"
    """The run's name there; {name}, {stage} and {timestamp} (UTC) are filled in once and stay when it goes on."""
    every: int | None = Field(default=None, ge=1)
    """Steps from one point of a curve to the next; null makes about fifty."""

    @field_validator("run_name")
    @classmethod
    def _fillable(cls, name: str) -> str:
        try:
            filled = name.format(name="", stage="", timestamp="-")
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise ValueError("only {name}, {stage} and {timestamp} can be filled in") from error
        if not filled:
            raise ValueError("names nothing")
        return name

    def check(self) -> None:
        """Says that a tracker cannot be told, before hours are spent.

        Raises:
            MissingExtra: its package is not installed.
        """
        if "wandb" in self.report_to and importlib.util.find_spec("wandb") is None:
            raise MissingExtra("track.report_to: wandb is not installed: pip install 'vlm-harness[wandb]'")


class TrainerSettings(StageSettings):
    """What every stage that computes gradients has."""

    seed: int = 0
    """Of new weights, the order of the data and whatever else is drawn."""
    steps: int = Field(ge=1)
    """Optimizer steps."""
    batch: int = Field(default=16, ge=1)
    """Rows of a step on each device."""
    accumulate: int = Field(default=1, ge=1)
    """Batches whose gradients make one step."""
    learning_rate: float = Field(default=1e-4, gt=0)
    """AdamW's highest."""
    warmup: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """How the learning rate falls after that."""
    weight_decay: float = Field(default=0.0, ge=0)
    """AdamW's."""
    clip: float = Field(default=1.0, gt=0)
    """The largest norm of a gradient."""
    scale: Scale = Scale()
    save: Saving = Saving()
    evaluate: Evaluating | None = None
    track: Tracking = Tracking()

    def data_digests(self, session: Any) -> dict[str, str]:
        """What is learnt from: its name -> its digest."""
        raise NotImplementedError

    def parents(self, session: Any) -> dict[str, str]:
        """What it starts from: `NAME:vN` (or a folder) -> its digest."""
        return {}
