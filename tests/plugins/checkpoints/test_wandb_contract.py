"""The W&B store does what each checkpoint store must do: the genuine SDK against a server on the loopback."""

from __future__ import annotations

from typing import ClassVar

from harness.testing.checkpoints import CheckpointStoreContract, make

__all__ = ["make"]


class TestWandbStore(CheckpointStoreContract):
    older_is_found_again: ClassVar[bool] = True
