"""A report as one HTML page that needs nothing else: styles, scripts, data and pictures lie in it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources
from typing import Any

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.report import charts, summary, text, verdict
from harness.report.browser import Browser
from harness.report.calibration import BINS
from harness.report.content import Board, Report
from harness.report.courses import differing, panels
from harness.types import Json

STYLE = "report.css"
SCRIPTS = ("theme.js", "data.js", "overlay.js", "detail.js", "browser.js")
FEW = 8
"""Keys of a breakdown that are shown at once."""
MANY = 10
"""Scores that are shown at once."""
QUANTITIES = 9
"""Drawings of calibration, at most."""


def render_page(report: Report, browsers: Sequence[Browser]) -> str:
    """The page.

    Args:
        browsers: one a board, in their order; none leaves the samples out.
    """
    style, scripts = static(STYLE), [static(name) for name in SCRIPTS if browsers or name == "theme.js"]
    return environment().get_template("page.html.j2").render(
        report=report,
        browsers=browsers,
        data=[embedded(browser) for browser in browsers],
        style=style,
        scripts=scripts,
        policy=content_policy([style], scripts),
    )  # fmt: skip


def content_policy(styles: Sequence[str], scripts: Sequence[str]) -> str:
    """A Content-Security-Policy that allows these very styles and scripts and pictures in the page, nothing else."""
    return "; ".join([
        "default-src 'none'",
        "img-src data:",
        f"style-src {' '.join(map(_hash, styles))}",
        f"script-src {' '.join(map(_hash, scripts))}",
        "base-uri 'none'",
        "form-action 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ])  # fmt: skip


def embedded(browser: Browser) -> Mapping[str, Markup]:
    """A browser's data by the suffix of the elements that hold it. The script reads each when it needs it."""
    traces = {
        letter: {"layouts": packed.layouts, "rows": packed.packed} for letter, packed in browser.traces.items()
    }  # fmt: skip
    return {
        "samples": as_json(browser.columns),
        "pictures": as_json({"thumbnails": browser.pictures.thumbnails, "of": browser.pictures.of}),
        "traces": as_json(traces),
        "long": as_json(browser.long),
    }


def as_json(value: Json) -> Markup:
    """JSON that no text in it can end: within a script element, `<` is the only character that could."""
    return Markup(msgspec.json.encode(value).decode().replace("<", "\\u003c"))


@cache
def environment() -> Environment:
    """Templates with every text escaped, and its control characters made visible."""
    found = Environment(
        loader=PackageLoader("harness.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        text.number,
        text.signed,
        text.interval,
        text.span,
        text.count,
        text.percent,
        text.p_value,
        text.quantity,
        charts.tick,
        charts.digits,
    ):
        found.filters[function.__name__] = function
    found.filters["when"] = lambda moment: text.DASH if moment is None else moment[:16].replace("T", " ") + " UTC"
    found.filters["series"] = lambda letter: ord(letter[0]) % 8
    for helper in (
        text.plural, charts.scale_of, charts.around, charts.spending, charts.forests, charts.said,
        charts.course_scales, charts.polyline, charts.course_said, panels, differing, summary.course_headline,
        charts.heat, charts.about, charts.extremes, verdict.bounds, verdict.named, summary.title, summary.headline,
        summary.judged, summary.warnings, summary.told, summary.state, summary.covered, breakdowns,
    ):  # fmt: skip
        found.globals[helper.__name__] = helper
    found.globals.update(FEW=FEW, MANY=MANY, QUANTITIES=QUANTITIES, BINS=BINS)
    return found


def breakdowns(board: Board, score: str) -> dict[str, list[str]]:
    """The breakdowns of a score with their keys: numbers in their order, others by how many samples they have."""
    sizes: dict[str, dict[str, int]] = {}
    for item in board.runs:
        found = board.score(item.letter, score) or {}
        for name, parts in found.get("by", {}).items():
            for key, part in parts.items():
                sizes.setdefault(name, {})[key] = max(part["n"], sizes.get(name, {}).get(key, 0))
    return {name: _in_order(keys) for name, keys in sizes.items()}


def _in_order(sizes: Mapping[str, int]) -> list[str]:
    if all(key.isdecimal() for key in sizes):
        return sorted(sizes, key=int)
    return sorted(sizes, key=lambda key: -sizes[key])


def _finalize(value: Any) -> Any:
    return text.visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value


@cache
def static(name: str) -> Markup:
    """A style sheet or script of ours."""
    return Markup(resources.files("harness.report").joinpath("static", name).read_text("utf-8"))


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
