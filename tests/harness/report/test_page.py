"""The page: everything in it, nothing from elsewhere, foreign text as text."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests_support import write_settings

from harness.report.text import interval, number, percent, signed, span, visible
from harness.types import Failure, Output, Sample, Usage

HOSTILE = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "\x1b[31mred\x1b[0m and \x00 and \x9b",
    "\u202egnitirw\u202c",
    "<!-- <script> -->",
    '"><svg onload=alert(1)>',
    "{{ 7 * 7 }} {% raw %}",
]


ELEMENTS = set(
    (  # noqa: SIM905 - as a list this is fifty lines
        "html head meta title link style script body header nav main section article footer div p span a h1 h2 h3 h4 "
        "ul ol li dl dt dd table thead tbody tr th td details summary noscript figure figcaption small strong br wbr "
        "bdi code kbd svg g line circle rect polyline path text form fieldset legend label input select option button"
    ).split()
)
"""What a page is made of, images apart: those are the script's to add."""


class Reader(HTMLParser):
    """What a browser would make of the page: elements, attributes, scripts, visible text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.contents: dict[str, list[str]] = {"script": [], "style": []}
        self.text: list[str] = []
        self._inside = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag
        if tag in self.contents:
            self.contents[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside in self.contents:
            self.contents[self._inside][-1] += data
        else:
            self.text.append(data)

    def data(self, name: str) -> Any:
        """The JSON that lies in an element of that id."""
        scripts = [attributes for tag, attributes in self.tags if tag == "script"]
        place = [attributes.get("id") for attributes in scripts].index(name)
        return json.loads(self.contents["script"][place])


def test_the_page_needs_nothing_from_elsewhere(made: Any, answering: Any) -> None:
    page = Reader(made.page(made.run("acme-parrot:last", answering(0.5))))
    for tag, attributes in page.tags:
        assert tag not in {"iframe", "object", "embed", "form action", "base"}
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", (tag, value)
            if name in {"src", "href", "action", "srcset"}:
                assert (value or "").startswith(("#", "data:")), (tag, value)
    style = "".join(page.contents["style"])
    assert "url(" not in style
    assert "@import" not in style


def test_the_policy_allows_exactly_the_pages_own_script_and_style(made: Any, answering: Any) -> None:
    page = Reader(made.page(made.run("acme-parrot:last", answering(0.5))))
    policy = next(
        attributes["content"] for _, attributes in page.tags
        if attributes.get("http-equiv") == "Content-Security-Policy"
    )  # fmt: skip
    assert policy is not None
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert "unsafe" not in policy
    types = [attributes.get("type") for tag, attributes in page.tags if tag == "script"]
    ours = [text for text, kind in zip(page.contents["script"], types, strict=True) if kind is None]
    for directive, contents in (("script-src", ours), ("style-src", page.contents["style"])):
        hashes = {
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in contents
        }  # fmt: skip
        assert set(rules[directive].split()) == hashes


def test_foreign_text_is_text_everywhere(made: Any) -> None:
    rows = [
        {"id": f"{text}{number}", "question": text, "answers": [text], "group": text, "topic": HOSTILE[number % 7],
         "picture": f"{number % 4}.jpg"}
        for number, text in enumerate(HOSTILE * 4)
    ]  # fmt: skip
    made.write_questions(rows)

    def answer(number: int, sample: Sample) -> Output | Failure:
        text = HOSTILE[number % len(HOSTILE)]
        return Failure(text, f"{text} happened") if number % 5 == 4 else Output(text, Usage(1, 2, 3, 4))

    first = made.run(HOSTILE[0], answer, facts={"command": HOSTILE[1], HOSTILE[5]: HOSTILE[2]})
    second = made.run(HOSTILE[1], answer)
    content = made.page(first, second)
    page = Reader(content)
    # No element but ours, no attribute but ours.
    assert {tag for tag, _ in page.tags} <= ELEMENTS
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(page.text))
    shown = "".join(page.text)
    assert HOSTILE[0] in shown
    assert "\\x1b[31mred" in shown
    assert "{{ 7 * 7 }}" in shown
    # The data is what was stored, to the character.
    columns = page.data("samples-0")
    assert columns["questions"] == [row["question"] for row in rows]
    assert columns["runs"][0]["text"][0] == HOSTILE[0]
    assert columns["runs"][0]["failures"]["4"][1] == f"{HOSTILE[4]} happened"
    assert all(
        "<" not in text for text in re.findall(r'type="application/json"[^>]*>(.*?)</script>', content, re.DOTALL)
    )


def test_runs_on_the_same_data_stand_side_by_side_and_are_compared(made: Any, answering: Any) -> None:
    first, second = made.run("acme-parrot:a", answering(0.3)), made.run("acme-parrot:b", answering(0.9))
    content = made.page(first, second)
    page = Reader(content)
    columns = page.data("samples-0")
    assert [run["letter"] for run in columns["runs"]] == ["A", "B"]
    assert len(columns["ids"]) == 40
    assert "B's exact is better than A's" in "".join(page.text)
    stored = [made.session.store.per_sample(run, "strict")["exact"] for run in (first, second)]
    for run, values in zip(columns["runs"], stored, strict=True):
        assert run["scores"]["exact"] == values.tolist()
    assert columns["facets"]["topic"]["keys"] == ["art", "sport"]
    assert columns["halving"] == 0.5


def test_runs_that_cannot_be_compared_are_shown_with_the_reason(made: Any, answering: Any) -> None:
    whole, part = made.run("acme-parrot:a", answering(0.5)), made.run("acme-parrot:b", answering(0.5), limit=20)
    shown = "".join(Reader(made.page(whole, part)).text)
    assert "Not compared" in shown
    assert "limit differs (None and 20)" in shown
    assert "answered only the first 20 samples" in shown


def test_scores_of_answers_beside_failures_stay_with_their_samples(made: Any) -> None:
    def answer(number: int, sample: Sample) -> Output | Failure:
        return Failure("busy", "no") if number % 3 == 0 else Output(sample.references[0] if number % 2 else "wrong")

    columns = Reader(made.page(made.run("acme-parrot:a", answer))).data("samples-0")
    run = columns["runs"][0]
    for row in range(40):
        expected = None if row % 3 == 0 else float(row % 2)
        assert run["scores"]["exact"][row] == expected, row
        assert (str(row) in run["failures"]) == (row % 3 == 0)


def test_a_run_that_is_going_and_one_without_scores(made: Any, answering: Any) -> None:
    going = made.run("acme-parrot:a", answering(0.5), complete=False)
    shown = "".join(Reader(made.page(going)).text)
    assert "is not complete: running" in shown
    assert "has no scores" in shown
    assert "There are no scores yet." in shown


def test_a_complete_run_is_scored_where_it_was_not(made: Any, answering: Any) -> None:
    run = made.run("acme-parrot:a", answering(0.5))
    assert made.session.store.protocols(run) == ["strict"]
    assert "lower" in "".join(Reader(made.page(run, "--protocol", "lower")).text)
    assert made.session.store.protocols(run) == ["lower", "strict"]


def test_notes_reasons_and_failures_are_told(made: Any) -> None:
    write_settings(made.folder, ["exact", "exact_words", "acme-raises", "acme-needy", "acme-nothing"])

    def answer(number: int, sample: Sample) -> Output | Failure:
        return Failure("unreadable_image", f"{sample.id}.jpg is torn") if number == 3 else Output("x")

    shown = " ".join("".join(Reader(made.page(made.run("acme-parrot:a", answer))).text).split())
    assert "no acme-raises: ZeroDivisionError: nothing to divide by" in shown
    assert "no acme-needy: needs acme-absent" in shown
    assert "1 of 40 samples failed (unreadable_image), such as: q3.jpg is torn" in shown
    assert "97.5% of 40" in shown
    assert "not comparable: only 39 of 40 samples were answered" in shown


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (lambda data: (data / "trivia.jsonl").unlink(), "no such file"),
        (
            lambda data: (data / "trivia.jsonl").write_text('{"id": "q0", "question": "?", "answers": []}\n'),
            "other data",
        ),
        (lambda data: [path.unlink() for path in data.glob("*.jpg")], "4 pictures could not be read"),
        (lambda data: (data / "2.jpg").write_bytes(b"no picture"), "1 picture could not be read"),
    ],
)
def test_the_page_does_without_pictures(made: Any, answering: Any, change: Callable[[Path], Any], remark: str) -> None:
    run = made.run("acme-parrot:a", answering(0.5))
    change(made.data)
    page = Reader(made.page(run))
    assert remark in "".join(page.text)
    assert len(page.data("pictures-0")["thumbnails"]) == (3 if "1 picture" in remark else 0)


def test_pictures_may_have_moved_or_be_left_out(made: Any, answering: Any) -> None:
    run = made.run("acme-parrot:a", answering(0.5))
    elsewhere = made.data.rename(made.folder / "elsewhere")
    assert not Reader(made.page(run)).data("pictures-0")["thumbnails"]
    found = Reader(made.page(run, "--data", str(elsewhere))).data("pictures-0")
    assert len(found["thumbnails"]) == 4
    assert found["of"] == {str(number): found["of"][str(number % 4)] for number in range(40)}
    assert not Reader(made.page(run, "--data", str(elsewhere), "--no-pictures")).data("pictures-0")["thumbnails"]


def test_several_benchmarks_have_a_section_each(made: Any, answering: Any) -> None:
    first = made.run("acme-parrot:a", answering(0.5))
    rows = [{"id": "x", "question": "another?", "answers": ["a"]}, {"id": "y", "question": "one?", "answers": ["b"]}]
    made.write_questions(rows)
    second = made.run("acme-parrot:a", answering(0.5))
    page = Reader(made.page(first, second, first))
    assert [len(page.data(f"samples-{number}")["ids"]) for number in (0, 1)] == [40, 2]
    assert [page.data(f"samples-{number}")["runs"][0]["letter"] for number in (0, 1)] == ["A", "B"]


def test_long_texts_are_cut_and_come_whole_on_demand(made: Any) -> None:
    import zlib

    long = "a long story " * 90_000  # more than a million characters

    def answer(number: int, sample: Sample) -> Output:
        return Output(long if number == 2 else "short")

    page = Reader(made.page(made.run("acme-parrot:a", answer)))
    cut, length, place = page.data("samples-0")["runs"][0]["text"][2]
    assert (cut, length) == (long[:2000], len(long))
    whole = zlib.decompress(base64.b64decode(page.data("long-0")[place])).decode()
    assert whole == long[:1_000_000]


def test_verdicts_on_the_runs_are_shown(made: Any, answering: Any) -> None:
    run = made.run("acme-parrot:a", answering(0.5))
    from harness.verdict import Finding, Verdict

    def verdict(policy: str, status: str, judged: str) -> Verdict:
        finding = Finding("acme-trivia.exact", "≥ 0.9", status, 0.5, 0.4, 0.6, reason="too low")
        model = {"ref": "acme-parrot:a", "version": "v1", "digest": "d" * 64, "image": "real"}
        return Verdict(status, policy, "digest", model, None, None, {"acme-trivia": judged}, {}, (finding,))

    for item in (verdict("production", "pass", run.id), verdict("production", "fail", run.id),
                 verdict("elsewhere", "fail", "another")):  # fmt: skip
        made.session.verdicts.keep(item)
    shown = " ".join("".join(Reader(made.page(run)).text).split())
    assert "production: fail" in shown
    assert "0.400 … 0.600" in shown
    assert "elsewhere" not in shown
    assert "production: pass" not in shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain text, äöü, 日本語, עברית, 👩‍🚀", "plain text, äöü, 日本語, עברית, 👩‍🚀"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[0m\r\x7f\x9b", "\\x1b[0m\\r\\x7f\\x9b"),
        ("\u202e\u2066\u200f\ufeff\U000e0041", "\\u202e\\u2066\\u200f\\ufeff\\U000e0041"),
    ],
)
def test_what_cannot_be_seen_is_written_out(text: str, expected: str) -> None:
    assert visible(text) == expected


def test_numbers_are_written_as_they_are_read() -> None:
    assert [number(value) for value in (0.61234, 12.3456, 1234.5, -0.5, 0.0023, 0, None, float("nan"))] == [
        "0.612", "12.35", "1,234.5", "−0.500", "0.00230", "0.000", "–", "–"
    ]  # fmt: skip
    assert [signed(value) for value in (0.1, -0.1, 0.0)] == ["+0.100", "−0.100", "0.000"]
    assert [percent(value) for value in (1, 0.9999, 0.995, 0)] == ["100%", "99.9%", "99.5%", "0%"]
    assert interval({"low": 0.1, "high": 0.25}) == "0.100 … 0.250"
    assert interval({"low": None, "high": None}) == "–"
    # Numbers that stand together are written alike.
    assert interval({"low": 0.0012, "high": 0.0034}) == "0.00120 … 0.00340"
    assert span((-0.0012, 0.25)) == "−0.001 … +0.250"
    assert span(None) == "–"
