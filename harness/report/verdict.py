"""A verdict as JUnit XML, which CI shows, and as Markdown, for a pull request's comment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from xml.etree import ElementTree

from harness.report.markdown import escape, table
from harness.report.text import DASH, number, signed, visible
from harness.verdict import FAIL, INCOMPLETE, PASS, SKIPPED, UNDECIDED, Finding, Verdict

ELEMENTS: Mapping[str, str] = {FAIL: "failure", UNDECIDED: "error", INCOMPLETE: "error", SKIPPED: "skipped"}
"""What JUnit calls a requirement that did not pass: what cannot be told is no failure, and no success either."""
MARKS = {PASS: "✅", FAIL: "❌", UNDECIDED: "❔", INCOMPLETE: "⚠️", SKIPPED: "➖"}


def junit(verdict: Verdict) -> str:
    """One test case a requirement."""
    found = Counter(ELEMENTS.get(item.status, "") for item in verdict.findings)
    suite = ElementTree.Element("testsuite", {
        "name": _text(f"gate {verdict.policy}"), "tests": str(len(verdict.findings)),
        "failures": str(found["failure"]), "errors": str(found["error"]), "skipped": str(found["skipped"]),
    })  # fmt: skip
    properties = ElementTree.SubElement(suite, "properties")
    about = {"verdict": verdict.verdict, "id": verdict.id, "model": str(verdict.model["ref"]),
             "baseline": str(verdict.baseline["ref"]) if verdict.baseline else "none"}  # fmt: skip
    for name, value in about.items():
        ElementTree.SubElement(properties, "property", {"name": name, "value": _text(value)})
    for item in verdict.findings:
        case = ElementTree.SubElement(suite, "testcase", {
            "classname": _text(f"gate.{verdict.policy}"), "name": _text(f"{item.score} {item.needed}"),
        })  # fmt: skip
        if item.status in ELEMENTS:
            said = {"type": item.status, "message": _text(_sentence(item))}
            ElementTree.SubElement(case, ELEMENTS[item.status], said)
    ElementTree.indent(suite)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(suite, encoding="unicode") + "\n"


def markdown(verdict: Verdict) -> str:
    """A headline, a table and the notes."""
    against = f" against {escape(str(verdict.baseline['ref']))}" if verdict.baseline else ""
    rows = [
        (MARKS[item.status] + " " + item.status, f"{escape(item.score)}", figure(item),
         bounds(item), escape(item.needed), escape(item.reason))
        for item in verdict.findings
    ]  # fmt: skip
    parts = [
        f"## {MARKS[verdict.verdict]} Gate {escape(verdict.policy)}: {verdict.verdict}",
        f"{escape(named(verdict.model))}{against}, verdict `{verdict.id}`",
        table(("verdict", "score", ">measured", ">interval", "needed", "why"), rows),
        *(f"- {escape(note)}" for note in verdict.notes),
    ]
    return "\n\n".join(parts) + "\n"


def named(model: Mapping[str, object]) -> str:
    """A model's reference with its version, where it has one that the reference does not tell."""
    ref, version = str(model["ref"]), model["version"]
    return f"{ref} ({version})" if version and f":{version}" not in ref else ref


def figure(item: Finding) -> str:
    """What was measured: a score, or of a comparison the difference with its sign, or the ratio."""
    if item.baseline is None or item.measured is None:
        return number(item.measured)
    return f"Δ {signed(item.measured)}" if item.low is not None or item.measured <= 0 else f"× {number(item.measured)}"


def bounds(item: Finding) -> str:
    """A finding's interval, or a dash."""
    return DASH if item.low is None or item.high is None else f"{number(item.low)} … {number(item.high)}"


def _sentence(item: Finding) -> str:
    measured = "" if item.measured is None else f"measured {number(item.measured)}"
    interval = "" if item.low is None else f"interval {bounds(item)}"
    return "; ".join(filter(None, (f"{item.status}: needs {item.needed}", measured, interval, item.reason)))


def _text(text: str) -> str:
    """Without what XML cannot hold."""
    return visible(text).replace("\n", " ")
