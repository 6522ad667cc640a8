"""What tests of the training package share."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.microworld import build


@pytest.fixture(scope="session")
def small_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world of two dozen pictures."""
    return build(tmp_path_factory.mktemp("data") / "world", images=16, evaluation_images=8).path
