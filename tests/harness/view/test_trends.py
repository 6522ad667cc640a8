"""Trends: what is drawn are the stored scores, of runs that may be compared."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from tests_support import write_settings

from harness.store import Run
from harness.view.overview import named
from harness.view.trends import HEIGHT, LINES, Trend, Wish


@pytest.fixture
def lines(made: Any, answering: Callable[[float], Any]) -> Any:
    """Three versions of a book, two of them without pictures, one parrot without versions."""
    for number, share in enumerate((0.3, 0.6, 0.5)):
        made.run(f"acme-book:v{number}", answering(share), version=f"v{number}", digest=str(number) * 32)
    for number in (0, 2):
        made.run(f"acme-book:v{number},image=none", answering(0.1), version=f"v{number}", image="none")
    made.run("acme-parrot:last", answering(0.9))
    return made


def points(trend: Trend) -> dict[str, list[tuple[int, float]]]:
    return {line.name: [(point.number, point.score.value) for point in line.points] for line in trend.lines}


def stored(made: Any, run: Run, score: str = "exact") -> Any:
    return made.session.store.scored(run, made.session.store.protocols(run)[0]).scores[score]


def test_lines_are_the_stored_scores_in_the_order_of_versions(lines: Any) -> None:
    trend = lines.workspace.trend(Wish())
    values = {run.model: stored(lines, run).value for run in lines.session.store.runs()}
    assert points(trend) == {
        "acme-book": [(number, values[f"acme-book:v{number}"]) for number in range(3)],
        "acme-book,image=none": [(number, values[f"acme-book:v{number},image=none"]) for number in (0, 2)],
    }
    assert trend.wish == Wish("acme-trivia", trend.settings[0].key, "exact")
    assert trend.without_version == 1
    befores = [point.before and point.before.version for point in trend.lines[0].points]
    assert befores == [None, "v0", "v1"]


def test_the_page_draws_and_lists_them(lines: Any) -> None:
    lines.checkpoint("acme-book", "x", "production")
    text = lines.client().get("/trends").text
    trend = lines.workspace.trend(Wish())
    for line in trend.lines:
        for point in line.points:
            low, high = f"{point.score.low:.3f}", f"{point.score.high:.3f}"
            said = f"{line.name} v{point.number}: {point.score.value:.3f}, 95% interval {low} to {high}"
            assert f'aria-label="{said}"' in text
            assert text.count(f'href="/runs/{point.run.id}"') == 2
    places = [(float(x), float(y)) for x, y in re.findall(r'class="point" cx="([\d.]+)%" cy="([\d.]+)" r="5"', text)]
    drawn = places[:5]
    assert [x for x, _ in drawn] == [4.0, 50.0, 96.0, 4.0, 96.0]
    assert all(0 < y < HEIGHT for _, y in drawn)
    # Higher is higher up.
    values = [point.score.value for point in trend.points]
    assert sorted(range(5), key=lambda place: -drawn[place][1]) == sorted(range(5), key=values.__getitem__)
    assert "Compare with v1" in text
    assert "1 complete run of" in text


def test_aliases_are_shown_where_their_version_is(made: Any, answering: Callable[[float], Any]) -> None:
    for number in range(2):
        version = made.checkpoint("acme-book", f"c{number}", *(["production"] if number == 0 else []))
        made.run(f"acme-book:v{number}", answering(0.4), version=f"v{number}", digest=version.digest)
    text = made.client().get("/trends").text
    assert re.findall(r'<text class="alias" x="([\d.]+)%"[^>]*>(\w+)<', text) == [("4.0", "production")]
    heads = re.findall(r'<th scope="row">.*?</th>', text, re.DOTALL)
    assert ["production" in head for head in heads] == [False, True]


def test_a_part_of_a_score_can_be_chosen(lines: Any) -> None:
    trend = lines.workspace.trend(Wish(kind="topic.sport"))
    runs = {run.model: run for run in lines.session.store.runs()}
    expected = [stored(lines, runs[f"acme-book:v{number}"]).by["topic"]["sport"].value for number in range(3)]
    assert [value for _, value in points(trend)["acme-book"]] == expected
    assert trend.kinds == {"topic": ["topic.art", "topic.sport"]}
    assert "acme-trivia.exact.topic.sport" in lines.client().get(trend.wish.address()).text


def test_another_score_and_one_line_can_be_chosen(made: Any, answering: Callable[[float], Any]) -> None:
    write_settings(made.folder, ["exact", "exact_words"])
    run = made.run("acme-book:v1", answering(0.4), version="v1")
    made.run("acme-other:v1", answering(0.7), version="v1")
    trend = made.workspace.trend(Wish(score="exact_words", model="acme-book"))
    assert trend.scores == ("exact", "exact_words")
    assert points(trend) == {"acme-book": [(1, stored(made, run, "exact_words").value)]}
    assert trend.models == ("acme-book", "acme-other")
    # What there is not is left at its default.
    wish = Wish("nothing", "nothing", "nothing", "nothing", "nothing")
    assert points(made.workspace.trend(wish)).keys() == {"acme-book", "acme-other"}


def test_only_what_is_comparable_is_one_trend(made: Any, answering: Callable[[float], Any]) -> None:
    for number in range(3):
        made.run(f"acme-book:v{number}", answering(0.4), version=f"v{number}")
    part = made.run("acme-book:v3", answering(0.9), version="v3", limit=20)
    made.run("acme-book:v4", answered=5, version="v4")
    made.write_questions([{"id": "x", "question": "another?", "answers": ["a"]}])
    other = made.run("acme-book:v5", answering(1.0), version="v5")
    trend = made.workspace.trend(Wish())
    assert [number for number, _ in points(trend)["acme-book"]] == [0, 1, 2]
    assert len(trend.settings) == 3
    found = {setting.limit or setting.data_digest: setting.key for setting in trend.settings}
    for key, run in ((20, part), (other.identity["data_digest"], other)):
        (point,) = made.workspace.trend(Wish(setting=found[key])).points
        assert point.run.id == run.id


def test_of_a_versions_runs_the_newest_counts(made: Any, answering: Callable[[float], Any]) -> None:
    made.run("acme-book:latest", answering(0.3), version="v1", digest="a" * 32)
    newest = made.run("acme-book:v1", answering(0.8), version="v1", digest="b" * 32)
    (point,) = made.workspace.trend(Wish()).points
    assert point.run.id == newest.id


def test_more_lines_than_colours_are_not_drawn(made: Any, answering: Callable[[float], Any]) -> None:
    for number in range(LINES + 2):
        made.run(f"acme-book:v1,sleep={number}", answering(0.4), version="v1")
    trend = made.workspace.trend(Wish())
    assert (len(trend.lines), trend.hidden, len(trend.models)) == (LINES, 2, LINES + 2)
    assert "2 more models would not be told apart" in made.client().get("/trends").text


def test_many_versions_are_drawn_and_the_newest_listed(made: Any) -> None:
    run = made.run("acme-book:v0", version="v0")
    with made.session.database.transaction() as connection:
        columns = "model, digest, benchmark, identity, facts, status, n, seconds, created, finished"
        for number in range(1, 101):
            key = connection.execute(
                f"INSERT INTO runs (id, version, {columns}) SELECT ?, ?, {columns} FROM runs WHERE id = ?",
                (f"{number:012x}", f"v{number}", run.id),
            ).lastrowid
            copied = "protocol, name, place, score, reason, per_sample, metrics"
            connection.execute(
                f"INSERT INTO scores (run, {copied}) SELECT ?, {copied} FROM scores WHERE run = ?", (key, run.key)
            )
    text = made.client().get("/trends").text
    assert text.count('class="reach"') == 101
    assert text.count('<th scope="row">') == 25
    assert "76 older versions in the drawing only" in text
    labels = re.findall(r">v(\d+)</text>", text)
    assert len(labels) == 10
    assert labels[-1] == "100"


def test_one_point_and_no_interval_can_be_drawn(made: Any) -> None:
    made.write_questions([{"id": "x", "question": "one?", "answers": ["a"]}])
    made.run("acme-book:v1", version="v1")
    answer = made.client().get("/trends")
    assert answer.status_code == 200
    assert 'class="reach"' in answer.text


@pytest.mark.parametrize(
    ("model", "version", "expected"),
    [
        ("arr-coc:latest", "v3", "arr-coc"),
        ("arr-coc:v3,token_budget=64,image=none", "v3", "arr-coc,token_budget=64,image=none"),
        ("hf:registry/NAME:v2", "v2", "hf:registry/NAME"),
        ("hf:registry/NAME:v2,dtype=bfloat16", "v2", "hf:registry/NAME,dtype=bfloat16"),
        ("arr-coc:./a,b", None, "arr-coc:./a,b"),
        ("results:a.json,b.json", None, "results:a.json,b.json"),
        ("bare", "v1", "bare"),
    ],
)
def test_a_model_is_named_without_its_version(made: Any, model: str, version: str | None, expected: str) -> None:
    assert named(made.run(model, version=version)) == expected
