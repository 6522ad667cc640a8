"""`arr-coc:REF`: ARR-COC, which spends a budget of visual tokens on each picture where the question needs them.

    arr-coc:latest, arr-coc:v3, arr-coc:production    a checkpoint of the registry
    arr-coc:./dir                                     a folder that save_pretrained wrote

Options: `token_budget`, visual tokens a picture at most (the checkpoint's own unless given); `dtype` (float32 unless
given) and `attn`, the implementation of attention. For ablations of a trained router, `propositional`, `perspectival`
and `participatory` are the prior weights of the ways of knowing (0 takes one out; those not given stay, and all are
normalised), and `min_tokens_per_patch` and `max_tokens_per_patch` bound a block's tokens. Questions of a batch about
the same picture share its encoding.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from msgspec.structs import replace
from torch import Tensor

from arr_coc_model import (
    TENSIONS,
    WAYS_OF_KNOWING,
    ArrCocConfig,
    ArrCocForConditionalGeneration,
    ArrCocProcessor,
    Routing,
)
from harness import (
    CheckpointError,
    CheckpointStore,
    DataError,
    Generation,
    ModelSpec,
    Output,
    PluginError,
    Request,
    Trace,
    Usage,
    UsageError,
    decode,
)
from plugins.models.batching import BatchModel, Group, alike, left_pad
from plugins.models.generation import Decoding, padding_token, plain_text_arguments, render, settle
from plugins.models.live import LiveSpec
from plugins.models.loading import Weights, load_config, load_model, load_processor
from plugins.models.references import find_trained, is_folder, refuse_unknown
from plugins.models.sources import Place, Source, StoredSource, check_folder, fingerprint

NAME = "arr-coc"
REVISION = 1
"""Changes whenever the same weights would answer differently."""
BOUNDS = ("min_tokens_per_patch", "max_tokens_per_patch")
OPTIONS = ("attn", "dtype", "token_budget", *WAYS_OF_KNOWING, *BOUNDS)
RECIPE = "training/configs/arr_coc/micro.yaml"
ROUTED = {
    "visual_tokens": 0,
    "full_visual_tokens": 0,
    "relevance_map": 3,
    "level_map": 0,
    "budget_map": 6,
    "tensions": 3,
    "weights": 3,
}
"""What is told of a routing, and with how many decimals; a patch has down to a 64th of a token."""


class ArrCoc:
    """The model plugin."""

    def resolve(self, ref: str, options: Mapping[str, str], checkpoints: CheckpointStore) -> ModelSpec:
        """See `ModelPlugin`.

        Raises:
            UnknownName: an option or its value, a version or an alias is unknown.
            UsageError: the budget, a weight or a bound is no number.
            CheckpointError: none was made yet, or the folder holds no model.
        """
        refuse_unknown(options, OPTIONS)
        settings = Settings(Weights.parse(options), _budget(options.get("token_budget")))
        if changes := _changes(options):
            settings = ChangedSettings(settings.weights, settings.token_budget, changes)
        if is_folder(ref):
            check_folder(ref)
        return ArrCocSpec(StoredSource(find_trained(NAME, ref, checkpoints, RECIPE)), settings)

    def live(self, model: Any, processor: Any) -> ModelSpec:
        """See `LivePlugin`. The budget is that of the model's configuration.

        Raises:
            PluginError: it is another model.
        """
        if not isinstance(model, ArrCocForConditionalGeneration) or not isinstance(processor, ArrCocProcessor):
            raise PluginError(f"{NAME}: a {type(model).__name__} with a {type(processor).__name__} is not ARR-COC")
        budget = model.config.token_budget or model.config.full_tokens
        return LiveSpec(QuestionPreparer(processor, budget), lambda: RoutedModel(model, processor))


def _changes(options: Mapping[str, str]) -> dict[str, float]:
    """What is to be another than the checkpoint's configuration has it."""
    changes: dict[str, float] = {}
    for name in (*WAYS_OF_KNOWING, *BOUNDS):
        if (text := options.get(name)) is None:
            continue
        try:
            value = int(text) if name in BOUNDS else float(text)
        except ValueError as error:
            raise UsageError(f"{name}={text}: not a number; write {name}=1, for instance") from error
        if not 0 <= value < math.inf:
            raise UsageError(f"{name}={text}: a finite number that is not below 0 is needed")
        changes[name] = value
    return changes


