"""Numbers and foreign text as reports show them."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Mapping

from harness.types import Json

JOINERS = "\u200c\u200d"
"""Invisible, but what some scripts and many emoji are written with."""
_INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"}
DASH = "–"


def visible(text: str) -> str:
    """Text whose control characters and marks of writing direction are written out, such as `\\x1b` or `\\u202e`.

    Line breaks and tabs stay as they are.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        character
        if character in "\n\t" or character in JOINERS or unicodedata.category(character) not in _INVISIBLE
        else character.encode("unicode_escape").decode()
        for character in text
    )


def number(value: float | None, beside: float = 0.0) -> str:
    """Three digits after the point, fewer where there are many before it, more where they would be zeros.

    A dash where there is no number.

    Args:
        beside: a number that it stands beside; both are written alike.
    """
    if value is None or not math.isfinite(value):
        return DASH
    size = max(abs(value), abs(beside))
    digits = 1 if size >= 100 else 2 if size >= 10 else 3 if size >= 0.01 or not size else 5
    return f"{value:,.{digits}f}".replace("-", "−")


def quantity(value: float) -> str:
    """A number of any size, such as a learning rate or bytes, to four digits: `3e-5`, `0.0123`, `1,234`, `1.2e+9`."""
    size = abs(value)
    if size and (size < 0.001 or size >= 1e7):
        digits, _, power = f"{value:.3e}".partition("e")
        shown = f"{digits.rstrip('0').rstrip('.')}e{int(power):+d}".replace("e+", "e")
    else:
        shown = f"{value:,.0f}" if size >= 1000 else f"{value:.4g}"
    return shown.replace("-", "−")


def signed(value: float | None, beside: float = 0.0) -> str:
    """A difference, with its sign."""
    shown = number(value, beside)
    return f"+{shown}" if value is not None and value > 0 else shown


def interval(score: Mapping[str, Json]) -> str:
    """`low … high`, or a dash."""
    low, high = score["low"], score["high"]
    return DASH if low is None or high is None else f"{number(low, high)} … {number(high, low)}"


def span(bounds: tuple[float, float] | None) -> str:
    """The interval of a difference, with signs; or a dash."""
    return DASH if bounds is None else f"{signed(bounds[0], bounds[1])} … {signed(bounds[1], bounds[0])}"


def count(value: int) -> str:
    """A whole number with its thousands apart."""
    return f"{value:,}"


def percent(fraction: float) -> str:
    """One digit after the point; never rounded up to the whole, which would hide a failure."""
    shown = f"{100 * fraction:.1f}"
    return "99.9%" if shown == "100.0" and fraction < 1 else f"{shown.removesuffix('.0')}%"


def p_value(p: float | None) -> str:
    """As `0.034`, `<0.001` or a dash."""
    return DASH if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"


def plural(n: int, one: str, many: str = "") -> str:
    """`1 sample`, `2,000 samples`."""
    return f"{count(n)} {one if n == 1 else many or one + 's'}"


def short(value: float | None) -> float | None:
    """Four digits of a number, which is what is shown and a third of the bytes; None where it is none."""
    return None if value is None or not math.isfinite(value) else float(f"{value:.4g}")
