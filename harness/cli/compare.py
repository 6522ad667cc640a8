"""Compare two runs or models: the difference, its interval, and which samples changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from harness.cli.output import config_option, emit_json, json_option, say, table
from harness.cli.plain import plain
from harness.compare import COVERAGE, Comparison, corrected
from harness.difference import Difference
from harness.pairing import choose_pairs, runs_meant, whole
from harness.session import open_session

_SHOWN = 5
"""Ids of flipped samples that are printed each way; `--json` has more."""


class Number(click.FloatRange):
    """A number within a range, its bounds apart. `nan`, which is within every range to click, is not."""

    def __init__(self, low: float, high: float | None = None) -> None:
        super().__init__(low, high, min_open=True, max_open=high is not None)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value} is not a finite number.", param, ctx)
        return number


@click.command("compare")
@click.argument("a")
@click.argument("b")
@click.option("--bench", "benchmarks", multiple=True, help="Only this benchmark; may be repeated.")
@click.option("--protocol", help="Named scoring rules, instead of the configured ones.")
@click.option(
    "--metric", "metrics", multiple=True, help="A score or metric, instead of the configured ones; may be repeated."
)
@click.option("--confidence", type=Number(0, 1), default=0.95, show_default=True,
              help="Of the intervals, and of what is called better or worse.")  # fmt: skip
@config_option
@json_option
def command(
    a: str, b: str, benchmarks: tuple[str, ...], protocol: str | None, metrics: tuple[str, ...], confidence: float,
    config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare B with A on the samples that both answered.

    A and B are runs by their ids or beginnings, or models, whose newest complete run of each benchmark that both have
    is meant, one of all samples if there is one. Intervals and p-values are those of whole groups of samples, such as
    all questions on one picture; over several benchmarks the p-values are corrected by Holm's method.

    \b
    harness compare 0a1b 2c3d
    harness compare PLUGIN:production PLUGIN:latest --bench NAME
    """
    with open_session(config=config) as session:
        runs_a, runs_b = (runs_meant(text, session.store, session.catalog, session.checkpoints) for text in (a, b))
        comparisons = corrected([
            session.comparer.compare(*pair, say, protocol=protocol, metrics=metrics)
            for pair in choose_pairs(runs_a, runs_b, benchmarks)
        ])  # fmt: skip
    for comparison in comparisons:
        _remarks(comparison)
    if as_json:
        emit_json({"comparisons": [comparison.document(confidence) for comparison in comparisons]})
    else:
        _differences_table(comparisons, confidence)
        _flips_table(comparisons)
    click.get_current_context().exit(_exit_code(comparisons))


def _remarks(comparison: Comparison) -> None:
    name = comparison.a.benchmark
    if comparison.a.id == comparison.b.id:
        say(f"{name}: A and B are the same run, {comparison.a.id}")
    if not whole(comparison.a):
        say(f"{name}: only the first {comparison.a.identity['limit']} samples were evaluated")
    if comparison.shared < comparison.a.n:
        say(f"{name}: only {comparison.shared} of {comparison.a.n} samples were answered by both")
    for score, reason in comparison.uncompared.items():
        say(f"{name}: no {score}: {reason}")
    for score, item in comparison.scores.items():
        if note := item.document().get("note"):
            say(f"{name}: {score}: {note}")


def _differences_table(comparisons: Sequence[Comparison], confidence: float) -> None:
    p_value = "p" if len(comparisons) == 1 else "p (Holm)"
    columns = ("score", "A", "B", "B − A", f"{100 * confidence:g}% interval", p_value, "B is")
    rows = [
        (name, *_figures(item, confidence), "–" if item.p_holm is None else _p(item.p_holm), _verdict(item, confidence))
        for name, item in _scores(comparisons)
    ]
    sides = (("A", [pair.a for pair in comparisons]), ("B", [pair.b for pair in comparisons]))
    title = [f"{side}  {runs[0].model} (run {', '.join(run.id for run in runs)})" for side, runs in sides]
    table(columns, rows, numbers=columns[1:-1], title="\n".join(title))


def _figures(item: Difference, confidence: float) -> tuple[str, str, str, str]:
    found, interval = item.paired, item.interval(confidence)
    scale = max(abs(found.a), abs(found.b))
    digits = 0 if scale >= 10_000 else 1 if scale >= 100 else 3 if scale >= 0.1 or scale == 0 else 5
    span = "–" if interval is None else f"{interval[0]:+.{digits}f} … {interval[1]:+.{digits}f}"
    return f"{found.a:.{digits}f}", f"{found.b:.{digits}f}", f"{found.difference:+.{digits}f}", span


def _verdict(item: Difference, confidence: float) -> str:
    """What B is beside A, where that is not likely to be chance."""
    if item.interval(confidence) == (0, 0):
        return "equal"
    if item.p_holm is None or item.p_holm > 1 - confidence:
        return "–"
    return item.direction or ("higher" if item.paired.difference > 0 else "lower")


def _flips_table(comparisons: Sequence[Comparison]) -> None:
    rows = []
    for name, item in _scores(comparisons):
        found, flips = item.paired, item.flips
        counts = ("–", "–", "–") if flips is None else (str(flips.better), str(flips.worse), str(flips.same))
        rows.append((name, *counts, str(found.n), str(found.clusters), found.test or "–"))
    columns = ("what flipped", "better", "worse", "same", "samples", "groups", "test")
    table(columns, rows, numbers=columns[1:-1])
    for comparison in comparisons:
        main = next(((name, item.flips) for name, item in comparison.scores.items() if item.flips is not None), None)
        if main is not None:
            name, flips = main
            _examples(f"{comparison.a.benchmark}.{name}: better", flips.better, flips.better_ids)
            _examples(f"{comparison.a.benchmark}.{name}: worse", flips.worse, flips.worse_ids)


def _examples(what: str, count: int, ids: Sequence[str]) -> None:
    if count:
        more = f" and {count - _SHOWN} more" if count > _SHOWN else ""
        click.echo(plain(f"{what} in {', '.join(ids[:_SHOWN])}{more}"))


def _scores(comparisons: Sequence[Comparison]) -> list[tuple[str, Difference]]:
    """All scores by their full names."""
    return [
        (f"{comparison.a.benchmark}.{name}", item)
        for comparison in comparisons
        for name, item in comparison.scores.items()
    ]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def _exit_code(comparisons: Sequence[Comparison]) -> int:
    """0 where every comparison tested something and none missed a score, else 3."""
    return 0 if all(_tested(comparison) and not comparison.uncompared for comparison in comparisons) else 3


def _tested(comparison: Comparison) -> bool:
    """Whether anything was tested; coverage counts only where nothing else was to be compared."""
    items = [item for name, item in comparison.scores.items() if name != COVERAGE]
    if not items and not comparison.inapplicable:
        items = list(comparison.scores.values())
    return any(item.paired.p_value is not None for item in items)
