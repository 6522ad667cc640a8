"""Who is told of runs and verdicts."""

from __future__ import annotations

from harness import Entry, hookimpl


@hookimpl
def register_trackers() -> list[Entry]:
    return [
        Entry(
            "wandb",
            "Weights & Biases: scores, samples with pictures and heatmaps, verdicts",
            "plugins.trackers.wandb:WandbTracker",
            extra="vlm-harness[wandb]",
        )
    ]
