"""What the page's sample browser is given of a board: columns, thumbnails, traces and long texts, within a size."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec

from harness.plan import Task
from harness.report.content import Board
from harness.report.pictures import Pictures, find_pictures, make_pictures, without_pictures
from harness.report.samples import CUT, SAMPLES, Columns, Table, columns, read_table
from harness.report.text import count, plural
from harness.report.traces import PackedTraces, pack_traces
from harness.store import RunStore
from harness.types import Json, Trace

LONG_SHARE = 0.25
"""What long texts may take of the bytes that the columns leave."""
TRACE_SHARE = 0.4
"""What traces may take of the bytes that are left then; the pictures have the rest."""


@dataclass(frozen=True, slots=True)
class Browser:
    """A board's samples, ready to be put into a page.

    Attributes:
        columns: see `samples.columns`.
        pictures: thumbnails, and the numbers of each row's.
        traces: one a run, by its letter.
        long: place -> a text as base64 of zlib's.
        remarks: what a reader must know of what is not there.
        rule: which answers count as right.
    """

    columns: Mapping[str, Json]
    pictures: Pictures
    traces: Mapping[str, PackedTraces]
    long: Mapping[str, str]
    remarks: tuple[str, ...]
    rule: str


def make_browser(
    store: RunStore,
    board: Board,
    open_task: Callable[[Board], Task] | None,
    budget: int,
    *,
    limit: int = SAMPLES,
    advance: Callable[[int], None] = lambda done: None,
) -> Browser:
    """Read a board's samples, and the pictures that are still there.

    Args:
        open_task: gives the benchmark with the data that the runs were made of; None leaves the pictures out.
        budget: bytes that it all may take; samples and answers come first, whatever they take.
    """
    table = read_table(store, board, limit)
    found = columns(table)
    room = max(0, budget - len(msgspec.json.encode(found.document)))
    long, left = _pack_texts(found, int(room * LONG_SHARE))
    room -= int(room * LONG_SHARE) - left
    traces, left = _pack_traces(table, int(room * TRACE_SHARE))
    room -= int(room * TRACE_SHARE) - left
    pictures = _pictures(table, open_task, room, advance)
    return Browser(found.document, pictures, traces, long, _remarks(table, pictures, traces, found, long), rule(table))


def rule(table: Table) -> str:
    """Which answers count as right, in words."""
    main, halving = table.board.main, table.halving
    if main is None or halving is None:
        return "No score has a value for each sample, so that none is called right or wrong."
    way = "at least" if table.board.rises(main) is not False else "less than"
    if table.board.is_fraction(main):
        return f"An answer is called right where its {main} is {way} {halving:.3g}, else wrong."
    return f"An answer is called better where its {main} is {way} {halving:.3g}, the median of all here, else worse."


def _pictures(
    table: Table, open_task: Callable[[Board], Task] | None, budget: int, advance: Callable[[int], None]
) -> Pictures:
    if open_task is None:
        return Pictures([], {})
    try:
        images = find_pictures(open_task(table.board), table.board.data_digest, table.places)
    except Exception as error:  # noqa: BLE001 - whatever a benchmark raises where its data has gone, the page goes on
        return without_pictures(error)
    return make_pictures(images, budget, advance)


def _pack_texts(found: Columns, budget: int) -> tuple[dict[str, str], int]:
    packed: dict[str, str] = {}
    for place, text in found.long.items():
        item = base64.b64encode(zlib.compress(text.encode(), 9)).decode()
        if len(item) <= budget:
            budget -= len(item)
            packed[place] = item
    return packed, budget


def _pack_traces(table: Table, budget: int) -> tuple[dict[str, PackedTraces], int]:
    traces: list[tuple[str, dict[int, Trace]]] = [
        (item.letter, answers.traces)
        for item, answers in zip(table.board.runs, table.answers, strict=True)
        if answers.traces
    ]
    packed: dict[str, PackedTraces] = {}
    for place, (letter, rows) in enumerate(traces):
        share = budget // (len(traces) - place)
        packed[letter], left = pack_traces(rows, share)
        budget -= share - left
    return packed, budget


def _remarks(
    table: Table, pictures: Pictures, traces: Mapping[str, PackedTraces], found: Columns, long: Mapping[str, str]
) -> tuple[str, ...]:
    rows = len(table.samples)
    thinned = [
        f"{letter}: the traces of {count(len(packed.packed))} of {plural(packed.total, 'sample')} are here."
        for letter, packed in traces.items()
        if len(packed.packed) < packed.total
    ]
    missing = len(found.long) - len(long)
    return tuple(
        filter(
            None,
            [
                f"{count(rows)} of {plural(table.total, 'sample')} are here, evenly spaced; the scores are of all."
                if rows < table.total
                else "",
                pictures.remark,
                *thinned,
                f"The search reads the first {count(CUT)} characters of a text." if found.long else "",
                f"Of {plural(missing, 'long text')} only the first {count(CUT)} characters are here."
                if missing
                else "",
            ],
        )
    )
