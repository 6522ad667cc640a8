"""A stored run in a notebook: its samples and scores as data frames, and a short page of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, TypeAlias

from harness.export.parquet import batches, schema
from harness.export.table import scored_table
from harness.report.text import count, interval, number, percent, plural, visible
from harness.session import open_session
from harness.types import Json

DataFrame: TypeAlias = Any
"""A `pandas.DataFrame`. The host imports no pandas."""

_SCORES = {
    "name": str, "metric": str, "breakdown": str, "key": str, "value": float, "stderr": float, "low": float,
    "high": float, "n": int, "clusters": int, "note": str,
}  # fmt: skip

# All colours are the notebook's own, which may be light or dark.
_FRAME = (
    "display:inline-block;max-width:100%;overflow-x:auto;padding:.6em .9em;border-radius:6px;"
    "border:1px solid color-mix(in srgb, currentColor 30%, transparent)"
)
_TABLE = "margin:.4em 0;border-collapse:collapse;color:inherit;font:inherit;font-variant-numeric:tabular-nums"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class LoadedRun:
    """A stored run.

    Attributes:
        id: the run's.
        document: what `harness eval --json` prints of it.
        frame: a row a sample, answered or failed, as `harness export` writes it.
        scores: a row a score and a row a part of a breakdown, by its full name `benchmark.metric[.breakdown.key]`;
            `low` and `high` are the 95% interval, clustered.
        remarks: what a reader of the frame must know.
    """

    id: str
    document: Mapping[str, Json]
    frame: DataFrame
    scores: DataFrame
    remarks: tuple[str, ...] = ()

    def __repr__(self) -> str:
        lines = [f"LoadedRun {self.id}: {self._model} on {self._benchmark}", self._state]
        lines += [f"{name} {number(score['value'])} ({interval(score)})" for name, score in self._main()]
        return visible("\n  ".join([*lines, *self._notes()]))

    def _repr_html_(self) -> str:
        rows = "".join(
            _row("td", [_shown(name), number(score["value"]), interval(score), count(score["n"])])
            for name, score in self._main()
        )
        notes = "".join(f'<div style="opacity:.8">{_shown(note)}</div>' for note in self._notes())
        table = (
            f'<table style="{_TABLE}"><thead>{_row("th", ["score", "value", "95% interval", "n"])}</thead>'
            f"<tbody>{rows}</tbody></table>"
        )
        return (
            f'<div style="{_FRAME}"><div><b>{_shown(self._model)}</b> on <b>{_shown(self._benchmark)}</b></div>'
            f'<div style="opacity:.8">run {_shown(self.id)}, {_shown(self._state)}</div>'
            f"{table if rows else ''}{notes}</div>"
        )

    @property
    def _model(self) -> str:
        model = self.document["model"]
        version = f" ({model['version']})" if model["version"] and not model["ref"].endswith(model["version"]) else ""
        return f"{model['ref']}{version}"

    @property
    def _benchmark(self) -> str:
        benchmark = self.document["benchmark"]
        return f"{benchmark['name']}, protocol {benchmark['protocol']}"

    @property
    def _state(self) -> str:
        failed = sum(self.document["failures"].values())
        return ", ".join([
            self.document["status"],
            plural(self.document["n"], "sample"),
            *([f"the first {self.document['limit']} only"] if self.document["limit"] else []),
            f"coverage {percent(self.document['coverage'])}",
            *([f"{count(failed)} failed"] if failed else []),
        ])  # fmt: skip

    def _main(self) -> Iterator[tuple[str, Mapping[str, Json]]]:
        """The scores as wholes, the main figure first."""
        yield from self.document["scores"].items()

    def _notes(self) -> Iterator[str]:
        yield from (f"{name} is {score['note']}" for name, score in self._main() if score.get("note"))
        yield from (f"no {name}: {reason}" for name, reason in self.document["unscored"].items())
        yield from self.remarks


def load_run(
    id: str, home: Path | str | None = None, protocol: str | None = None, *, traces: bool = False
) -> LoadedRun:
    """A stored run as data frames; a complete one that lacks the scores is scored first.

    Args:
        id: the run's id or its beginning.
        home: the workspace's folder; by default that of `HARNESS_HOME`, the settings, or `.harness`.
        protocol: named scoring rules, where the run was scored by several.
        traces: whether the maps of traces are columns too.

    Raises:
        UnknownName: there is no such run, or its benchmark knows no such protocol.
    """
    import pyarrow as pa

    remarks: list[str] = []
    with open_session(None if home is None else Path(home).expanduser()) as session:
        table = scored_table(session.store, session.scorer, id, protocol, remarks.append, traces=traces)
        frame = pa.Table.from_batches(batches(table), schema(table)).to_pandas()
    types = {str: pa.string(), float: pa.float64(), int: pa.int64()}
    layout = pa.schema([(name, types[kind]) for name, kind in _SCORES.items()])
    scores = pa.Table.from_pylist(list(_score_rows(table.document)), layout).to_pandas().set_index("name")
    return LoadedRun(table.run.id, table.document, frame, scores, tuple(remarks))


def _score_rows(document: Mapping[str, Json]) -> Iterator[dict[str, Json]]:
    """Every score, followed by the parts of its breakdowns."""
    benchmark = document["benchmark"]["name"]
    for metric, whole in document["scores"].items():
        yield {**whole, "name": f"{benchmark}.{metric}", "metric": metric}
        for breakdown, parts in whole.get("by", {}).items():
            for key, part in parts.items():
                name = f"{benchmark}.{metric}.{breakdown}.{key}"
                yield {**part, "name": name, "metric": metric, "breakdown": breakdown, "key": key}


def _shown(text: str) -> str:
    return escape(visible(text))


def _row(tag: str, cells: Sequence[str]) -> str:
    """A row of the table, its first cell to the left and numbers to the right."""
    sides = ["left", *["right"] * (len(cells) - 1)]
    return (
        "<tr>"
        + "".join(
            f'<{tag} style="text-align:{side};padding:.1em 1em .1em 0">{cell}</{tag}>'
            for side, cell in zip(sides, cells, strict=True)
        )
        + "</tr>"
    )
