"""GQA accuracy: its two protocols, and what the official script gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from harness import Pair, UnknownName
from plugins.metrics.gqa import GqaAccuracy

MakePair = Callable[..., Pair]
Load = Callable[[str], Any]


@pytest.mark.parametrize(
    ("said", "official", "lmms"),
    [("t-shirt", 1, 1), ("T-shirt", 0, 1), ("tshirt", 0, 1), ("t-shirt.", 0, 1), ("shirt", 0, 0), ("t shirt", 0, 0)],
)
def test_protocols(pair: MakePair, said: str, official: float, lmms: float) -> None:
    assert GqaAccuracy().compute([pair(said, "t-shirt")], "official")["accuracy"].value == official
    assert GqaAccuracy().compute([pair(said, "t-shirt")], "lmms")["accuracy"].value == lmms


def test_only_balanced_questions_count(pair: MakePair) -> None:
    pairs = [pair("yes", "yes", facts={"isBalanced": True}), pair("yes", "no", facts={"isBalanced": False})]
    measured = GqaAccuracy().compute(pairs, "official")["accuracy"]
    assert measured.value == 1
    assert measured.per_sample is not None
    np.testing.assert_array_equal(measured.per_sample, [1, np.nan])


def test_an_unknown_protocol(pair: MakePair) -> None:
    with pytest.raises(UnknownName, match="unknown protocol 'official-2017'"):
        GqaAccuracy().compute([pair("yes", "yes")], "official-2017")


def test_real_answers(pair: MakePair, load: Load) -> None:
    questions = load("gqa_ood/questions.json.gz")
    answers = {row["questionId"]: row["prediction"] for row in load("gqa_ood/predictions.json.gz")}
    pairs = [
        pair(answers[key], row["answer"], facts={"types": row["types"], "isBalanced": row["isBalanced"]})
        for key, row in questions.items()
    ]
    official = load("gqa_ood/official_scores.json")
    measured = GqaAccuracy().compute(pairs, "official")["accuracy"]
    assert measured.value is not None
    assert measured.per_sample is not None
    assert 100 * measured.value == official["accuracy"] == 58.798283261802574
    for breakdown in ("structural", "semantic"):
        keys = np.array(measured.labels[breakdown])
        for key, (value, count) in official[f"accuracyPer{breakdown.capitalize()}Type"].items():
            assert 100 * measured.per_sample[keys == key].mean() == pytest.approx(value, abs=1e-9)
            assert (keys == key).sum() == count
