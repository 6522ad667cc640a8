"""The report as Markdown and as JSON, and how the command chooses."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from harness.errors import HarnessError, StoreError, UnknownName
from harness.report.markdown import LONGEST, escape, table
from harness.report.text import visible
from harness.types import Failure, Output, Sample

TEXTS = st.text(
    st.sampled_from("ab 1.-+=#*_`~|<>&[]()!\\\n\t\x1b\u202e:/@$") | st.characters(exclude_categories=["Cs"]),
    max_size=60,
)
READER = MarkdownIt("gfm-like", {"html": True, "linkify": False})


def shown(html: str) -> str:
    return unescape(html.removeprefix("<p>").removesuffix("</p>\n"))


@given(TEXTS)
def test_escaped_text_reads_as_itself(text: str) -> None:
    expected = " ".join(visible(text).split())
    html = READER.render(escape(text))
    assert html == "" if not expected else html.startswith("<p>"), html
    assert shown(html) == expected


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_escaped_text_stays_in_its_cell(rows: list[tuple[str, str]]) -> None:
    html = READER.render(table(("one", ">other"), [(escape(one), escape(other)) for one, other in rows]))
    cells = [part.partition("</td>")[0].partition(">")[2] for part in html.split("<td")[1:]]
    assert [unescape(cell) for cell in cells] == [" ".join(visible(text).split()) for row in rows for text in row]


def test_long_text_is_cut() -> None:
    assert escape("x" * 10_000) == "x" * LONGEST + "…"


def test_addresses_do_not_become_links() -> None:
    escaped = escape("http://evil.example www.evil.example [x](http://evil.example)")
    assert "http:" not in escaped
    assert "www." not in escaped
    assert "<a" not in READER.render(escaped)


def test_the_markdown_says_what_the_page_says(made: Any, answering: Any) -> None:
    def failing(number: int, sample: Sample) -> Output | Failure:
        return Failure("<b>bad</b>", "it | broke\n# badly") if number == 0 else answering(0.9)(number, sample)

    first, second = made.run("acme-parrot:a", answering(0.3)), made.run("acme-parrot:`b`|c", failing)
    result = made.report(first, second, "--format", "md")
    assert result.exit_code == 0
    text = result.stdout
    html = READER.render(text)
    assert "<b>" not in html
    assert html.count("<h1>") == 1
    assert "acme-parrot:`b`|c" in html
    assert "1 of 40 samples failed (&lt;b&gt;bad&lt;/b&gt;), such as: it | broke # badly" in html
    score = made.session.store.scored(second, "strict").scores["exact"]
    assert f"| exact | B | {score.value:.3f} | {score.low:.3f} … {score.high:.3f} | 39 | 10 |" in text
    found = made.session.comparer.compare(first, second, print).scores["exact"]
    assert f"| exact | +{found.paired.difference:.3f} |" in text
    assert f"| {found.flips.better} / {found.flips.worse} |" in text
    assert "### exact by kind of sample" in text
    # Every row of a table has as many cells as its head.
    for block in text.split("\n\n"):
        if block.startswith("| "):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_the_json_has_the_documents_and_what_was_found(made: Any, answering: Any) -> None:
    first, second = made.run("acme-parrot:a", answering(0.3)), made.run("acme-parrot:b", answering(0.9))
    document = json.loads(made.report(first, second, "--format", "json").stdout)
    assert [run["run"] for run in document["runs"]] == [first.id, second.id]
    assert document["runs"][1] == json.loads(json.dumps(made.session.rescore(second.id)))
    (comparison,) = document["comparisons"]
    assert comparison == json.loads(json.dumps(made.session.comparer.compare(first, second, print).document())) | {
        "scores": comparison["scores"]
    }
    values = [made.session.store.per_sample(run, "strict")["exact"] for run in (first, second)]
    assert comparison["scores"]["exact"]["difference"] == pytest.approx((values[1] - values[0]).mean())
    assert [item["quantity"] for item in document["calibration"][first.id]] == ["visual tokens", "need"]
    assert document["verdicts"] == []


@pytest.mark.parametrize(
    ("arguments", "file", "begins"),
    [
        ((), "report.html", "<!doctype html>"),
        (("--out", "x.md"), "x.md", "# acme"),
        (("--out", "x.json"), "x.json", "{"),
        (("--out", "x.htm"), "x.htm", "<!doctype html>"),
        (("--out", "x.txt", "--format", "md"), "x.txt", "# acme"),
        (("--format", "html", "--out", "-"), None, "<!doctype html>"),
        (("--format", "md"), None, "# acme"),
    ],
)
def test_the_format_is_what_the_name_says(
    made: Any, answering: Any, arguments: tuple[str, ...], file: str | None, begins: str
) -> None:
    result = made.report(made.run("acme-parrot:a", answering(0.5)), *arguments)
    assert result.exit_code == 0
    text = result.stdout if file is None else (made.folder / file).read_text()
    assert text.startswith(begins)
    assert (result.stdout == "") == (file is not None)
    assert file is None or f"{file}: 1 run, " in result.stderr


def test_wrong_ways(made: Any, answering: Any) -> None:
    assert made.report().exit_code == 2
    run = made.run("acme-parrot:a", answering(0.5))
    with pytest.raises(UnknownName, match="unknown run 'nothing'"):
        made.report("nothing")
    with pytest.raises(UnknownName, match="unknown protocol"):
        made.report(run, "--protocol", "strictt")
    with pytest.raises(StoreError, match="cannot be written"):
        made.report(run, "--out", str(Path("no") / "folder" / "x.html"))
    assert issubclass(StoreError, HarnessError)
    assert made.report(run, "--megabytes", "0").exit_code == click.UsageError.exit_code
