"""What the hooks promise is there."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
from tests_support import ROOT

from harness import Benchmark, Entry
from plugins.benchmarks import register_benchmarks
from plugins.metrics import register_metrics

METRICS = {entry.name: entry for entry in register_metrics()}


def load(entry: Entry) -> Benchmark:
    module, _, attribute = entry.target.partition(":")
    benchmark: Benchmark = getattr(importlib.import_module(module), attribute)()
    return benchmark


@pytest.mark.parametrize("entry", register_benchmarks(), ids=lambda entry: entry.name)
def test_a_benchmark_is_what_its_info_says(entry: Entry) -> None:
    info = load(entry).info
    assert set(info.metrics) <= set(METRICS)
    assert METRICS[info.metrics[0]].name in ("vqa_accuracy", "gqa_accuracy", "cider", "chair", "pope")
    assert info.profiles == ("llava", "plain")
    assert "official" in info.protocols


def test_the_hooks_and_official_files_import_nothing_heavy() -> None:
    code = (
        "import sys, plugins.benchmarks, plugins.metrics, plugins.benchmarks.vqav2, plugins.benchmarks.gqa\n"
        "import plugins.benchmarks.nocaps\n"
        "print(sorted({'datasets', 'pandas', 'torch', 'pyarrow', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
