"""POPE: what an answer says, the shares by definition, and what the original gave on real answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests_support import ROOT

from harness import Measured, Output, Pair, Sample, UnknownName
from plugins.metrics.pope import Pope

MakePair = Callable[..., Pair]
YES, NO = "yes", "no"


def compute(pairs: Sequence[Pair], protocol: str = "official") -> Mapping[str, Measured]:
    return Pope().compute(pairs, protocol)


def values(measured: Mapping[str, Measured]) -> dict[str, float | None]:
    return {name: item.value for name, item in measured.items()}


@pytest.mark.parametrize(
    ("answer", "official", "lmms"),
    [
        ("Yes", YES, YES),
        ("No", NO, NO),
        ("no", NO, NO),
        (" NO\n", YES, NO),  # split at spaces, "NO\n" is none of No, not and no
        ("NO", YES, NO),
        ("No.", NO, None),
        ("No, there is none.", NO, None),
        ("There is not. Yes.", NO, None),
        ("Yes. There is no doubt.", YES, None),
        ("There isn't", YES, None),
        ("Nothing", YES, None),
        ("no\nyes", YES, None),
        ("n,o", NO, None),
        (".no", YES, None),
        ("", YES, None),
    ],
)
def test_how_an_answer_is_read(pair: MakePair, answer: str, official: str, lmms: str | None) -> None:
    """An object that is there: recall is 1 where the answer was read as yes, 0 as no, and none as neither."""
    for protocol, read in (("official", official), ("lmms", lmms)):
        measured = compute([pair(answer, "yes")], protocol)
        assert measured["recall"].value == {YES: 1, NO: 0, None: None}[read], protocol
        assert measured["accuracy"].value == float(read == YES)


@given(st.lists(st.tuples(st.sampled_from(["Yes", "No", "maybe"]), st.sampled_from([YES, NO])), min_size=1))
def test_the_definition(answers: list[tuple[str, str]]) -> None:
    """Against counts, as lmms-eval makes them: an answer that is neither counts as wrong alone."""
    pairs = [
        Pair(Sample(str(n), (), "", (label,), str(n)), said, Output(said)) for n, (said, label) in enumerate(answers)
    ]
    cases = [(said.lower(), label) for said, label in answers]
    tp, fp, tn, fn = (cases.count(case) for case in ((YES, YES), (YES, NO), (NO, NO), (NO, YES)))
    absent = sum(label == NO for _, label in cases)

    def share(part: int, whole: int) -> float | None:
        return part / whole if whole else None

    measured = compute(pairs, "lmms")
    assert values(measured) == {
        "accuracy": (tp + tn) / len(cases),
        "precision": share(tp, tp + fp),
        "recall": share(tp, tp + fn),
        "f1": pytest.approx(2 * tp / (2 * tp + fp + fn)) if tp + fp + fn else None,
        "yes_rate": (tp + fp) / len(cases),
        "hallucination_rate": share(fp, absent),
    }


def test_nothing_to_measure(pair: MakePair) -> None:
    assert set(values(compute([])).values()) == {None}
    assert set(values(compute([pair("yes", "two"), pair("yes")])).values()) == {None}
    never = compute([pair("No", "yes"), pair("No", "no")])
    assert values(never) == {
        "accuracy": 0.5, "precision": None, "recall": 0, "f1": 0, "yes_rate": 0, "hallucination_rate": 0
    }  # fmt: skip
    item = never["f1"]
    assert item.reduce is not None
    np.testing.assert_array_equal(item.reduce(np.array([[0.0, 0, 0], [0, 2, 0], [1, 1, 0]])), [np.nan, 0, 2 / 3])


def test_a_long_answer_costs_no_more_than_itself(pair: MakePair) -> None:
    pairs = [pair("maybe " * 200_000, "no"), *(pair("Yes", "yes") for _ in range(5_000))]
    assert compute(pairs, "lmms")["accuracy"].value == 5_000 / 5_001


def test_breakdown_and_samples(pair: MakePair) -> None:
    pairs = [pair("Yes", "no", facts={"category": "popular"}), pair("Yes", "yes", facts={"category": "random"})]
    measured = compute([*pairs, pair("No", "maybe")])
    for item in measured.values():
        assert item.labels == {"category": ["popular", "random", None]}
    np.testing.assert_array_equal(np.asarray(measured["accuracy"].per_sample), [0, 1, np.nan])
    np.testing.assert_array_equal(np.asarray(measured["hallucination_rate"].per_sample), [1, np.nan, np.nan])
    assert compute([pair("No", "no")])["accuracy"].labels == {}


def test_an_unknown_protocol(pair: MakePair) -> None:
    with pytest.raises(UnknownName, match=r"unknown protocol 'offical' \(did you mean 'official'"):
        compute([pair("a", "a")], "offical")


@pytest.mark.parametrize(
    ("category", "counts", "accuracy", "f1"),
    [
        ("random", (1182, 31, 1379, 318), 0.8800687285223368, 0.8713601179506082),
        ("popular", (1182, 59, 1441, 318), 0.8743333333333333, 0.8624589565851879),
        ("adversarial", (1182, 117, 1383, 318), 0.855, 0.8445873526259379),
    ],
)
@pytest.mark.usefixtures("load")  # which skips where the data is absent
def test_real_answers(
    pair: MakePair, category: str, counts: tuple[int, int, int, int], accuracy: float, f1: float
) -> None:
    folder = ROOT.parent / "shared" / "data" / "pope"

    def lines(name: str) -> list[Any]:
        return [json.loads(line) for line in (folder / name).read_text().splitlines()]

    asked = lines("llava_pope_test.jsonl")
    said = [row["text"] for row, question in zip(lines("llava-v1.5-13b.answers.jsonl"), asked, strict=True)
            if question["category"] == category]  # fmt: skip
    labels = [row["label"] for row in lines(f"coco_pope_{category}.json")]
    tp, fp, tn, fn = counts
    for protocol in ("official", "lmms"):
        measured = compute([pair(answer, label) for answer, label in zip(said, labels, strict=True)], protocol)
        assert values(measured) == {
            "accuracy": accuracy,
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "f1": f1,
            "yes_rate": (tp + fp) / len(labels),
            "hallucination_rate": fp / (fp + tn),
        }
        item = measured["f1"]
        assert item.reduce is not None
        assert item.statistics is not None
        assert item.reduce(item.statistics.sum(axis=0)) == f1
        assert math.isclose(float(np.nanmean(np.asarray(measured["recall"].per_sample))), tp / (tp + fn))
