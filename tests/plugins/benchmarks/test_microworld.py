"""The embedded world is read as the real data is: by the same readers, from the official layouts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from harness import Benchmark, DataSource, Sample, decode
from plugins.benchmarks.coco_captions import coco_captions
from plugins.benchmarks.gqa import Gqa
from plugins.benchmarks.nocaps import nocaps
from plugins.benchmarks.okvqa import okvqa
from plugins.benchmarks.vqav2 import vqav2
from training.microworld import build


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("microworld") / "world"
    build(out, images=8, evaluation_images=20, seed=1)
    return out


def read(benchmark: Benchmark, folder: Path, split: str | None = None) -> list[Sample]:
    samples = list(benchmark.samples(DataSource(path=folder, split=split)))
    assert samples
    assert all(decode(image).size == (128, 128) for sample in samples for image in sample.images)
    return samples


@pytest.mark.parametrize(
    ("name", "benchmark", "references"),
    [("vqav2", vqav2(), 10), ("gqa", Gqa(), 1), ("okvqa", okvqa(), 10), ("coco_captions", coco_captions(), 5)],
)
def test_both_splits(world: Path, name: str, benchmark: Benchmark, references: int) -> None:
    train, held_out = read(benchmark, world / name, "train"), read(benchmark, world / name)
    assert {len(sample.references) for sample in train + held_out} == {references}
    assert not {sample.group for sample in train} & {sample.group for sample in held_out}


def test_domains(world: Path) -> None:
    samples = read(nocaps(), world / "nocaps")
    assert {len(sample.references) for sample in samples} == {10}
    assert set(Counter(sample.facts["domain"] for sample in samples)) == {"in-domain", "near-domain", "out-domain"}
