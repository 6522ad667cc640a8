# mypy: allow-untyped-calls
# Storages carry no annotations.

"""What lives in memory, by what it is for, and the most of it that ever lived at once."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from training.estimate.imagining import tensors_of

Part: TypeAlias = Literal["weights", "gradients", "optimizer", "activations", "kv_cache", "data"]
DEVICE = torch.ops.prim.device.default
PARTS: tuple[Part, ...] = ("weights", "gradients", "optimizer", "activations", "kv_cache", "data")


class Ledger(TorchDispatchMode):
    """While it is entered, every storage that an operator makes is counted until it is freed; fake ones too.

    What an operator needs inside itself and gives back is not seen.

    Attributes:
        live: bytes by part, now.
        peak: the same at the moment when there were most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.live: Counter[Part] = Counter()
        self.peak: Counter[Part] = Counter()
        self._part: Part = "activations"
        self._known: dict[int, tuple[weakref.ref[Any], Part, int]] = {}

    def hold(self, part: Part, tensors: Any) -> None:
        """Counts tensors (of any nested structure) as that part, whatever they were counted as."""
        for tensor in tree_leaves(tensors):
            if isinstance(tensor, Tensor):
                self._count(tensor, part, move=True)

    @contextmanager
    def making(self, part: Part) -> Iterator[None]:
        """What is made inside is counted as that part."""
        before, self._part = self._part, part
        try:
            yield
        finally:
            self._part = before

    def begin(self) -> None:
        """Forgets the peak so far."""
        self.peak = self.live.copy()

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """One operator."""
        if func is DEVICE and isinstance(args[0], FakeTensor):  # asked for more often than all that is computed
            return args[0].fake_device
        if torch.is_inference_mode_enabled() and func.namespace == "aten":  # those that are made of others come whole
            with self:
                parts = func.decompose(*args, **(kwargs or {}))
            if parts is not NotImplemented:
                return parts
        result = func(*args, **(kwargs or {}))
        for output in tensors_of(result):
            self._count(output, self._part)
        return result

    def _count(self, tensor: Tensor, part: Part, move: bool = False) -> None:
        if tensor.layout is not torch.strided:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._known:
            if move:
                reference, before, size = self._known[key]
                self._known[key] = reference, part, size
                self.live[before] -= size
                self.live[part] += size
            return
        size = storage.nbytes()
        self._known[key] = weakref.ref(storage, lambda _: self._free(key)), part, size
        self.live[part] += size
        if self.live.total() > self.peak.total():
            self.peak = self.live.copy()

    def _free(self, key: int) -> None:
        _, part, size = self._known.pop(key)
        self.live[part] -= size
