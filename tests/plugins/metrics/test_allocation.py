"""Figures of traces, against scipy and loops, and against ARR-COC itself."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray
from PIL import Image
from scipy import stats

from harness import FileImage, Measured, Output, Pair, Sample, Trace
from plugins.metrics import allocation
from plugins.metrics.allocation import LEVELS, RELEVANCES, WEIGHTS, Allocation
from plugins.metrics.tokens import Compression, Tokens
from plugins.models.arr_coc import ArrCoc
from tests.plugins.models.asking import Folders, answers, ask
from tests.tiny_models import make_tiny_arr_coc

Floats = NDArray[np.float64]
SAMPLE = Sample("1", (), "", (), "1")


def traced(trace: Trace | None) -> Pair:
    return Pair(SAMPLE, "", Output("", trace=trace))


def pairs_of(name: str, *maps: Any) -> list[Pair]:
    return [traced(Trace({name: np.asarray(each).tolist()})) for each in maps]


def per_sample(pairs: Iterable[Pair], name: str) -> Floats:
    found = Allocation().compute(pairs, "official")[name].per_sample
    assert found is not None
    return found


def random_trace(generator: np.random.Generator, rows: int, cols: int) -> Trace:
    levels = generator.integers(0, 4, (rows, cols))
    relevance = generator.normal(size=(3, rows, cols)).round(1)  # so that there are ties
    return Trace(
        maps={
            "token_budget": (4.0 ** (levels - 3)).tolist(),
            "level_of_detail": levels.astype(float).tolist(),
            **dict(zip(RELEVANCES, relevance.tolist(), strict=True)),
        },
        scalars=dict(zip(WEIGHTS, generator.random(3).tolist(), strict=True)),
    )


def by_definition(trace: Trace) -> dict[str, float]:
    """All figures of a trace, by loops and scipy."""
    cells = [float(cell) for row in trace.maps["token_budget"] for cell in row]
    shares = [cell / sum(cells) for cell in cells]
    entropy = -sum(share * math.log(share) for share in shares if share)
    levels = [cell for row in trace.maps["level_of_detail"] for cell in row]
    relevances = {name: np.ravel(trace.maps[name]) for name in RELEVANCES}
    return {
        "allocation_entropy": entropy / math.log(len(cells)),
        **{f"area_at_level_{level}": levels.count(level) / len(levels) for level in LEVELS},
        **{name: float(stats.spearmanr(relevance, cells).statistic) for name, relevance in relevances.items()},
        **{name: trace.scalars[name] for name in WEIGHTS},
    }


def test_figures_are_means_over_samples_of_what_is_defined_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Grids are mixed, and more samples than are unpacked together."""
    monkeypatch.setattr(allocation, "AT_ONCE", 7)
    generator = np.random.default_rng(0)
    traces = [random_trace(generator, *([(4, 6), (16, 16), (27, 27)][index % 3])) for index in range(40)]
    measured = Allocation().compute(map(traced, traces), "official")
    assert measured.keys() == Allocation().info.keys()
    expected = [by_definition(trace) for trace in traces]
    for name, item in measured.items():
        column = [each[name] for each in expected]
        assert item.per_sample is not None
        np.testing.assert_allclose(item.per_sample, column, rtol=1e-12, err_msg=name)
        assert item.value == pytest.approx(np.mean(column))


def test_entropy_at_its_ends() -> None:
    spread, focused, two = np.full((4, 4), 0.25), np.zeros((4, 4)), np.zeros((4, 4))
    focused[1, 2] = 1
    two[0, :2] = 1
    found = per_sample(pairs_of("token_budget", spread, focused, two), "allocation_entropy")
    np.testing.assert_allclose(found, [1, 0, 0.25], atol=1e-15)


def test_an_allocation_that_follows_relevance_correlates_with_it() -> None:
    generator = np.random.default_rng(1)
    relevance = generator.normal(size=(8, 8))
    budget = np.where(relevance > 0.5, 1.0, 1 / 64)
    maps = dict(zip(RELEVANCES, [relevance.tolist(), (-relevance).tolist(), np.ones((8, 8)).tolist()], strict=True))
    measured = Allocation().compute([traced(Trace({"token_budget": budget.tolist(), **maps}))], "official")
    follows, against, same = (measured[name].value for name in RELEVANCES)
    assert follows is not None
    assert against is not None
    assert follows > 0.7
    assert against == pytest.approx(-follows)
    assert same is None  # a way that finds everything alike can be followed by nothing


@pytest.mark.parametrize("trace", [None, Trace(), Trace({"attention": [[1.0]]}, {"entropy": 1.0})])
def test_models_that_tell_nothing_have_no_figures(trace: Trace | None) -> None:
    measured = Allocation().compute([traced(trace)] * 3, "official")
    assert {name: item.value for name, item in measured.items()} == dict.fromkeys(Allocation().info)


