"""The embedded world: drawn scenes of simple objects, exported in the benchmarks' official file layouts."""

from __future__ import annotations

from .world import WorldSummary, build

__all__ = ["WorldSummary", "build"]
