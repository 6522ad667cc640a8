"""GQA's scores: what the official script gave, its definitions spelt out, and its oddities."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_support import ROOT

from harness import DataError, DataSource, Measured, Metric, Output, Pair, Sample, Trace, UnknownName
from plugins.benchmarks.gqa import Gqa
from plugins.metrics.gqa import GqaAccuracy
from plugins.metrics.gqa_companions import PARTS, GqaCompanions
from plugins.metrics.gqa_grounding import GqaGrounding

METRICS: tuple[Metric, ...] = (GqaAccuracy(), GqaCompanions(), GqaGrounding())
Grid = list[list[float]]


def pair(
    said: str,
    gold: str,
    *,
    id: str = "1",
    image: str = "n1",
    question: str = "",
    shared: Mapping[str, Any] | None = None,
    maps: Mapping[str, Grid] | None = None,
    **facts: Any,
) -> Pair:
    sample = Sample(id, (), question, (gold,), image, facts, shared or {})
    return Pair(sample, said, Output(said, trace=None if maps is None else Trace(maps)))


# ---------------------------------------------------------------- the official figures


def measured_on(folder: Path) -> dict[str, Measured]:
    data = DataSource(path=folder)
    outputs = dict(Gqa().results([folder / "predictions.json.gz", folder / "attentions.json.gz"], data))
    pairs = [Pair(sample, outputs[sample.id].text, outputs[sample.id]) for sample in Gqa().samples(data)]
    assert len(pairs) == 2796
    return {name: item for metric in METRICS for name, item in metric.compute(pairs, "official").items()}


def test_every_official_score(load: Callable[[str], Any]) -> None:
    official = load("gqa_ood/official_scores.json")
    measured = measured_on(ROOT.parent / "shared" / "data" / "gqa_ood")
    breakdowns = {key: official.pop(key) for key in list(official) if key.startswith("accuracyPer")}
    assert set(official) == set(measured)
    for name, value in official.items():
        scale = 1 if name == "distribution" else 100
        assert measured[name].value * scale == pytest.approx(value, abs=1e-9, rel=0), name
    accuracy = measured["accuracy"]
    assert set(breakdowns) == {f"accuracyPer{kind}" for kind in ("StructuralType", "SemanticType", "Length", "Steps")}
    for name, scores in breakdowns.items():
        labels = accuracy.labels[name.removeprefix("accuracyPer").removesuffix("Type").lower()]
        assert Counter(labels) == {key: count for key, (_, count) in scores.items()}
        keys = np.array(labels)
        for key, (value, _) in scores.items():
            assert 100 * accuracy.per_sample[keys == key].mean() == pytest.approx(value, abs=1e-9, rel=0)


# ---------------------------------------------------------------- accuracy


@pytest.mark.parametrize(
    ("said", "strictly", "loosely"),
    [
        ("t-shirt", 1, 1),
        ("T-shirt", 0, 1),
        ("tshirt", 0, 1),
        ("t-shirt.", 0, 1),
        (" t-shirt\n", 0, 1),
        ("t-shirt .", 0, 0),
        ("shirt", 0, 0),
        ("t shirt", 0, 0),
        ("", 0, 0),
    ],
)
def test_protocols(said: str, strictly: float, loosely: float) -> None:
    assert GqaAccuracy().compute([pair(said, "t-shirt")], "official")["accuracy"].value == strictly
    assert GqaAccuracy().compute([pair(said, "t-shirt")], "lmms")["accuracy"].value == loosely


def test_only_balanced_questions_count() -> None:
    pairs = [pair("yes", "yes", isBalanced=True), pair("yes", "no", isBalanced=False)]
    measured = GqaAccuracy().compute(pairs, "official")["accuracy"]
    assert measured.value == 1
    assert measured.per_sample is not None
    np.testing.assert_array_equal(measured.per_sample, [1, np.nan])


def test_open_questions_are_queries_and_all_others_are_binary() -> None:
    kinds = {"query": "a", "choose": "a", "verify": "b"}
    pairs = [pair(said, "a", types={"structural": kind}) for kind, said in kinds.items()]
    measured = GqaAccuracy().compute(pairs, "official")
    assert {name: item.value for name, item in measured.items()} == {"accuracy": 2 / 3, "binary": 0.5, "open": 1}
    assert GqaAccuracy().compute(pairs[:1], "official")["binary"].value is None


def test_breakdowns() -> None:
    types = {"structural": "query", "semantic": "rel", "detailed": "relS"}
    measured = GqaAccuracy().compute([pair("a", "b", question="Who  is\nit ?", types=types, steps=3)], "official")
    assert measured["accuracy"].labels == {
        "structural": ["query"],
        "semantic": ["rel"],
        "detailed": ["relS"],
        "length": ["4"],
        "steps": ["3"],
    }
    assert set(GqaAccuracy().compute([pair("a", "b")], "official")["accuracy"].labels) == {"length"}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: type(metric).__name__)
def test_an_unknown_protocol_and_nothing_to_score(metric: Metric) -> None:
    with pytest.raises(UnknownName, match="unknown protocol 'official-2017'"):
        metric.compute([pair("yes", "yes")], "official-2017")
    measured = metric.compute([], "official")
    assert set(measured) == set(metric.info)
    assert all(item.value is None for item in measured.values())


# ---------------------------------------------------------------- consistency

IDS = [str(n) for n in range(8)]
ASKED = st.fixed_dictionaries(
    {"right": st.booleans(), "isBalanced": st.booleans(), "entailed": st.lists(st.sampled_from([*IDS, "gone"]))}
)


@given(st.lists(ASKED, min_size=1, max_size=len(IDS)))
def test_consistency_is_the_mean_share_of_right_entailed_answers(asked: Sequence[Mapping[str, Any]]) -> None:
    questions = dict(zip(IDS, asked, strict=False))
    pairs = [
        pair("a" if row["right"] else "b", "a", id=key, isBalanced=row["isBalanced"], entailed=row["entailed"])
        for key, row in questions.items()
    ]
    shares: list[float] = []
    missing = 0
    for key, row in questions.items():
        if row["right"] and row["isBalanced"]:
            others = [name for name in row["entailed"] if name != key]
            answers = [questions[name]["right"] for name in others if name in questions]
            missing += len(others) - len(answers)
            if answers:
                shares.append(sum(answers) / len(answers))
    measured = GqaCompanions().compute(pairs, "official")["consistency"]
    assert measured.value == (pytest.approx(sum(shares) / len(shares)) if shares else None)
    assert (f"{missing} of" in measured.incomparable) if missing else not measured.incomparable


def test_entailed_questions_may_be_unbalanced_and_those_not_asked_are_told_of() -> None:
    pairs = [
        pair("a", "a", id="1", entailed=["1", "2", "3"]),
        pair("b", "a", id="2", isBalanced=False, entailed=["1"]),
        pair("b", "a", id="4", entailed=["1"]),
    ]
    measured = GqaCompanions().compute(pairs, "official")["consistency"]
    assert measured.value == 0
    assert measured.per_sample is not None
    np.testing.assert_array_equal(measured.per_sample, [0, np.nan, np.nan])
    assert measured.incomparable.startswith("1 of 2 entailed questions were not asked")


# ---------------------------------------------------------------- validity and plausibility

CHOICES: Mapping[str, Any] = {"choices": [["red", "T-shirt"], ["red"]]}


@pytest.mark.parametrize(
    ("said", "protocol", "detailed", "valid", "plausible"),
    [
        ("red", "official", "query", 1, 1),
        ("T-shirt", "official", "query", 1, 0),
        ("tshirt", "official", "query", 0, 0),
        ("tshirt.", "lmms", "query", 1, 0),
        ("red", "official", "compareCommon", 0, 0),
        ("shape", "official", "compareCommon", 1, 1),
        ("Shape", "lmms", "compareCommon", 1, 1),
    ],
)
def test_fitting_answers(said: str, protocol: str, detailed: str, valid: float, plausible: float) -> None:
    asked = pair(said, "red", shared=CHOICES, valid=0, plausible=1, types={"detailed": detailed})
    measured = GqaCompanions().compute([asked], protocol)
    assert (measured["validity"].value, measured["plausibility"].value) == (valid, plausible)


def test_fitting_answers_that_are_unknown() -> None:
    pairs = [
        pair("red", "red", shared=CHOICES, valid=0, plausible=1),
        pair("red", "red", shared=CHOICES),
        pair("red", "red", shared=CHOICES, valid=0, plausible=1, isBalanced=False),
    ]
    measured = GqaCompanions().compute(pairs, "official")["validity"]
    assert measured.per_sample is not None
    np.testing.assert_array_equal(measured.per_sample, [1, np.nan, np.nan])
    without = GqaCompanions().compute([pair("red", "red")], "official")
    assert without["validity"].value is without["plausibility"].value is None


# ---------------------------------------------------------------- distribution

Spread = Sequence[tuple[str | None, str, str]]  # group, right answer, given answer
WORDS = st.sampled_from("abcd")
SPREAD = st.lists(st.tuples(st.sampled_from(["x", "y", None]), WORDS, WORDS), max_size=30)


def chi_square(rows: Spread) -> float | None:
    """The definition, group by group and answer by answer."""
    gold: dict[str, Counter[str]] = defaultdict(Counter)
    said: dict[str, Counter[str]] = defaultdict(Counter)
    for group, right, given_ in rows:
        if group is not None:
            gold[group][right] += 1
            said[group][given_] += 1
    total = sum(sum(counts.values()) for counts in gold.values())
    if not total:
        return None
    weighted = (
        sum(counts.values()) * sum((said[group][word] - count) ** 2 / count for word, count in counts.items())
        for group, counts in gold.items()
    )
    return sum(weighted) / total / 100


@given(SPREAD)
def test_distribution_and_its_jackknife(rows: Spread) -> None:
    """Every picture has one question, and so is a part of its own."""
    pairs = [pair(said, gold, id=str(n), image=str(n), group=group) for n, (group, gold, said) in enumerate(rows)]
    measured = GqaCompanions().compute([*pairs, pair("z", "a", isBalanced=False, group="x")], "official")
    value = chi_square(rows)
    assert measured["distribution"].value == (None if value is None else pytest.approx(value, abs=1e-12))
    counted = [row for row in rows if row[0] is not None]
    replicates = measured["distribution"].replicates
    if len(counted) < 2:
        assert replicates is None
        return
    assert replicates is not None
    without = [chi_square([*counted[:n], *counted[n + 1 :]]) for n in range(len(counted))]
    np.testing.assert_allclose(np.sort(replicates), np.sort(np.array(without, np.float64)), rtol=0, atol=1e-12)


def test_the_jackknife_leaves_out_whole_pictures() -> None:
    rows = [(f"n{n % 120}", "ab"[n % 2], "ab"[n % 3 == 0]) for n in range(360)]
    pairs = [pair(said, gold, id=str(n), image=image, group="x") for n, (image, gold, said) in enumerate(rows)]
    replicates = GqaCompanions().compute(pairs, "official")["distribution"].replicates
    assert replicates is not None
    without = [
        chi_square([("x", gold, said) for image, gold, said in rows if int(image[1:]) % PARTS != part])
        for part in range(PARTS)
    ]
    np.testing.assert_allclose(replicates, np.array(without, np.float64), rtol=0, atol=1e-12)


def test_distribution_under_lmms_counts_rewritten_answers() -> None:
    pairs = [pair("Red.", "red", group="x"), pair("red", "red", group="x")]
    assert GqaCompanions().compute(pairs, "lmms")["distribution"].value == 0
    assert GqaCompanions().compute(pairs, "official")["distribution"].value == 0.5 / 100


# ---------------------------------------------------------------- grounding

SHARE = st.floats(0, 1, allow_subnormal=False)
BOX = st.tuples(*[st.integers(0, 90)] * 2, *[st.integers(0, 60)] * 2)
SCENE_SIZE = [100, 120]


def looking(maps: Mapping[str, Grid], boxes: Sequence[Sequence[int]], **facts: Any) -> Pair:
    """A question that points to these boxes of a picture, one after the other."""
    names = [str(n) for n in range(len(boxes))]
    scenes = {"n1": {"size": SCENE_SIZE, "boxes": dict(zip(names, map(list, boxes), strict=True))}}
    return pair("a", "b", shared={"scenes": scenes}, maps=maps, **{"objects": names, **facts})


def in_region(cell: Sequence[float], box: Sequence[int]) -> float:
    """The share of a cell (x0, y0, x1, y1) that a box (x, y, w, h, in pixels) covers."""
    width, height = SCENE_SIZE
    x0, y0, x1, y1 = box[0] / width, box[1] / height, (box[0] + box[2]) / width, (box[1] + box[3]) / height
    across = max(0.0, min(cell[2], x1) - max(cell[0], x0))
    down = max(0.0, min(cell[3], y1) - max(cell[1], y0))
    return across * down / ((cell[2] - cell[0]) * (cell[3] - cell[1]))


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    rows, columns = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    return draw(st.lists(st.lists(SHARE, min_size=columns, max_size=columns), min_size=rows, max_size=rows))


@settings(max_examples=60)
@given(st.lists(st.tuples(grids(), st.lists(BOX, max_size=3)), min_size=1, max_size=4))
def test_grounding_is_the_attention_in_each_region(asked: Sequence[tuple[Grid, list[Any]]]) -> None:
    expected = [
        sum(
            weight * in_region((x / len(row), y / len(grid), (x + 1) / len(row), (y + 1) / len(grid)), box)
            for box in boxes
            for y, row in enumerate(grid)
            for x, weight in enumerate(row)
        )
        for grid, boxes in asked
    ]
    measured = GqaGrounding().compute([looking({"attention": grid}, boxes) for grid, boxes in asked], "official")
    np.testing.assert_allclose(np.array(measured["grounding"].per_sample), expected, rtol=0, atol=1e-9)


@st.composite
def attended(draw: st.DrawFn) -> list[float]:
    x0, y0 = draw(st.floats(0, 0.8)), draw(st.floats(0, 0.8))
    width, height = draw(st.floats(0.01, 0.2)), draw(st.floats(0.01, 0.2))
    return [x0, y0, x0 + width, y0 + height, draw(SHARE)]


@settings(max_examples=60)
@given(st.lists(st.tuples(st.lists(attended(), max_size=4), st.lists(BOX, max_size=3)), min_size=1, max_size=4))
def test_grounding_of_attention_over_boxes(asked: Sequence[tuple[Grid, list[Any]]]) -> None:
    expected = [sum(weight * in_region(cell, box) for box in boxes for *cell, weight in rows) for rows, boxes in asked]
    measured = GqaGrounding().compute([looking({"attention_boxes": rows}, boxes) for rows, boxes in asked], "official")
    np.testing.assert_allclose(np.array(measured["grounding"].per_sample), expected, rtol=0, atol=1e-9)


LEFT, WHOLE = (0, 0, 50, 120), (0, 0, 100, 120)


def grounding(*pairs: Pair, map: str = "attention") -> Measured:
    return GqaGrounding(map).compute(pairs, "lmms")["grounding"]


def test_rows_run_from_the_top_and_overlaps_count_twice() -> None:
    grid = {"attention": [[0.3, 0.1], [0.4, 0.2]]}
    assert grounding(looking(grid, [LEFT])).value == pytest.approx(0.7)
    assert grounding(looking(grid, [LEFT, LEFT, WHOLE])).value == pytest.approx(2.4)
    assert grounding(looking(grid, [LEFT], objects=["0", "0"])).value == pytest.approx(1.4)
    assert grounding(looking(grid, [LEFT], objects=[])).value == 0


def test_questions_without_a_grounding() -> None:
    grid = {"attention": [[1.0]]}
    pairs = [
        looking(grid, [WHOLE]),
        looking(grid, [LEFT], isBalanced=False),
        pair("a", "b", maps=grid, objects=["0"]),
        pair("a", "b", maps=grid, shared={"scenes": {"n2": {}}}, objects=["0"]),
        pair("a", "b", maps=grid, shared=looking(grid, [WHOLE]).sample.shared),
        pair("a", "b", shared=looking(grid, [WHOLE]).sample.shared, objects=["0"]),
    ]
    measured = grounding(*pairs)
    assert measured.value == 1
    assert np.isfinite(np.array(measured.per_sample)).tolist() == [True, *[False] * 5]
    assert grounding(*pairs[1:]).value is None
    assert grounding(looking({"relevance": [[1.0]]}, [WHOLE])).value is None


def test_a_models_own_map_becomes_a_distribution() -> None:
    standardised = {"relevance": [[1.0, -1.0], [1.0, -1.0]]}
    share = np.exp(1) / (np.exp(1) + np.exp(-1))
    assert grounding(looking(standardised, [LEFT]), map="relevance").value == pytest.approx(share)
    shifted = {"relevance": [[1001.0, -999.0], [1001.0, -999.0]]}
    assert grounding(looking(shifted, [LEFT]), map="relevance").value == pytest.approx(1)
    assert grounding(looking({"budget": [[48.0, 16.0]]}, [LEFT]), map="budget").value == pytest.approx(0.75)
    assert grounding(looking({"budget": [[0.0, 0.0]]}, [LEFT]), map="budget").value is None
    # Attention is what an official file says, whatever it sums to.
    assert grounding(looking({"attention": [[48.0, -16.0]]}, [WHOLE])).value == pytest.approx(32)


def test_maps_that_cannot_be_used() -> None:
    with pytest.raises(UnknownName, match=r"unknown map in the answers' traces 'relevence' .*'relevance'"):
        grounding(looking({"relevance": [[1.0]]}, [WHOLE]), map="relevence")
    with pytest.raises(DataError, match=r"question 1: the map 'attention' has rows of \[1, 2\] numbers"):
        grounding(looking({"attention": [[1.0], [1.0, 2.0]]}, [WHOLE]))
    with pytest.raises(DataError, match=r"question 1: the map 'attention_boxes' has rows of \[4\] numbers"):
        grounding(looking({"attention_boxes": [[0.0, 0.0, 1.0, 1.0]]}, [WHOLE]))
    with pytest.raises(DataError, match=r"question 1: the map 'relevance' has rows of \[0\] numbers"):
        grounding(looking({"relevance": []}, [WHOLE]), map="relevance")
