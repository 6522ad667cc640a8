"""Pairs of samples and answers, and the reference data where a checkout has it beside it."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from tests_support import ROOT

from harness import Output, Pair, Sample, Usage

MakePair = Callable[..., Pair]
Load = Callable[[str], Any]


@pytest.fixture
def pair() -> MakePair:
    def make(
        answer: str,
        *references: str,
        facts: Mapping[str, Any] | None = None,
        usage: Usage | None = None,
        id: str = "1",
    ) -> Pair:
        sample = Sample(id, (), "", references, id, facts or {})
        return Pair(sample, answer, Output(answer, usage or Usage()))

    return make


@pytest.fixture
def load() -> Load:
    """Read a document of the reference data."""
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not at {folder}")

    def read(name: str) -> Any:
        content = (folder / name).read_bytes()
        return json.loads(gzip.decompress(content) if name.endswith(".gz") else content)

    return read


@pytest.fixture
def java() -> None:
    if shutil.which("java") is None:
        pytest.skip("there is no java on the PATH")
