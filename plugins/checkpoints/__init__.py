"""Checkpoint stores beside the embedded one."""

from __future__ import annotations

from harness import Entry, hookimpl


@hookimpl
def register_checkpoint_stores() -> list[Entry]:
    return [
        Entry("wandb", "artifacts of Weights & Biases", "plugins.checkpoints.wandb:WandbStore", "vlm-harness[wandb]"),
    ]
