"""Any text as Markdown, and tables of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.report.text import visible

_SPECIAL = re.compile(r"([\\`*_\[\]#!|~$:]|(?<=www)\.|^[-+=]|(?<=^\d)[.)])")
"""What makes links, emphasis, code, mathematics, tables, and at a line's beginning lists and headings."""
LONGEST = 300
"""Characters of a text from data, models or errors."""


def escape(text: str) -> str:
    """Any text as Markdown that shows just it, on one line, also within a table."""
    line = " ".join(visible(text if len(text) <= LONGEST else text[:LONGEST] + "…").split())
    marked = _SPECIAL.sub(r"\\\1", line)
    return marked.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of cells that are Markdown already; a column whose name starts with `>` is aligned to the right."""
    head = [column.removeprefix(">") for column in columns]
    rule = ["---:" if column.startswith(">") else "---" for column in columns]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (head, rule, *rows))
