"""What flows through the harness: it can be sent to other processes, and what a dataset shares is known by content."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness import Failure, FileImage, Json, Output, Pair, Prediction, Sample, Trace, Usage
from harness.encoding import DataDigest, encode_sample
from harness.types import NOTHING

SAMPLE = Sample("q", (FileImage(Path("a.jpg")),), "What?", ("yes",), "g", {"kind": "x"})
OUTPUT = Output("yes", Usage(1, 2, 3, 4, 0.5, 6), Trace({"relevance": [[0.5]]}, {"words": 3.0}))


@pytest.mark.parametrize("through", [lambda item: pickle.loads(pickle.dumps(item)), copy.copy, copy.deepcopy])
@pytest.mark.parametrize(
    "item",
    [
        SAMPLE,
        Sample("q", (), "", (), "g", shared={"synonyms": [["cat", "kitten"]]}),
        OUTPUT,
        Output(""),
        Usage(),
        Pair(SAMPLE, "yes", OUTPUT),
        Prediction(3, "q", OUTPUT),
        Prediction(3, "q", Failure("busy", "no device")),
    ],
)
def test_structs_can_be_copied_and_sent_to_other_processes(item: Any, through: Callable[[Any], Any]) -> None:
    there = through(item)
    assert there == item
    assert type(there) is type(item)
    if isinstance(item, Sample) and not item.shared:
        assert there.shared is NOTHING


def test_nothing_stays_nothing() -> None:
    assert NOTHING == {} == NOTHING != {"a": 1}
    assert (len(NOTHING), list(NOTHING), NOTHING.get("a", 1), repr(NOTHING)) == (0, [], 1, "{}")
    with pytest.raises(TypeError):
        NOTHING["a"] = 1  # type: ignore[index]
    with pytest.raises(KeyError):
        NOTHING["a"]


def digest(*shared: Mapping[str, Json]) -> str:
    made = DataDigest()
    for number, mapping in enumerate(shared):
        sample = Sample(f"q{number}", (), "", (), "", shared=mapping)
        made.add(sample, encode_sample(sample))
    return made.hexdigest()


def test_the_datas_digest_knows_what_is_shared_by_its_content() -> None:
    one = {"synonyms": [["cat", "kitten"]]}
    assert digest(one, one, one) == digest(one, copy.deepcopy(one), copy.deepcopy(one))
    assert digest(NOTHING, NOTHING) == digest({}, {}) == digest({}, NOTHING)
    assert len({digest(one, one), digest({}, {}), digest({"synonyms": []}, {"synonyms": []}), digest(one, {})}) == 4
