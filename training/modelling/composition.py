"""What a model for pictures and text is made of, as a config says it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from arr_coc_model.presets import PRESETS
from harness import Session, UnknownName
from training.modelling.models import Start, find_start
from training.settings import Settings


class Part(Settings):
    """One part of a new model: with the weights of a checkpoint, or with random ones as a config describes it."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: str | None = Field(default=None, alias="from")
    """`NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub."""
    revision: str | None = None
    """The hub's commit."""
    config: dict[str, Any] | None = None
    """`model_type` and whatever that kind of model's configuration takes."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Part:
        if (self.from_ is None) == (self.config is None):
            raise ValueError("give either from: or config:")
        if self.config is not None and "model_type" not in self.config:
            raise ValueError("config: names no model_type, such as clip_vision_model or llama")
        if self.config is not None:
            _check_config(self.config)
        return self


def _check_config(config: Mapping[str, Any]) -> None:
    """transformers takes any key; what it does not know would change nothing, without a word."""
    # Seconds, which a config without such a part should not cost.
    from transformers import CONFIG_MAPPING

    if config["model_type"] not in CONFIG_MAPPING:
        raise ValueError(str(UnknownName("model_type", str(config["model_type"]), CONFIG_MAPPING)))
    kind: Any = CONFIG_MAPPING[config["model_type"]]
    known = {*kind().to_dict(), *getattr(kind, "attribute_map", {}), "model_type"}
    for key in config:
        if key not in known:
            raise ValueError(f"config: {UnknownName(f'key of {kind.model_type}', key, known)}")


class Words(Settings):
    """The tokenizer: that of a checkpoint, or one of whole words that is learnt from the training texts."""

    model_config = ConfigDict(serialize_by_alias=True)

    from_: str | None = Field(default=None, alias="from")
    """`NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub; null learns one."""
    revision: str | None = None
    """The hub's commit."""
    benchmarks: tuple[str, ...] = ()
    """Whose training texts it is learnt from; what the stage itself learns from where none is named."""
    rare: int = Field(default=2, ge=1)
    """Words that occur fewer times are unknown."""
    instruction: int = Field(default=100, ge=1)
    """Lines that so many prompts have are one token each."""


class ModelSettings(Settings):
    """The model that is trained: one that is there (`start`), a preset, or a new one from its parts."""

    start: str | None = None
    """`NAME:ref` of the registry, a folder (./dir), or `org/name` on the hub."""
    revision: str | None = None
    """The hub's commit."""
    architecture: Literal["llava", "arr_coc"] = "llava"
    """How a new model is put together."""
    preset: str | None = None
    """A ready-made architecture of ARR-COC, with random weights."""
    vision: Part | None = None
    """The vision encoder."""
    language: Part | None = None
    """The language model."""
    tokenizer: Words | None = None
    """By default that of the language model, or for a new one a learnt one."""
    chat_template: str | None = None
    """Jinja text; by default LLaVA-1.5's, or with a learnt tokenizer just picture, prompt, answer and end token."""
    image_size: int | None = Field(default=None, ge=1)
    """Edge of the pictures in pixels; by default the vision encoder's own."""
    settings: dict[str, Any] = Field(default={})
    """Further settings of LlavaConfig or ArrCocConfig."""

    @model_validator(mode="after")
    def _one_way(self) -> ModelSettings:
        parts = self.vision is not None and self.language is not None
        if (self.start is not None) + (self.preset is not None) + parts != 1:
            raise ValueError("give either start:, or preset:, or both vision: and language:")
        if self.preset is not None and (self.architecture != "arr_coc" or self.preset not in PRESETS):
            raise ValueError(f"preset: is for architecture: arr_coc, and one of {', '.join(PRESETS)}")
        if self.preset is not None and (self.image_size is not None or self.chat_template is not None):
            raise ValueError("preset: has its own image_size and no chat_template; leave them out")
        return self

    def sources(self, session: Session) -> dict[str, Start]:
        """What it is made of: key of the config -> where that lies."""
        given = {"start": (self.start, self.revision)}
        for key, part in (("vision", self.vision), ("language", self.language), ("tokenizer", self.tokenizer)):
            given[key] = (None, None) if part is None else (part.from_, part.revision)
        return {key: find_start(text, session, revision) for key, (text, revision) in given.items() if text is not None}

    @property
    def learnt(self) -> Words | None:
        """How the tokenizer is learnt; None where it isn't."""
        if self.start is not None:
            return None
        if self.tokenizer is not None:
            return self.tokenizer if self.tokenizer.from_ is None else None
        return Words() if self.language is None or self.language.from_ is None else None
