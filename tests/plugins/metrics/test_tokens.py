"""Tokens used and compression, counted by hand."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from msgspec.structs import replace

from harness import Metric, Pair, Trace, Usage
from plugins.metrics.tokens import Compression, Tokens

MakePair = Callable[..., Pair]
Map = Sequence[Sequence[float]]


def with_maps(pair: Pair, maps: Mapping[str, Map] | None) -> Pair:
    trace = None if maps is None else Trace(maps)
    return replace(pair, output=replace(pair.output, trace=trace))


def grid(rows: int, cols: int) -> Map:
    return [[0.0] * cols for _ in range(rows)]


def test_tokens_are_means_and_a_maximum(pair: MakePair) -> None:
    usages = [
        Usage(prompt_tokens=10, visual_tokens=64, generated_tokens=1),
        Usage(prompt_tokens=20, generated_tokens=2),
    ]
    measured = Tokens().compute([pair("", usage=usage) for usage in usages], "official")
    assert {name: item.value for name, item in measured.items()} == {
        "visual_tokens": 32,
        "visual_tokens_max": 64,
        "tokens_per_patch": None,
        "prompt_tokens": 15,
        "generated_tokens": 1.5,
    }
    assert measured.keys() == Tokens().info.keys()
    assert measured["visual_tokens_max"].per_sample is None


def test_tokens_per_patch_are_counted_over_the_grid_of_the_maps(pair: MakePair) -> None:
    maps: list[Mapping[str, Map] | None] = [
        {"token_budget": grid(4, 6), "anything": grid(4, 6)},
        {"anything": grid(2, 2)},
        None,
        {},
        {"a": grid(4, 6), "b": grid(2, 2)},  # which of the two is the picture's?
        {"ragged": [[1.0], [1.0, 2.0]]},
        {"empty": []},
        {"empty": [[], []]},
    ]
    pairs = [with_maps(pair("", usage=Usage(visual_tokens=12)), each) for each in maps]
    measured = Tokens().compute(pairs, "official")["tokens_per_patch"]
    assert measured.per_sample is not None
    np.testing.assert_array_equal(measured.per_sample, [0.5, 3, *[np.nan] * 6])
    assert measured.value == 1.75


@pytest.mark.parametrize("metric", [Tokens(), Compression()])
def test_no_pairs_have_no_figures(metric: Metric) -> None:
    measured = metric.compute([], "official")
    assert [item.value for item in measured.values()] == [None] * len(metric.info)


def test_pairs_are_read_once(pair: MakePair) -> None:
    for metric in (Tokens(), Compression()):
        measured = metric.compute(iter([pair("", usage=Usage(3, 4, 8, 1))] * 3), "official")
        assert all(item.per_sample is None or len(item.per_sample) == 3 for item in measured.values())


def test_the_fraction_is_a_mean_of_ratios_and_the_factor_its_inverse(pair: MakePair) -> None:
    usages = [
        Usage(visual_tokens=10, full_visual_tokens=100),
        Usage(visual_tokens=300, full_visual_tokens=1000),
        Usage(prompt_tokens=3),  # no picture: no part of it
    ]
    measured = Compression().compute([pair("", usage=usage) for usage in usages], "official")
    kept, factor = measured["kept_fraction"], measured["compression_factor"]
    assert kept.value == pytest.approx((0.1 + 0.3) / 2)
    assert kept.per_sample is not None
    np.testing.assert_array_equal(kept.per_sample, [0.1, 0.3, np.nan])
    assert factor.value == pytest.approx(5)
    assert factor.statistics is not None
    assert factor.reduce is not None
    assert factor.reduce(factor.statistics.sum(axis=0)) == pytest.approx(5)
    resampled = np.array([[2.0, 0, 5], [0, 2, 0], [0, 0, 3]]) @ factor.statistics
    np.testing.assert_allclose(factor.reduce(resampled), [10, 1 / 0.3, np.nan])


def test_without_pictures_there_is_nothing_to_compress(pair: MakePair) -> None:
    for usage in (Usage(), Usage(prompt_tokens=7)):
        measured = Compression().compute([pair("", usage=usage)], "official")
        assert [item.value for item in measured.values()] == [None, None]


def test_a_model_that_keeps_nothing_has_no_factor(pair: MakePair) -> None:
    measured = Compression().compute([pair("", usage=Usage(full_visual_tokens=576))], "official")
    assert measured["kept_fraction"].value == 0
    assert measured["compression_factor"].value is None