def _budget(text: str | None) -> int | None:
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"token_budget={text}: not a number of visual tokens; write token_budget=28, for instance")
    return int(text)


@dataclass(frozen=True, slots=True)
class Settings:
    """All options.

    Attributes:
        token_budget: visual tokens a picture, at most; None leaves it to the checkpoint.
    """

    weights: Weights
    token_budget: int | None


@dataclass(frozen=True, slots=True)
class ChangedSettings(Settings):
    """Options that change the checkpoint's configuration, too.

    Attributes:
        changes: name of a way of knowing or of a bound -> value.
    """

    changes: Mapping[str, float]

    def changed(self, config: ArrCocConfig) -> ArrCocConfig:
        """The configuration with the changes.

        Raises:
            UsageError: it cannot be.
        """
        given = config.to_dict()
        weights = dict(zip(WAYS_OF_KNOWING, config.knowing_weights, strict=True))
        given["knowing_weights"] = {way: self.changes.get(way, weight) for way, weight in weights.items()}
        given.update({name: self.changes[name] for name in BOUNDS if name in self.changes})
        try:
            return ArrCocConfig.from_dict(given)
        except ValueError as error:
            raise UsageError(
                f"{', '.join(f'{name}={value:g}' for name, value in self.changes.items())}: {error}"
            ) from error


@dataclass(frozen=True, slots=True)
class ArrCocSpec:
    """See `ModelSpec`."""

    source: Source
    settings: Settings

    @property
    def fingerprint(self) -> str:
        return fingerprint(NAME, REVISION, self.source, self.settings)

    @property
    def version(self) -> str | None:
        return self.source.version

    @property
    def digest(self) -> str | None:
        return self.source.digest

    def preparer(self) -> QuestionPreparer:
        """The processor, ready for several threads.

        Raises:
            CheckpointError: it is missing or broken, or another model's.
        """
        place = self.source.place()
        config = _config(place)
        return QuestionPreparer(
            _processor(place), self.settings.token_budget or config.token_budget or config.full_tokens
        )

    def load(self, device: str) -> RoutedModel:
        """The model, ready to answer.

        Raises:
            CheckpointError: it cannot be loaded whole, or is another model.
            UsageError: there is no such device, or the budget, a weight or a bound is none that it can have.
        """
        place = self.source.place()
        budget, config = self.settings.token_budget, _config(place)
        if isinstance(self.settings, ChangedSettings):
            config = self.settings.changed(config)
        if budget is not None:
            try:
                config.check_budget(budget)
            except ValueError as error:
                raise UsageError(str(error)) from error
        model: Any = load_model(place, self.settings.weights, device, config)
        return RoutedModel(model, _processor(place), budget)


def _config(place: Place) -> ArrCocConfig:
    config = load_config(place)
    if not isinstance(config, ArrCocConfig):
        raise CheckpointError(f"{place.name}: a {config.model_type!r} model, not ARR-COC; name it hf:{place.name}")
    return config


def _processor(place: Place) -> ArrCocProcessor:
    processor = load_processor(place)
    if not isinstance(processor, ArrCocProcessor):
        raise CheckpointError(f"{place.name}: its processor is a {type(processor).__name__}, not ARR-COC's")
    return processor


@dataclass(frozen=True, slots=True)
class Question:
    """One request as tensors.

    Attributes:
        ids: [1, L].
        pixels: [1, C, H, W]; None without a picture.
        picture: a digest of the pixels, by which questions about one picture are found; empty without.
        token_budget: visual tokens, at most.
    """

    ids: Tensor
    pixels: Tensor | None
    picture: str
    generation: Generation
    token_budget: int

    @property
    def words(self) -> int:
        """Tokens of the prompt, without the picture's placeholder."""
        return self.ids.shape[1] - bool(self.picture)

    @property
    def cost(self) -> int:
        """Tokens that enter the language model, at most."""
        return self.words + self.token_budget


