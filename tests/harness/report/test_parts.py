"""The parts of a report that compute: bins, scales, packed maps, thumbnails, what samples can be filtered by."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from harness.errors import DataError
from harness.protocols import MetricInfo
from harness.report import calibration, charts, pictures, samples, traces
from harness.report.browser import rule
from harness.report.content import letter
from harness.stats import clustered_mean
from harness.types import FileImage, Sample, Trace

NUMBERS = st.floats(-1e6, 1e6, allow_nan=False)


# --- calibration ---


@given(st.lists(st.tuples(st.integers(0, 30), st.booleans(), st.integers(0, 9)), min_size=1, max_size=300))
def test_bins_share_out_the_samples_by_what_was_spent(rows: list[tuple[int, bool, int]]) -> None:
    spent, values, clusters = (np.array(column) for column in zip(*rows, strict=True))
    bins = calibration.binned(spent.astype(float), values.astype(float), clusters)
    assert 1 <= len(bins) <= calibration.BINS
    assert sum(item.n for item in bins) == len(rows)
    for item in bins:
        inside = (spent >= item.least) & (spent <= item.most)
        # Equal spendings are never torn apart.
        assert inside.sum() == item.n
        assert item.value == pytest.approx(values[inside].mean())
        assert item.mean == pytest.approx(spent[inside].mean())
        interval = clustered_mean(values[inside].astype(float), clusters[inside])
        assert item.low == (None if interval is None else pytest.approx(interval.low))
    for one, other in pairwise(bins):
        assert one.most < other.least
    assert len(bins) == len(np.unique(spent)) or len(np.unique(spent)) > calibration.BINS


def test_bins_of_many_spendings_are_about_equal() -> None:
    spent = np.random.default_rng(0).permutation(800).astype(float)
    bins = calibration.binned(spent, spent / 800, np.arange(800))
    assert [item.n for item in bins] == [100] * 8
    assert [item.value for item in bins] == sorted(item.value for item in bins)


def test_samples_without_a_value_are_left_out_of_the_bins() -> None:
    nan = float("nan")
    values, spent = np.array([1, nan, 0, 1]), np.array([1, 1, nan, 2.0])
    assert [(item.n, item.value) for item in calibration.binned(spent, values, np.arange(4))] == [(1, 1), (1, 1)]
    assert calibration.binned(np.full(4, nan), values, np.arange(4)) == ()


def test_calibration_by_tokens_and_by_the_traces_scalars(made: Any, answering: Any) -> None:
    run = made.run("acme-parrot:a", answering(0.5))
    found = {item.quantity: item for item in calibration.calibrations(made.session.store, run, "strict", "exact")}
    assert list(found) == ["visual tokens", "need"]
    assert [item.mean for item in found["visual tokens"].bins] == [5, 6, 7, 8, 9]
    values = made.session.store.per_sample(run, "strict")["exact"]
    assert [item.value for item in found["visual tokens"].bins] == [values[place::5].mean() for place in range(5)]
    steady = made.run("acme-parrot:b", answering(0.5, tokens=5), image="none")
    assert calibration.calibrations(made.session.store, steady, "strict", None) == ()


# --- scales ---


@given(NUMBERS, NUMBERS, NUMBERS)
def test_a_scale_keeps_order_and_bounds(one: float, other: float, value: float) -> None:
    scale = charts.around([one, other], 10, 80)
    assert 10 <= scale(value) <= 90
    assert scale(min(one, other)) <= scale(max(one, other))
    for tick in scale.ticks():
        assert scale.low - 1e-6 * abs(scale.low) <= tick <= scale.high + 1e-6 * abs(scale.high)
    assert len(scale.ticks()) <= 8


@given(st.lists(st.floats(0.01, 1e5), min_size=1, max_size=6))
def test_a_scale_for_tokens_starts_at_zero_or_is_logarithmic(costs: list[float]) -> None:
    scale = charts.spending(costs, 0, 100)
    assert scale.logarithmic == (max(costs) / min(costs) > 8)
    assert scale.logarithmic or scale.low == 0
    assert scale.ticks()
    places = [scale(cost) for cost in sorted(costs)]
    assert places == sorted(places)


def test_ticks_are_round() -> None:
    assert [charts.tick(value) for value in charts.Scale(0, 1, 0, 1).ticks(4)] == ["0", "0.25", "0.5", "0.75", "1"]
    assert [charts.tick(value) for value in charts.Scale(-0.13, 0.13, 0, 1).ticks(4)] == ["−0.1", "0", "0.1"]
    assert charts.Scale(8, 700, 0, 1, logarithmic=True).ticks() == [10, 20, 50, 100, 200, 500]
    assert charts.tick(12_345) == "12,345"


# --- traces ---

CELLS = st.floats(-1e3, 1e3) | st.just(float("nan"))
GRIDS = st.integers(1, 5).flatmap(
    lambda columns: st.lists(st.lists(CELLS, min_size=columns, max_size=columns), min_size=1, max_size=5)
)


@given(st.dictionaries(st.text(max_size=5), GRIDS, max_size=3))
def test_maps_survive_being_packed(maps: Mapping[str, Sequence[Sequence[float]]]) -> None:
    packed, _ = traces.pack_traces({7: Trace(maps)}, 10**6)
    number, bounds, patches, _ = packed.packed[7]
    levels = np.frombuffer(zlib.decompress(base64.b64decode(patches)) if patches else b"", np.uint8)
    for (name, rows, columns), (low, high) in zip(packed.layouts[number], bounds, strict=True):
        grid, levels = levels[: rows * columns].reshape(rows, columns), levels[rows * columns :]
        wanted = np.array(maps[name])
        assert (grid == traces.HOLE).tolist() == np.isnan(wanted).tolist()
        if low is not None:
            found = low + grid / traces.STEPS * (high - low)
            room = (high - low) / traces.STEPS + 1e-3 * max(abs(low), abs(high)) + 1e-12
            assert np.nanmax(np.abs(np.where(np.isnan(wanted), np.nan, found - wanted))) <= room
    assert not levels.size


def test_a_map_with_rows_of_several_lengths_is_left_empty() -> None:
    packed, _ = traces.pack_traces({0: Trace({"torn": [[1.0, 2.0], [3.0]]}, {"rest": float("inf")})}, 10**6)
    assert packed.layouts == [[("torn", 0, 0)]]
    assert packed.packed[0] == [0, [(None, None)], "", {"rest": None}]


def test_traces_that_do_not_fit_are_thinned_evenly() -> None:
    grids = np.random.default_rng(0).random((256, 8, 8))
    every = {row: Trace({"map": grid.tolist()}) for row, grid in enumerate(grids)}
    whole, left = traces.pack_traces(every, 10**6)
    assert len(whole.packed) == whole.total == 256
    part, _ = traces.pack_traces(every, (10**6 - left) // 4 + 100)
    rows = sorted(part.packed)
    assert 60 <= len(rows) <= 70
    assert max(np.diff(rows)) <= 4
    assert part.total == 256


@given(st.integers(0, 300))
def test_spreading_takes_every_row_once_and_evenly(n: int) -> None:
    order = list(traces.spread(range(n)))
    assert sorted(order) == list(range(n))
    for some in (n // 8, n // 3):
        if some > 1:
            gaps = np.diff(sorted(order[:some]))
            assert gaps.max() <= 4 * n / some


# --- pictures ---


def write(folder: Path, n: int, size: tuple[int, int] = (240, 180)) -> dict[int, tuple[FileImage, ...]]:
    noise = np.random.default_rng(0)
    found = {}
    for row in range(n):
        path = folder / f"{row}.png"
        coarse = noise.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(path)
        found[row] = (FileImage(path),)
    return found


def sides(found: pictures.Pictures) -> set[int]:
    decoded = [Image.open(io.BytesIO(base64.b64decode(text))) for text in found.thumbnails]
    assert all(image.format == "WEBP" for image in decoded)
    return {max(image.size) for image in decoded}


def test_thumbnails_shrink_before_they_become_fewer(tmp_path: Path) -> None:
    images = write(tmp_path, 16)
    best = pictures.make_pictures(images, 10**7)
    assert sides(best) == {224}
    assert (len(best.thumbnails), best.remark) == (16, "")
    total = sum(map(len, best.thumbnails))
    smaller = pictures.make_pictures(images, total // 3)
    assert len(smaller.thumbnails) == 16
    assert sum(map(len, smaller.thumbnails)) <= total // 3
    assert max(sides(smaller)) < 224
    assert "pixels wide to keep the page small" in smaller.remark
    fewest = pictures.make_pictures(images, 3_000)
    assert 0 < len(fewest.thumbnails) < 16
    assert sides(fewest) == {pictures.RUNGS[-1][0]}
    assert sum(map(len, fewest.thumbnails)) <= 3_000
    assert f"{16 - len(fewest.thumbnails)} pictures were left out" in fewest.remark
    assert sorted(fewest.of) == sorted(row for row in fewest.of if fewest.of[row])


def test_a_picture_is_kept_once_however_many_ask_about_it(tmp_path: Path) -> None:
    images = write(tmp_path, 2)
    shared = {row: (*images[row % 2], *images[0]) for row in range(100)}
    found = pictures.make_pictures(shared, 10**7)
    assert len(found.thumbnails) == 2
    assert found.of[0] == [found.of[1][1]] * 2
    assert found.of[1] == [found.of[3][0], found.of[0][0]]


def test_no_budget_and_no_pictures(tmp_path: Path) -> None:
    assert pictures.make_pictures({}, 10**6) == pictures.Pictures([], {})
    nothing = pictures.make_pictures(write(tmp_path, 2), 0)
    assert (nothing.thumbnails, nothing.of) == ([], {})
    assert "2 pictures were left out" in nothing.remark


def test_small_pictures_are_not_made_larger(tmp_path: Path) -> None:
    assert sides(pictures.make_pictures(write(tmp_path, 1, (30, 20)), 10**6)) == {30}


def test_pictures_of_other_data_are_not_shown(made: Any) -> None:
    task = made.task
    found = pictures.find_pictures(task, task.digest(), {3: 0, 5: 1})
    assert [found[row][0].name for row in (0, 1)] == [str(made.data / "3.jpg"), str(made.data / "1.jpg")]
    with pytest.raises(DataError, match="holds other data than the runs were made of"):
        pictures.find_pictures(task, "another digest", {3: 0})


# --- samples ---


def test_what_samples_can_be_filtered_by() -> None:
    facts = [
        {"types": {"kind": ["query", "verify"][row % 2], "rare": f"r{row}"}, "steps": row % 3, "balanced": row % 2 == 0,
         "words": ["a", "list"], "same": "always", "number": row * 1.5, "nothing": None}
        for row in range(60)
    ]  # fmt: skip
    rows = [Sample(str(row), (), "", (), "", item) for row, item in enumerate(facts)]
    found = samples.facets(rows, ["steps"])
    assert list(found) == ["steps", "balanced", "kind"]
    assert found["steps"] == {"keys": ["0", "1", "2"], "codes": [row % 3 for row in range(60)]}
    assert found["kind"]["keys"] == ["query", "verify"]
    assert found["balanced"] == {"keys": ["no", "yes"], "codes": [int(row % 2 == 0) for row in range(60)]}


def test_facts_of_one_name_in_two_places_keep_their_paths() -> None:
    rows = [
        Sample(str(row), (), "", (), "", {"a": {"kind": str(row % 2)}, "b": {"kind": str(row % 3)}})
        for row in range(30)
    ]
    assert sorted(samples.facets(rows, [])) == ["a.kind", "b.kind"]


def test_an_answer_is_right_from_a_half_on_or_better_than_the_median(made: Any, answering: Any) -> None:
    board = made.board(made.run("acme-parrot:a", answering(0.7)))
    table = samples.read_table(made.session.store, board)
    assert (table.halving, rule(table)) == (
        0.5,
        "An answer is called right where its exact is at least 0.5, else wrong.",
    )
    points = replace(table, board=replace(board, infos={"exact": MetricInfo("points", higher_is_better=False)}))
    values = [value for value in table.answers[0].scores["exact"] if value is not None]
    assert points.halving == np.median(values)
    assert (
        rule(points) == "An answer is called better where its exact is less than 1, the median of all here, else worse."
    )
    assert samples.columns(points).document["rises"] is False
    unscored = replace(table, board=replace(board, runs=()))
    assert unscored.halving is None
    assert "none is called right or wrong" in rule(unscored)


def test_axes_reach_to_what_lies_on_them(made: Any, answering: Any) -> None:
    board = made.board(made.run("acme-parrot:a", answering(0.7)))
    assert charts.scale_of(board, "exact", 0, 1) == charts.Scale(0, 1, 0, 1)
    points = replace(board, infos={"exact": MetricInfo("points", higher_is_better=True)})
    score = board.runs[0].document["scores"]["exact"]
    parts = [part for keys in score["by"].values() for part in keys.values()]
    assert charts.scale_of(points, "exact", 0, 1).high == pytest.approx(score["high"], abs=0.01)
    highest = max(part["high"] for part in parts)
    assert highest <= charts.scale_of(points, "exact", 0, 1, parts=True).high <= highest + 0.011 * max(1, 10 * highest)


def test_more_samples_than_fit_are_taken_evenly(made: Any, answering: Any) -> None:
    session = made.session
    run = made.run("acme-parrot:a", answering(0.5))
    board = made.board(run)
    table = samples.read_table(session.store, board, limit=10)
    assert table.total == 40
    assert [sample.id for sample in table.samples] == [f"q{place}" for place in np.linspace(0, 39, 10, dtype=int)]
    values = session.store.per_sample(run, "strict")["exact"]
    assert table.answers[0].scores["exact"] == [values[place] for place in np.linspace(0, 39, 10, dtype=int)]


@settings(max_examples=30)
@given(st.integers(0, 500))
def test_letters_never_repeat(number: int) -> None:
    assert letter(number) not in {letter(other) for other in range(number)}
    assert letter(number)[0].isupper()
