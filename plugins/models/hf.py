"""`hf:REF`: any model for pictures and text that transformers can load, with its own processor and chat template.

    hf:org/name            a repository on the hub; `revision=` names a branch, tag or commit
    hf:./dir               a folder that save_pretrained wrote
    hf:registry/NAME:v2    a checkpoint of the registry

Options: `dtype` (float32 unless given, so that a run is the same on every device; auto is what the weights were saved
in) and `attn`, the implementation of attention.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from torch import Tensor
from transformers import PreTrainedConfig, PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from harness import CheckpointStore, Generation, ModelSpec, Output, Request, Usage, UsageError, decode
from plugins.models.batching import BatchModel, Group, alike, collate_tensors
from plugins.models.generation import Decoding, new_tokens, padding_token, plain_text_arguments, render, settle
from plugins.models.live import LiveSpec
from plugins.models.loading import Weights, load_config, load_model, load_processor
from plugins.models.references import is_folder, refuse_unknown
from plugins.models.sources import Source, StoredSource, check_folder, fingerprint, pinned

NAME = "hf"
REVISION = 1
"""Changes whenever the same weights would answer differently."""
OPTIONS = ("attn", "dtype", "revision")
REGISTRY = "registry/"


class HuggingFace:
    """The model plugin."""

    def resolve(self, ref: str, options: Mapping[str, str], checkpoints: CheckpointStore) -> ModelSpec:
        """See `ModelPlugin`.

        Raises:
            UnknownName: an option or its value is unknown.
            UsageError: a revision of something that has none.
            CheckpointError: there is no such model, or it cannot be used.
        """
        refuse_unknown(options, OPTIONS)
        weights = Weights.parse(options)
        if not is_folder(ref) and not ref.startswith(REGISTRY):
            if Path(ref).is_dir():
                raise UsageError(f"hf:{ref}: a folder is written with ./ before it: hf:./{ref}")
            return HuggingFaceSpec(pinned(ref, options.get("revision")), weights)
        if "revision" in options:
            raise UsageError(f"hf:{ref}: revision= is for models on the hub; a registry's version is named NAME:v2")
        if is_folder(ref):
            check_folder(ref)
            return HuggingFaceSpec(StoredSource(checkpoints.resolve(NAME, ref)), weights)
        name, _, version = ref.removeprefix(REGISTRY).partition(":")
        return HuggingFaceSpec(StoredSource(checkpoints.resolve(name, version or "latest")), weights)

    def live(self, model: Any, processor: Any) -> ModelSpec:
        """See `LivePlugin`. Takes any model that `generate` asks, with its processor."""
        return LiveSpec(ProcessorPreparer(processor, model.config), lambda: GeneratingModel(model, processor.tokenizer))


@dataclass(frozen=True, slots=True)
class HuggingFaceSpec:
    """See `ModelSpec`."""

    source: Source
    weights: Weights

    @property
    def fingerprint(self) -> str:
        return fingerprint(NAME, REVISION, self.source, self.weights)

    @property
    def version(self) -> str | None:
        return self.source.version

    @property
    def digest(self) -> str | None:
        return self.source.digest

    def preparer(self) -> ProcessorPreparer:
        """The processor, ready for several threads.

        Raises:
            CheckpointError: it is missing or broken.
        """
        place = self.source.place()
        return ProcessorPreparer(load_processor(place), load_config(place))

    def load(self, device: str) -> GeneratingModel:
        """The model, ready to answer.

        Raises:
            CheckpointError: it cannot be loaded whole.
            UsageError: there is no such device.
        """
        place = self.source.place()
        return GeneratingModel(load_model(place, self.weights, device), load_processor(place).tokenizer)


@dataclass(frozen=True, slots=True)
class Prepared:
    """One request as tensors.

    Attributes:
        tensors: what the processor gave, the first dimension that of the batch or of the request's pictures.
        visual: placeholders of pictures among `input_ids`.
    """

    tensors: Mapping[str, Tensor]
    generation: Generation
    visual: int

    @property
    def cost(self) -> int:
        """Tokens of the prompt, pictures included."""
        return self.tensors["input_ids"].shape[-1]


class ProcessorPreparer:
    """Requests to tensors by a processor. See `Preparer`; `prepare` may be called from several threads at once."""

    def __init__(self, processor: ProcessorMixin, config: PreTrainedConfig) -> None:
        self._processor = processor
        self._padding = padding_token(processor.tokenizer)
        self._placeholder = placeholder_id(processor, config)
        settle(processor.tokenizer)

    def prepare(self, request: Request) -> Prepared:
        """One request as the model's tensors.

        Raises:
            ImageError: a picture cannot be read.
            DataError: the prompt cannot be asked.
        """
        images = [decode(image) for image in request.images]
        text = render(self._processor, request)
        features = self._processor(
            text=[text],
            images=images or None,
            return_tensors="pt",
            text_kwargs=plain_text_arguments(self._processor, text),
        )
        # What some processors give for training.
        tensors = {name: value for name, value in features.items() if isinstance(value, Tensor) and name != "labels"}
        visual = tensors["input_ids"].tolist()[0].count(self._placeholder)
        return Prepared(tensors, request.generation, visual)

    def collate(self, prepared: Sequence[Prepared]) -> tuple[Group, ...]:
        """One batch, in as few groups as can be: those with pictures, those without."""
        return tuple(
            Group(
                places,
                collate_tensors([item.tensors for item in items], self._padding),
                items[0].generation,
                tuple(Usage(item.cost - item.visual, item.visual, item.visual) for item in items),
            )
            for places, items in alike(prepared, lambda item: (item.generation, frozenset(item.tensors)))
        )


def placeholder_id(processor: ProcessorMixin, config: PreTrainedConfig) -> int | None:
    """The token that a picture's features take the place of; None for a model that has none."""
    for owner, name in ((processor, "image_token_id"), (config, "image_token_id"), (config, "image_token_index")):
        token = getattr(owner, name, None)
        if isinstance(token, int):
            return token
    return None


class GeneratingModel(BatchModel[PreTrainedModel]):
    """A model that answers in batches. Its own generation settings are left as they were.

    Args:
        model: in evaluation mode, on its device.
        tokenizer: its processor's.
    """

    def __init__(self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        super().__init__(model)
        self._decoding = Decoding(model, tokenizer)

    def answer(self, model: PreTrainedModel, tensors: dict[str, Tensor], group: Group) -> Sequence[Output]:
        """See `BatchModel`."""
        generator: Any = model
        with self._decoding.settings(model, group.generation) as settings:
            sequences: Tensor = generator.generate(**tensors, generation_config=settings)
        answers = self._decoding.read(new_tokens(sequences, tensors["input_ids"], model))
        return [
            Output(answer.text, replace(usage, generated_tokens=answer.tokens))
            for answer, usage in zip(answers, group.usage, strict=True)
        ]
