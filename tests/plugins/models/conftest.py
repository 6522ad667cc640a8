"""Tiny models and pictures for the model plugins' tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from harness import FileImage
from tests.tiny_models import make_tiny_arr_coc, make_tiny_idefics3, make_tiny_llava

PHOTOGRAPHS = Path(__file__).parents[4] / "shared" / "data" / "okvqa_real" / "val2014"


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    """Tiny models are slower on several."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_llava(tmp_path_factory.mktemp("models") / "llava")


@pytest.fixture(scope="session")
def tiny_idefics3(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_idefics3(tmp_path_factory.mktemp("models") / "idefics3")


@pytest.fixture(scope="session")
def tiny_arr_coc(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_arr_coc(tmp_path_factory.mktemp("models") / "arr_coc")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Sequence[FileImage]:
    """Eight pictures of different shapes; a wide one has fewer tiles than the others."""
    folder = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    sizes = [(60, 80), (80, 60), (64, 64), (30, 120), (120, 30), (48, 64), (100, 100), (31, 33)]
    refs = []
    for index, (height, width) in enumerate(sizes):
        coarse = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
        path = folder / f"{index}.png"
        Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC).save(path)
        refs.append(FileImage(path))
    return refs


@pytest.fixture(scope="session")
def photographs() -> Sequence[FileImage]:
    """Real photographs."""
    paths = sorted(PHOTOGRAPHS.glob("*.jpg"))
    if not paths:
        pytest.skip(f"the reference data is not at {PHOTOGRAPHS}")
    return [FileImage(path) for path in paths]
