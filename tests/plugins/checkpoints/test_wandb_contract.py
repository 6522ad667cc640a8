"""The W&B store does what each checkpoint store must do: the genuine SDK against a server on the loopback."""

from __future__ import annotations

from typing import ClassVar

import pytest

pytest.register_assert_rewrite("tests.harness.checkpoint_store_contract")
from tests.harness.checkpoint_store_contract import CheckpointStoreContract, make  # noqa: E402

__all__ = ["make"]


class TestWandbStore(CheckpointStoreContract):
    older_is_found_again: ClassVar[bool] = True
