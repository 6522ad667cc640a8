"""A model that is in memory, as a `ModelSpec`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from harness import LoadedModel, Preparer


@dataclass(frozen=True, slots=True)
class LiveSpec:
    """See `ModelSpec`; `model` gives the model as one that is loaded, wherever it is."""

    prepares: Preparer
    model: Callable[[], LoadedModel]
    fingerprint: str = "live"
    version: str | None = None
    digest: str | None = None

    def preparer(self) -> Preparer:
        """The processor, ready for several threads."""
        return self.prepares

    def load(self, device: str) -> LoadedModel:
        """The model where it is, whatever the device."""
        return self.model()
