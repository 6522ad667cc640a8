"""What a batch cost: time, and memory where the device counts it."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import Generation, Output, Usage
from plugins.models.batching import BatchModel, Group, peak_bytes, restart_peak


class Allocator:
    """A device's allocator as torch.cuda reports it: what is held, and the most since the last reset."""

    def __init__(self, weights: int) -> None:
        self.held = self.most = weights

    def hold(self, size: int) -> None:
        self.held += size
        self.most = max(self.most, self.held)

    def reset_peak_memory_stats(self, device: torch.device) -> None:
        self.most = self.held

    def max_memory_allocated(self, device: torch.device) -> int:
        return self.most


class Holding(BatchModel[Any]):
    """Holds ten bytes a request while it answers."""

    def __init__(self, model: Any, allocator: Allocator) -> None:
        super().__init__(model)
        self.allocator = allocator

    def answer(self, model: Any, tensors: dict[str, Tensor], group: Group) -> Sequence[Output]:
        size = 10 * len(group.places)
        self.allocator.hold(size)
        self.allocator.hold(-size)
        return [Output("yes", usage) for usage in group.usage]


def group(*places: int) -> Group:
    return Group(places, {}, Generation(1), tuple(Usage(prompt_tokens=place) for place in places))


@pytest.fixture
def allocator(monkeypatch: pytest.MonkeyPatch) -> Allocator:
    allocator = Allocator(weights=100)
    for name in ("reset_peak_memory_stats", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, getattr(allocator, name))
    return allocator


def test_each_group_has_its_own_peak_with_the_weights(allocator: Allocator) -> None:
    model = Holding(SimpleNamespace(device=torch.device("cuda"), dtype=torch.float32), allocator)
    outputs = model.generate([group(0, 2, 3), group(1)])
    assert [output.usage.prompt_tokens for output in outputs] == [0, 1, 2, 3]
    assert [output.usage.peak_bytes for output in outputs] == [130, 110, 130, 130]
    assert all(output.usage.seconds > 0 for output in outputs)


def test_nothing_counts_the_memory_of_the_cpu(allocator: Allocator) -> None:
    model = Holding(SimpleNamespace(device=torch.device("cpu"), dtype=torch.float32), allocator)
    assert [output.usage.peak_bytes for output in model.generate([group(0, 1)])] == [0, 0]
    assert allocator.most == 120  # and nobody reset it


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_counts_what_was_held() -> None:
    device = torch.device("cuda")
    restart_peak(device)
    before = peak_bytes(device)
    held = torch.empty(1 << 20, dtype=torch.uint8, device=device)
    del held
    assert peak_bytes(device) - before == 1 << 20
