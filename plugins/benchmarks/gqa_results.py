"""GQA's results: a file of answers, and where a model has attention, files of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from harness import DataError, Output, Trace
from plugins.benchmarks import official

ATTENTION, BOXES = "attention", "attention_boxes"
"""Names of a trace's maps: over the picture's grid, and over boxes of it."""

BOX = ("x0", "y0", "x1", "y1", "weight")
SLACK = 0.01
"""How far outside the picture a box may reach, as a share of it: boxes are rounded."""

Rows = list[list[float]]


class Answer(msgspec.Struct, gc=False, rename="camel"):
    question_id: str | int
    prediction: str


class Attention(msgspec.Struct, gc=False, rename="camel"):
    question_id: str | int
    attention: Rows


def read_results(paths: Sequence[Path]) -> Iterator[tuple[str, Output]]:
    """Question ids with answers, in the order of the first file; the other files hold attention."""
    answers, *others = paths
    traces = {key: trace for path in others for key, trace in read_attention(path)}
    for record in official.records([answers], Answer):
        key = str(record.question_id)
        yield key, Output(record.prediction, trace=traces.get(key))


def read_attention(path: Path) -> Iterator[tuple[str, Trace]]:
    """Question ids with traces, whose map `attention` has rows over the picture's grid, from its top.

    The first index of an official map goes from left to right, the second from top to bottom: eval.py lays cell
    [i][j] at x = i/size. A file of object-based attention has rows of five instead, x0, y0, x1, y1 (as fractions of
    the picture's width and height) and the weight; they become the map `attention_boxes`. eval.py is told by a flag
    which one a file has; here it shows, and where every question has five rows of five, they are boxes if all of
    them could be.

    Raises:
        DataError: a map is not square, not of the others' size, or a box is none.
    """
    records = list(official.records([path], Attention))
    boxes = _are_boxes([record.attention for record in records])
    size = len(records[0].attention) if records else 0
    for record in records:
        rows = record.attention
        problem = _box_problem(rows) if boxes else _grid_problem(rows, size)
        if problem:
            raise DataError(f"{path}: question {record.question_id}: attention: {problem}")
        maps = {BOXES: rows} if boxes else {ATTENTION: [list(row) for row in zip(*rows, strict=True)]}
        yield str(record.question_id), Trace(maps)


def _are_boxes(attentions: Iterable[Rows]) -> bool:
    known = [rows for rows in attentions if rows]
    if not known or any(len(row) != len(BOX) for rows in known for row in rows):
        return False
    return any(len(rows) != len(BOX) for rows in known) or not any(map(_box_problem, known))


def _box_problem(rows: Rows) -> str:
    for number, (x0, y0, x1, y1, _) in enumerate(rows):
        if min(x0, y0) < -SLACK or max(x1, y1) > 1 + SLACK:
            return f"row {number} is not in the picture; write {', '.join(BOX[:4])} as fractions of its size"
        if x0 >= x1 or y0 >= y1:
            return f"row {number} is a box without area ({', '.join(BOX[:4])})"
    return ""


def _grid_problem(rows: Rows, size: int) -> str:
    lengths = {len(row) for row in rows}
    if not rows or lengths != {len(rows)}:
        wide = "no" if not lengths else " or ".join(map(str, sorted(lengths)))
        return f"{len(rows)} rows of {wide} numbers are neither a square grid nor boxes ({', '.join(BOX)})"
    if len(rows) != size:
        return f"a grid of {len(rows)} by {len(rows)}, and the file's first is of {size} by {size}"
    return ""
