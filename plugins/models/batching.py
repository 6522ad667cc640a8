"""Batches of requests: grouped, padded, moved to the device, answered and measured.

Q requests of a batch, L tokens of the longest prompt.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from msgspec.structs import replace
from torch import Tensor
from transformers import PreTrainedModel

from harness import Failure, Generation, Output, Usage

FILL = {"attention_mask": 0, "token_type_ids": 0, "mm_token_type_ids": 0}
"""The tensors that go along with `input_ids`, and what they are padded with."""

Item = TypeVar("Item")
Model = TypeVar("Model", bound=PreTrainedModel)


@dataclass(frozen=True, slots=True)
class Group:
    """Requests of a batch that can be answered in one call.

    Attributes:
        places: where in the batch they stand.
        tensors: the model's inputs.
        usage: what is known of each before it is answered.
    """

    places: tuple[int, ...]
    tensors: Mapping[str, Tensor]
    generation: Generation
    usage: tuple[Usage, ...]


def alike(items: Sequence[Item], key: Callable[[Item], Hashable]) -> list[tuple[tuple[int, ...], list[Item]]]:
    """The items that share a key, with their places; as a rule all of them."""
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, item in enumerate(items):
        places[key(item)].append(place)
    return [(tuple(group), [items[place] for place in group]) for group in places.values()]


def left_pad(rows: Sequence[Tensor], value: int) -> Tensor:
    """[Q, L] of rows [1, l] of differing length, their ends aligned."""
    longest = max(row.shape[-1] for row in rows)
    return torch.cat([torch.nn.functional.pad(row, (longest - row.shape[-1], 0), value=value) for row in rows])


def stack(items: Sequence[Tensor]) -> Tensor:
    """Concatenated along the first dimension; the others padded with zeros at their ends to the largest."""
    sizes = [max(item.shape[axis] for item in items) for axis in range(1, items[0].dim())]
    padded = []
    for item in items:
        gaps = [size - have for size, have in zip(sizes, item.shape[1:], strict=True)]
        padded.append(torch.nn.functional.pad(item, [side for gap in reversed(gaps) for side in (0, gap)]))
    return torch.cat(padded)


def collate_tensors(rows: Sequence[Mapping[str, Tensor]], padding: int) -> dict[str, Tensor]:
    """One batch of requests that all have the same tensors: texts padded on the left, pictures stacked."""
    fill = {"input_ids": padding, **FILL}
    batch = {}
    for name in rows[0]:
        tensors = [row[name] for row in rows]
        batch[name] = left_pad(tensors, fill[name]) if name in fill else stack(tensors)
    return batch


def to_device(tensors: Mapping[str, Tensor], model: PreTrainedModel) -> dict[str, Tensor]:
    """The tensors where the model is; pixels in its precision."""
    return {
        name: tensor.to(model.device, model.dtype if tensor.is_floating_point() else None)
        for name, tensor in tensors.items()
    }


def restart_peak(device: torch.device) -> None:
    """Let `peak_bytes` begin at what the device holds now."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)


def peak_bytes(device: torch.device) -> int:
    """The most bytes that tensors held on the device at once since `restart_peak`; 0 where nothing counts them.

    On the CPU nothing does: a process's resident memory holds libraries, pictures that wait and what was freed but
    not given back, and never shrinks to what one batch needs.
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0


class BatchModel(ABC, Generic[Model]):
    """A model that answers group by group. See `LoadedModel`."""

    def __init__(self, model: Model) -> None:
        self._model: Model | None = model

    @torch.inference_mode()
    def generate(self, batch: Sequence[Group]) -> Sequence[Output | Failure]:
        """One output a request, in the batch's order."""
        assert self._model is not None, "the model was closed"
        outputs: dict[int, Output] = {}
        for group in batch:
            restart_peak(self._model.device)
            start = time.perf_counter()
            answered = self.answer(self._model, to_device(group.tensors, self._model), group)
            seconds = (time.perf_counter() - start) / len(answered)
            peak = peak_bytes(self._model.device)
            for place, output in zip(group.places, answered, strict=True):
                outputs[place] = replace(output, usage=replace(output.usage, seconds=seconds, peak_bytes=peak))
        return [outputs[place] for place in sorted(outputs)]

    @abstractmethod
    def answer(self, model: Model, tensors: dict[str, Tensor], group: Group) -> Sequence[Output]:
        """One output a request of the group, its tensors on the device; all computed when it returns."""

    def close(self) -> None:
        """Gives the weights back."""
        self._model = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
