"""GQA's grounding (Hudson and Manning, 2019, section 4.4): attention to what a question is about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from harness import DataError, Json, Measured, MetricInfo, Pair, UnknownName
from plugins.metrics.gqa import rewriting
from plugins.metrics.means import mean

ATTENTION, BOXES = "attention", "attention_boxes"
BOX = 5
"""Numbers of a box with its weight."""

AT_ONCE = 1024
"""Pairs whose maps are held at once."""

Floats = NDArray[np.float64]
Rows = Sequence[Sequence[float]]


class GqaGrounding:
    """The mean over balanced questions of the attention that falls on the objects that they point to.

    A question's value is the sum, over the boxes of the objects that question and full answer name, of the attention
    inside the box; of a cell that the box cuts, its share of the area. As in GQA's eval.py, boxes are summed one by
    one: where they overlap, or an object is named twice, attention counts twice. A question that names no object is
    0, and so is one about the whole scene: there eval.py means to take the picture, but its condition never holds.
    The answer plays no part, and the protocols are all the same.

    A question has no value where it has no map, its picture no scene graph, or its record no annotations.

    Args:
        map: the name of the trace's map. `attention` stands for an official file's, over a grid or, as
            `attention_boxes`, over boxes (rows of x0, y0, x1, y1, weight; fractions of the picture); its weights are
            taken as they are, as eval.py does. Any other is a model's own map in rows over the whole picture, and is
            made a distribution first: see `distributed`.
    """

    def __init__(self, map: str = ATTENTION) -> None:
        self._names = (ATTENTION, BOXES) if map == ATTENTION else (map,)

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"grounding": MetricInfo("fraction", higher_is_better=True)}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        """As `Metric.compute` has it.

        Raises:
            DataError: a map is not of rows of one length, or one over boxes not of rows of five.
            UnknownName: the answers have maps, but none of the name that was asked for.
        """
        rewriting(protocol)
        remaining = iter(pairs)
        values: list[float] = []
        names: dict[str, None] = {}
        while block := list(islice(remaining, AT_ONCE)):
            values += self._values(block)
            names.update(dict.fromkeys(name for pair in block for name in _maps(pair)))
        if ATTENTION not in self._names and names and self._names[0] not in names:
            raise UnknownName("map in the answers' traces", self._names[0], names)
        return {"grounding": mean(values)}

    def _values(self, pairs: Sequence[Pair]) -> list[float]:
        """A value a pair; maps of one shape are summed together."""
        alike: dict[tuple[str, int, int], list[int]] = {}
        for n, pair in enumerate(pairs):
            name = next((name for name in self._names if name in _maps(pair)), None)
            if name is not None and _measurable(pair):
                alike.setdefault((name, *_shape(_maps(pair)[name], name, pair)), []).append(n)
        values = np.full(len(pairs), np.nan)
        for (name, rows, columns), chosen in alike.items():
            maps = [_maps(pairs[n])[name] for n in chosen]
            weights = np.array(maps, np.float64).reshape(len(maps), rows, columns)
            values[chosen] = _inside(name, weights, [_boxes(pairs[n]) for n in chosen])
        return [float(value) for value in values]


def distributed(maps: Floats) -> Floats:
    """[m, r, c] maps -> [m, r, c] weights that sum to 1 in each.

    A map with negative values, such as relevance standardised over the picture, goes through softmax over its cells;
    any other, such as a budget of tokens, is divided by its sum. A map of zeros becomes one of NaN.
    """
    negative = (maps < 0).any(axis=(1, 2), keepdims=True)
    exponentials = np.exp(maps - maps.max(axis=(1, 2), keepdims=True))
    weights = np.where(negative, exponentials, maps)
    total = weights.sum(axis=(1, 2), keepdims=True)
    shares: Floats = np.divide(weights, total, out=np.full_like(weights, np.nan), where=total > 0)
    return shares


def in_grid(weights: Floats, boxes: Floats) -> Floats:
    """[k, r, c] weights over a picture's cells and [k, 4] boxes (x0, y0, x1, y1) in it -> [k] weight in each box."""
    _, rows, columns = weights.shape
    down = _overlap(np.arange(rows) / rows, np.arange(1, rows + 1) / rows, boxes[:, 1:2], boxes[:, 3:4]) * rows
    across = _overlap(np.arange(columns) / columns, np.arange(1, columns + 1) / columns, boxes[:, 0:1], boxes[:, 2:3])
    inside: Floats = np.einsum("krc,kr,kc->k", weights, down, across * columns)
    return inside


def in_boxes(weights: Floats, boxes: Floats) -> Floats:
    """[k, b, 5] weighted boxes (x0, y0, x1, y1, weight) and [k, 4] boxes -> [k] weight of the former in the latter."""
    x0, y0, x1, y1, weight = np.moveaxis(weights, -1, 0)
    across = _overlap(x0, x1, boxes[:, 0:1], boxes[:, 2:3])
    down = _overlap(y0, y1, boxes[:, 1:2], boxes[:, 3:4])
    inside: Floats = (weight * across * down / ((x1 - x0) * (y1 - y0))).sum(axis=-1)
    return inside


def _overlap(start: Floats, end: Floats, other_start: Floats, other_end: Floats) -> Floats:
    overlap: Floats = np.maximum(0.0, np.minimum(end, other_end) - np.maximum(start, other_start))
    return overlap


def _inside(name: str, maps: Floats, boxes: Sequence[Rows]) -> Floats:
    """[m, r, c] maps, and the boxes of each -> [m] weight in them, box by box."""
    weights = maps if name in (ATTENTION, BOXES) else distributed(maps)
    owner = np.repeat(np.arange(len(boxes)), [len(of_map) for of_map in boxes])
    flat = np.array([box for of_map in boxes for box in of_map], np.float64).reshape(-1, 4)
    share = (in_boxes if name == BOXES else in_grid)(weights[owner], flat)
    summed = np.bincount(owner, weights=share, minlength=len(boxes))
    return np.where(np.isnan(weights).any(axis=(1, 2)), np.nan, summed)


def _maps(pair: Pair) -> Mapping[str, Rows]:
    return {} if pair.output.trace is None else pair.output.trace.maps


def _measurable(pair: Pair) -> bool:
    facts = pair.sample.facts
    scenes = pair.sample.shared.get("scenes", {})
    return "objects" in facts and pair.sample.group in scenes and bool(facts.get("isBalanced", True))


def _boxes(pair: Pair) -> Rows:
    """x0, y0, x1, y1 of what a question points to, in fractions of its picture, with repetitions."""
    scene: Mapping[str, Json] = pair.sample.shared["scenes"][pair.sample.group]
    width, height = scene["size"]
    found = (scene["boxes"][name] for name in pair.sample.facts["objects"])
    return [(x / width, y / height, (x + w) / width, (y + h) / height) for x, y, w, h in found]


def _shape(rows: Rows, name: str, pair: Pair) -> tuple[int, int]:
    """Rows and columns of a map; one over boxes may have no rows."""
    lengths = {len(row) for row in rows} or {BOX if name == BOXES else 0}
    if len(lengths) > 1 or lengths == {0} or (name == BOXES and lengths != {BOX}):
        raise DataError(f"question {pair.sample.id}: the map {name!r} has rows of {sorted(lengths)} numbers")
    return len(rows), lengths.pop()