class QuestionPreparer:
    """Requests to tensors. See `Preparer`; `prepare` may be called from several threads at once.

    Args:
        processor: the model's.
        token_budget: visual tokens a picture, at most.
    """

    def __init__(self, processor: ArrCocProcessor, token_budget: int) -> None:
        self._processor = processor
        self._token_budget = token_budget
        self._padding = padding_token(processor.tokenizer)
        settle(processor.tokenizer)

    def prepare(self, request: Request) -> Question:
        """One request as the model's tensors.

        Raises:
            ImageError: the picture cannot be read.
            DataError: the prompt cannot be asked, or there are several pictures.
        """
        if len(request.images) > 1:
            raise DataError(f"{len(request.images)} pictures in one question; ARR-COC reads one")
        images = [decode(image) for image in request.images]
        text = render(self._processor, request)
        features = self._processor(
            images=images or None, text=[text], text_kwargs=plain_text_arguments(self._processor, text)
        )
        ids: Tensor = features["input_ids"]
        if not images:
            return Question(ids, None, "", request.generation, 0)
        pixels: Tensor = features["pixel_values"]
        digest = hashlib.blake2b(pixels.numpy().tobytes(), digest_size=16).hexdigest()
        return Question(ids, pixels, digest, request.generation, self._token_budget)

    def collate(self, prepared: Sequence[Question]) -> tuple[Group, ...]:
        """One batch, in as few groups as can be, each picture of a group once."""
        return tuple(
            Group(
                places,
                self._tensors(questions),
                questions[0].generation,
                tuple(Usage(question.words) for question in questions),
            )
            for places, questions in alike(prepared, lambda question: question.generation)
        )

    def _tensors(self, questions: Sequence[Question]) -> dict[str, Tensor]:
        tensors = {
            "input_ids": left_pad([question.ids for question in questions], self._padding),
            "attention_mask": left_pad([torch.ones_like(question.ids) for question in questions], 0),
        }
        pictures = {question.picture: question.pixels for question in questions if question.pixels is not None}
        if pictures:
            order = {picture: index for index, picture in enumerate(pictures)}
            tensors["pixel_values"] = torch.cat(list(pictures.values()))
            tensors["image_index"] = torch.tensor([order.get(question.picture, -1) for question in questions])
        return tensors


class RoutedModel(BatchModel[ArrCocForConditionalGeneration]):
    """ARR-COC, answering in batches. Its own generation settings are left as they were.

    Args:
        model: in evaluation mode, on its device.
        processor: the model's.
        token_budget: visual tokens a picture, at most; None leaves it to the model's configuration.
    """

    def __init__(
        self, model: ArrCocForConditionalGeneration, processor: ArrCocProcessor, token_budget: int | None = None
    ) -> None:
        super().__init__(model)
        self._decoding = Decoding(model, processor.tokenizer)
        self._token_budget = token_budget

    def answer(
        self, model: ArrCocForConditionalGeneration, tensors: dict[str, Tensor], group: Group
    ) -> Sequence[Output]:
        """See `BatchModel`. An output about a picture has a trace."""
        inputs: Any = tensors
        with self._decoding.settings(model, group.generation) as settings:
            tokens, routing = model.answer(**inputs, token_budget=self._token_budget, generation_config=settings)
        outputs = [
            Output(answer.text, replace(usage, generated_tokens=answer.tokens))
            for answer, usage in zip(self._decoding.read(tokens), group.usage, strict=True)
        ]
        if routing is None:
            return outputs
        return [_with_routing(output, row) for output, row in zip(outputs, _rows(routing), strict=True)]


def _rows(routing: Routing) -> list[dict[str, Any]]:
    """What is told of the routing, row by row, as plain numbers."""
    columns = [routing[name].double().round(decimals=decimals).tolist() for name, decimals in ROUTED.items()]
    return [dict(zip(ROUTED, row, strict=True)) for row in zip(*columns, strict=True)]


def _with_routing(output: Output, row: Mapping[str, Any]) -> Output:
    """The output with its visual tokens and trace; as it is, where it is about no picture."""
    if not row["full_visual_tokens"]:
        return output
    trace = Trace(
        maps={
            **{f"relevance_{way}": grid for way, grid in zip(WAYS_OF_KNOWING, row["relevance_map"], strict=True)},
            "token_budget": row["budget_map"],
            "level_of_detail": row["level_map"],
        },
        scalars={
            **dict(zip(TENSIONS, row["tensions"], strict=True)),
            **{f"weight_{way}": weight for way, weight in zip(WAYS_OF_KNOWING, row["weights"], strict=True)},
        },
    )
    kept, full = int(row["visual_tokens"]), int(row["full_visual_tokens"])
    return replace(output, usage=replace(output.usage, visual_tokens=kept, full_visual_tokens=full), trace=trace)