def test_no_pairs_have_no_figures() -> None:
    assert {item.value for item in Allocation().compute([], "official").values()} == {None}


GOOD = [[0.0, 1.0], [3.0, 1.0]]
BROKEN: Mapping[str, Sequence[Sequence[float]]] = {
    "ragged": [[1.0], [1.0, 2.0]],
    "empty": [],
    "no columns": [[], []],
    "nan": [[math.nan, 1.0], [1.0, 2.0]],
    "infinite": [[math.inf, 1.0], [1.0, -math.inf]],
    "null": [[None, 1.0], [1.0, 2.0]],  # type: ignore[list-item]
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
def test_a_map_that_cannot_be_used_takes_only_its_own_figures(broken: Sequence[Sequence[float]]) -> None:
    whole = Trace(dict.fromkeys(["token_budget", "level_of_detail", *RELEVANCES], GOOD), {WEIGHTS[0]: 0.5})
    for name in whole.maps:
        trace = replace(whole, maps={**whole.maps, name: broken})
        measured = Allocation().compute([traced(whole), traced(trace)], "official")
        lost = {key for key, item in measured.items() if item.per_sample is not None and np.isnan(item.per_sample[1])}
        areas = {f"area_at_level_{level}" for level in LEVELS}
        expected = {
            "token_budget": {"allocation_entropy", *RELEVANCES},
            "level_of_detail": areas,
        }.get(name, {name})
        assert lost == expected | {WEIGHTS[1], WEIGHTS[2]}
        assert measured["area_at_level_1"].value == 0.5


def test_maps_of_another_grid_are_not_compared() -> None:
    trace = Trace({"token_budget": GOOD, RELEVANCES[0]: [[1.0, 2.0]], RELEVANCES[1]: GOOD})
    measured = Allocation().compute([traced(trace)], "official")
    assert measured[RELEVANCES[0]].value is None
    assert measured[RELEVANCES[1]].value == pytest.approx(1)


def test_a_single_cell_and_a_budget_below_zero_have_no_entropy() -> None:
    found = per_sample(
        pairs_of("token_budget", [[3.0]], [[-1.0, 2.0]], [[0.0, 0.0]], [[1.0, 1.0]]), "allocation_entropy"
    )
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 1])


def test_weights_that_are_no_numbers_are_left_out() -> None:
    pairs = [traced(Trace({}, {WEIGHTS[0]: value})) for value in (0.2, 0.4, math.nan, math.inf)]
    assert Allocation().compute(pairs, "official")[WEIGHTS[0]].value == pytest.approx(0.3)


numbers = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.0, 1.0])


@settings(max_examples=200, deadline=None)
@given(arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=4), elements=numbers))
def test_any_map_has_figures_in_their_range_or_none(drawn: Floats) -> None:
    trace = Trace({"token_budget": drawn.tolist(), "level_of_detail": drawn.tolist(), RELEVANCES[0]: drawn.tolist()})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured = Allocation().compute([traced(trace)], "official")
    usable = bool((drawn >= 0).all() and (drawn > 0).any())
    assert (measured["allocation_entropy"].value is not None) == (usable and drawn.size > 1)
    assert _within(measured["allocation_entropy"], 0, 1)
    assert (measured[RELEVANCES[0]].value is not None) == (np.unique(drawn).size > 1)
    assert _within(measured[RELEVANCES[0]], 1, 1)


def _within(measured: Measured, low: float, high: float) -> bool:
    return measured.value is None or low - 1e-9 <= measured.value <= high + 1e-9


def test_a_trace_read_from_text_is_the_same() -> None:
    trace = random_trace(np.random.default_rng(0), 5, 5)
    copied = Trace(json.loads(json.dumps(dict(trace.maps))), json.loads(json.dumps(dict(trace.scalars))))
    first, second = (Allocation().compute([traced(each)], "official") for each in (trace, copied))
    assert {name: item.value for name, item in first.items()} == {name: item.value for name, item in second.items()}


def test_the_routing_of_arr_coc_has_every_figure(tmp_path: Path) -> None:
    """The model plugin's names are those that are read here."""
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "1.png")
    store: Any = Folders({})
    spec = ArrCoc().resolve(str(make_tiny_arr_coc(tmp_path / "model")), {}, store)
    output: Output = answers(spec, [ask([FileImage(tmp_path / "1.png")], new=1)], 1)[0]
    pairs = [Pair(SAMPLE, "", output)]
    measured = {name: item.value for name, item in Allocation().compute(pairs, "official").items()}
    assert output.trace is not None
    assert measured == pytest.approx(by_definition(output.trace))
    kept = Compression().compute(pairs, "official")["kept_fraction"].value
    assert Tokens().compute(pairs, "official")["tokens_per_patch"].value == kept == 28 / 256
