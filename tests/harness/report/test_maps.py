"""Where a model looks on average: against loops over every patch, and what pages make of it."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.report import charts, maps
from harness.report.maps import MeanMap, mean_maps
from harness.types import Failure, Output, Prediction, Sample, Trace

Rows = Sequence[Sequence[float]]


class Answers:
    """A store of one run with these traces; None is an answer without one."""

    def __init__(self, traces: Sequence[Trace | Failure | None]) -> None:
        self.traces = traces

    def predictions(self, run: Any) -> Iterator[tuple[Sample, Prediction]]:
        for place, trace in enumerate(self.traces):
            result = trace if isinstance(trace, Failure) else Output("", trace=trace)
            yield Sample(str(place), (), "", (), ""), Prediction(place, str(place), result)


def means(*traces: Trace | Failure | None) -> dict[str, MeanMap]:
    store: Any = Answers(traces)
    run: Any = None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return mean_maps(store, run)


def mean_of(*grids: Any) -> MeanMap | None:
    return means(*(Trace({"a": np.asarray(grid, dtype=object).tolist()}) for grid in grids)).get("a")


def laid(grid: Rows, rows: int, columns: int) -> list[list[Fraction]]:
    """The mean by area of a map in every cell of another grid, by definition."""
    high, wide = len(grid), len(grid[0])

    def part(place: int, places: int, other: int, others: int) -> Fraction:
        """How much of one piece of a line lies within a piece of another division of it."""
        start = max(Fraction(place, places), Fraction(other, others))
        end = min(Fraction(place + 1, places), Fraction(other + 1, others))
        return max(Fraction(0), end - start) * places

    return [
        [
            sum(
                part(row, rows, down, high) * part(column, columns, across, wide) * Fraction(grid[down][across])
                for down in range(high)
                for across in range(wide)
            )
            for column in range(columns)
        ]
        for row in range(rows)
    ]  # type: ignore[return-value]


def by_definition(grids: Sequence[Rows]) -> tuple[str, int, Any] | None:
    usable = [grid for grid in grids if len({len(row) for row in grid}) == 1 and len(grid[0])]
    usable = [grid for grid in usable if all(math.isfinite(cell) for row in grid for cell in row)]
    sums = [sum(Fraction(cell) for row in grid for cell in row) for grid in usable]
    negative = any(cell < 0 for grid in usable for row in grid for cell in row)
    unit = "value" if negative or not any(sums) else "share"
    if unit == "share":
        exact = [[[Fraction(cell) / total for cell in row] for row in grid]
                 for grid, total in zip(usable, sums, strict=True) if total]  # fmt: skip
    else:
        exact = [[[Fraction(cell) for cell in row] for row in grid] for grid in usable]
    if not exact:
        return None
    counts = Counter((len(grid), len(grid[0])) for grid in exact)
    rows, columns = max(counts, key=lambda grid: (counts[grid], grid[0] * grid[1], grid))
    total = np.zeros((rows, columns), dtype=object)
    for grid in exact:
        # A share is spread over the area that it had: it shrinks as its patch is cut up.
        size = Fraction(len(grid) * len(grid[0]), rows * columns) if unit == "share" else 1
        total = total + np.array(laid(grid, rows, columns), dtype=object) * size
    return unit, len(exact), (total / len(exact)).astype(float)


CELLS = st.floats(-100, 100, width=16) | st.sampled_from([0.0, 1.0])
POSITIVE = st.floats(0, 100, width=16)
BROKEN = [[[1.0], [1.0, 2.0]], [], [[], []], [[math.nan, 1.0]], [[math.inf], [1.0]]]


def grids_of(cells: Any) -> Any:
    shapes = st.tuples(st.integers(1, 4), st.integers(1, 4))
    whole = shapes.flatmap(
        lambda shape: st.lists(
            st.lists(cells, min_size=shape[1], max_size=shape[1]), min_size=shape[0], max_size=shape[0]
        )
    )
    return st.lists(whole | st.sampled_from(BROKEN), max_size=7)


@settings(max_examples=150, deadline=None)
@given(grids_of(POSITIVE) | grids_of(CELLS) | grids_of(st.just(0.0)))
def test_mean_maps_are_those_of_the_definition(grids: list[Rows]) -> None:
    found, expected = mean_of(*grids), by_definition(grids)
    assert (found is None) == (expected is None)
    if found is not None and expected is not None:
        assert (found.unit, found.n) == expected[:2]
        np.testing.assert_allclose(found.grid, expected[2], rtol=1e-9, atol=1e-9)
        if found.unit == "share":
            assert np.sum(found.grid) == pytest.approx(1)
        assert (found.low, found.high) == (np.min(found.grid), np.max(found.grid))


def test_the_mean_share_of_each_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """More samples than are unpacked together, some without an answer, a trace or this map."""
    monkeypatch.setattr(maps, "AT_ONCE", 4)
    grids = np.random.default_rng(3).random((10, 3, 5))
    traces: list[Any] = [Trace({"a": grid.tolist(), "b": (-grid).tolist()}) for grid in grids]
    found = means(None, *traces, Trace(), Failure("generate", "out of memory"), Trace({"c": [[1.0]]}))
    assert list(found) == ["a", "b", "c"]
    np.testing.assert_allclose(found["a"].grid, np.mean([grid / grid.sum() for grid in grids], axis=0))
    np.testing.assert_allclose(found["b"].grid, -grids.mean(axis=0))
    assert [(item.unit, item.n) for item in found.values()] == [("share", 10), ("value", 10), ("share", 1)]
    assert means() == means(None, Trace(), Failure("generate", "")) == {}


def test_other_grids_are_laid_over_the_most_frequent() -> None:
    common = np.array([[1.0, 0, 0], [0, 0, 0]])  # two of these; the others are met first
    fine = np.zeros((4, 6))
    fine[3, 5] = 7  # in the last cell
    whole, split = [[1.0]], [[0.0, 2.0]]  # alike everywhere; the right half: half the middle column, all of the last
    found = mean_of(fine, whole, split, common, common)
    assert found is not None
    expected = 2 * common + np.array([[0, 0, 0], [0, 0, 1]]) + 1 / 6 + np.array([[0, 1 / 6, 1 / 3]] * 2)
    np.testing.assert_allclose(found.grid, expected / 5, atol=1e-15)
    # Values keep their size: of a finer grid their mean is taken.
    found = mean_of([[-1.0, 3.0]], [[-1.0, 3.0]], [[2.0, 4.0, 8.0, 0.0]], [[5.0]])
    assert found == MeanMap(((0.5 * 0 + (-1 - 1 + 3 + 5) / 4, (3 + 3 + 4 + 5) / 4),), "value", 4)


@pytest.mark.parametrize("broken", BROKEN, ids=str)
def test_a_map_that_cannot_be_used_takes_nothing_with_it(broken: Rows) -> None:
    usable = {"a": [[1.0, 3.0]], "b": [[2.0]]}
    found = means(Trace(usable), Trace({"a": broken, "b": [[2.0]]}), Trace({"c": broken}))
    assert found == {"a": MeanMap(((0.25, 0.75),), "share", 1), "b": MeanMap(((1.0,),), "share", 2)}


def test_numbers_without_a_sum() -> None:
    huge = 1.7e308
    assert mean_of([[huge, huge]], [[huge, 0.0]]) == MeanMap(((0.75, 0.25),), "share", 2)
    assert mean_of([[huge, -1.0]], [[huge, -1.0]], [[-huge, 0.0]]) is None
    assert mean_of([[5e-324, 0.0]]) == MeanMap(((1.0, 0.0),), "share", 1)
    tall = MeanMap(((huge, -huge, 0.0),), "value", 1)
    assert list(charts.heat(tall).areas) == [hex_of(charts.RAMP[-1]), hex_of(charts.RAMP[0]), charts._colour(0.5)]


def test_memory_is_bounded_where_grids_are_many_or_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "GRIDS", 3)
    random = np.random.default_rng(0)
    shapes = [(2, 3), (2, 3), *[(int(rows), int(columns)) for rows, columns in random.integers(1, 6, (30, 2))], (2, 3)]
    grids = [random.integers(0, 9, shape).astype(float).tolist() for shape in [*shapes, *[(2, 3)] * 20]]
    sums = maps._Sums()
    for grid in grids:
        sums.add(np.array([grid]))
        assert len(sums._sums) <= 3
    found, expected = sums.mean(), by_definition(grids)
    assert found is not None
    assert expected is not None
    assert (found.unit, found.n) == expected[:2]
    np.testing.assert_allclose(found.grid, expected[2], atol=1e-12)
    large = np.zeros((1, 1000))
    large[0, :500] = 1
    found = mean_of(large)
    assert found is not None
    np.testing.assert_allclose(found.grid, [[1 / 32] * 32 + [0] * 32], atol=1e-15)


# --- drawings ---


def hex_of(colour: Sequence[int]) -> str:
    return "#" + bytes(colour).hex()


def test_the_ramp_is_that_of_the_overlays() -> None:
    static = resources.files("harness.report").joinpath("static")
    script, style = (static.joinpath(name).read_text("utf-8") for name in ("overlay.js", "report.css"))
    stops = re.search(r"STOPS = (\[\[.*\]\]);", script)
    assert stops is not None
    assert json.loads(stops[1]) == [list(colour) for colour in charts.RAMP]
    gradient = re.search(r"\.ramp \{.*gradient\(to right, (.*)\); \}", style)
    assert gradient is not None
    assert re.findall(r"rgb\((\d+) (\d+) (\d+)\)", gradient[1]) == [tuple(map(str, stop)) for stop in charts.RAMP]


@given(st.integers(1, 6).flatmap(lambda wide: st.lists(st.lists(CELLS, min_size=wide, max_size=wide), min_size=1)))
def test_a_drawing_colours_every_patch_once_by_its_value(rows: list[list[float]]) -> None:
    drawn = charts.heat(MeanMap(tuple(map(tuple, rows)), "value", 1))
    colours = painted(drawn.areas)
    assert set(colours) == {(down, across) for down in range(len(rows)) for across in range(len(rows[0]))}
    assert drawn.across * len(rows[0]) == pytest.approx(drawn.width, abs=0.01)
    assert drawn.down * len(rows) == pytest.approx(drawn.height, abs=0.02)
    cells = {place: rows[place[0]][place[1]] for place in colours}
    brightness = {place: sum(bytes.fromhex(colour[1:])) for place, colour in colours.items()}
    by_value = sorted(cells, key=cells.__getitem__)
    assert all(brightness[one] <= brightness[other] for one, other in pairwise(by_value))
    if max(cells.values()) - min(cells.values()) > 1e-6:
        assert colours[by_value[0]] == hex_of(charts.RAMP[0])
        assert colours[by_value[-1]] == hex_of(charts.RAMP[-1])


def painted(areas: Mapping[str, str]) -> dict[tuple[int, int], str]:
    """(row, column) -> colour, from the outlines."""
    found: dict[tuple[int, int], str] = {}
    for colour, outline in areas.items():
        runs = re.findall(r"M(\d+) (\d+)h(\d+)v1h-(\d+)z", outline)
        assert "".join(f"M{x} {y}h{wide}v1h-{back}z" for x, y, wide, back in runs) == outline
        for x, y, wide, back in runs:
            assert wide == back
            for across in range(int(wide)):
                assert found.setdefault((int(y), int(x) + across), colour) == colour
    return found


def test_a_map_is_told_in_words() -> None:
    item = MeanMap(((0.1, 0.5), (0.25, 0.15)), "share", 1_234)
    assert charts.about(item) == "mean share of each patch, 0.1 to 0.5; 2\xa0×\xa02 patches, 1,234 samples"
    assert charts.extremes(item) == "most in row 1, column 2, least in row 1, column 1"
    assert charts.about(MeanMap(((-2.0,),), "value", 1)) == (
        "mean value of each patch, −2 to −2; 1\xa0×\xa01 patches, 1 sample"
    )
    # Rounding is no pattern.
    flat = mean_of([[1.0] * 7], [[1.0] * 7], [[1.0] * 3])
    assert flat is not None
    assert charts.extremes(flat) == "the same everywhere"
    assert len(charts.heat(flat).areas) == 1


# --- pages ---


def test_the_page_and_the_document_show_them(made: Any, answering: Any) -> None:
    first, second = made.run("acme-parrot:a", answering(0.5)), made.run("acme-parrot:b", answering(0.6), limit=20)
    page = made.page(first, second)
    assert page.count("Where it looks, on average") == 1
    labels = re.findall(r'aria-label="(Map [^"]*)"', page)
    wanted = mean_maps(made.session.store, first)
    assert list(wanted) == ["relevance"]  # the other map has a hole
    assert labels[0] == f"Map relevance: {charts.about(wanted['relevance'])}; {charts.extremes(wanted['relevance'])}"
    assert "3\xa0×\xa04 patches, 40 samples" in labels[0]
    assert "3\xa0×\xa04 patches, 20 samples" in labels[1]
    colours = painted(
        dict(re.findall(r'<path fill="(#\w{6})" d="([^"]*)"/>', page.split(labels[0])[1].split("</svg>")[0]))
    )
    assert colours.keys() == {(row, column) for row in range(3) for column in range(4)}
    document = json.loads(made.report(first, second, "--format", "json").stdout)
    assert list(document["maps"]) == [first.id, second.id]
    (told,) = document["maps"][first.id].values()
    assert told == {"grid": [list(row) for row in wanted["relevance"].grid], "unit": "share", "n": 40}
    assert "looks" not in made.report(first, "--format", "md").stdout


def test_without_traces_nothing_is_said(made: Any) -> None:
    run = made.run("acme-parrot:a", lambda row, sample: Output(sample.references[0]))
    page = made.page(run)
    assert "Where it looks" not in page
    assert 'class="heats"' not in page
    assert json.loads(made.report(run, "--format", "json").stdout)["maps"] == {run.id: {}}


def test_names_are_foreign_text_and_many_are_folded(made: Any) -> None:
    hostile = ['"><script>alert(1)</script>', "\u202egnitirw", "\x1b[31m", *(f"map {place}" for place in range(9))]

    def answer(row: int, sample: Sample) -> Output:
        return Output("", trace=Trace({name: [[1.0, row]] for name in hostile}))

    page = made.page(made.run("acme-parrot:a", answer)).split('<script type="application/json"')[0]
    assert "<script>" not in page
    assert "Map &#34;&gt;&lt;script&gt;" in page
    assert not {"\u202e", "\x1b"} & set(page)
    assert "\\u202egnitirw" in page
    assert "<summary>2 more maps</summary>" in page
    assert page.count('class="heat"') == len(hostile)


def test_the_viewer_shows_them(made: Any, answering: Any) -> None:
    if importlib.util.find_spec("starlette") is None:
        pytest.skip("starlette is not installed: pip install 'vlm-harness[view]'")
    from harness.view.pages import environment

    parts = environment().get_template("parts.html.j2").module
    board = made.board(made.run("acme-parrot:a", answering(0.5)))
    assert 'aria-label="Map relevance: ' in str(parts.board(board, 1))  # type: ignore[attr-defined]
