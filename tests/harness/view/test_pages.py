"""What the viewer's pages show is what is stored, whatever is stored."""

from __future__ import annotations

import io
import json
import re
import sqlite3
import threading
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image

from harness.report.text import percent
from harness.types import Failure, Output, Sample, Usage
from harness.view import app as app_module
from harness.view.pages import environment, stream
from harness.view.pictures import KEPT

PAGES = ("/", "/trends", "/verdicts", "/checkpoints")
VOID = {"meta", "link", "input", "br", "img"}


class Reader(HTMLParser):
    """A page's elements and text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.scripts: dict[str, str] = {}
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self.rows: list[list[str]] = []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "small" and self.rows:  # a line of its own
            self.rows[-1][-1] += " "

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        # Elements whose end may be left out are closed by their parent's.
        while self._open and self._open[-1][0] != tag:
            assert self._open[-1][0] in ("li", "option", "tr", "td", "th"), (self._open[-1], tag)
            self._open.pop()
        assert self._open, tag
        self._open.pop()

    def handle_data(self, data: str) -> None:
        tag, attributes = self._open[-1] if self._open else ("", {})
        if tag == "script":
            self.scripts[attributes.get("id") or ""] = data
            return
        self.text.append(data)
        if any(name in ("td", "th") for name, _ in self._open):
            self.rows[-1][-1] += data

    @property
    def said(self) -> str:
        return " ".join("".join(self.text).split())

    def cells(self, column: int = 0) -> list[str]:
        """The first words of a column, without the head."""
        return [row[column].split()[0] for row in self.rows[1:]]

    def data(self, name: str) -> Any:
        return json.loads(self.scripts[name])

    def links(self) -> list[str]:
        return [address for tag, attributes in self.tags if tag == "a" and (address := attributes.get("href"))]


def read(client: Any, address: str, status: int = 200) -> Reader:
    answer = client.get(address)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("text/html")
    return Reader(answer.text)


# --- workspaces that are not as one would wish ---


def test_a_workspace_that_is_not_there_is_empty_and_stays_away(made: Any) -> None:
    client = made.client()
    assert "harness eval" in read(client, "/").said
    assert "no complete, scored run" in read(client, "/trends").said
    assert "harness gate" in read(client, "/verdicts").said
    assert "harness train" in read(client, "/checkpoints").said
    assert client.get("/api/runs").json() == {"found": 0, "page": 1, "pages": 1, "runs": []}
    read(client, "/runs/abc", 404)
    assert not (made.folder / "home").exists()
    # And is shown as soon as it is there.
    made.run("acme-parrot:last")
    assert read(client, "/").cells() == ["acme-parrot:last"]


@pytest.mark.parametrize("break_it", ["newer", "damaged"])
def test_a_database_that_cannot_be_read_is_a_page_that_says_so(made: Any, break_it: str) -> None:
    run = made.run("acme-parrot:last")
    made.session.database.close()
    file = made.folder / "home" / "workspace.db"
    if break_it == "newer":
        connection = sqlite3.connect(file)
        connection.execute("PRAGMA user_version = 99")
        connection.close()
    else:
        for path in file.parent.glob("workspace.db*"):
            path.write_bytes(b"no database at all, but long enough to look like one" * 100)
    client = made.client()
    for address in (*PAGES, f"/runs/{run.id}"):
        if address != "/trends":
            said = read(client, address, 503).said
        assert "written by a newer version" in said if break_it == "newer" else "not a database" in said
    assert "workspace.db" in client.get("/api/runs").json()["error"]


def test_a_defect_is_a_page_without_its_traceback(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("<b>dividing</b>")

    client = made.client(raise_server_exceptions=False)
    monkeypatch.setattr(app_module, "render", lambda *arguments: fail() if "runs" in arguments[0] else "")
    assert client.get("/").status_code == 500
    monkeypatch.undo()
    monkeypatch.setattr(type(made.workspace.overview), "table", fail)
    page = client.get("/")
    assert page.status_code == 500
    assert "a defect of ours: ZeroDivisionError: <b>dividing</b>" in Reader(page.text).said
    assert "Traceback" not in page.text
    assert page.headers["content-security-policy"]


def test_a_page_that_breaks_off_says_so(
    made: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = made.run("acme-parrot:last")
    workspace = made.workspace
    monkeypatch.setattr(type(workspace), "samples", lambda *_: 1 / 0)
    text = made.client().get(f"/runs/{run.id}").text
    assert "0.5" in text
    assert text.endswith("the server’s own output says why.</p>")
    assert "ZeroDivisionError" in caplog.text


# --- the table of runs ---


def test_the_table_shows_what_is_stored(made: Any, answering: Callable[[float], Any]) -> None:
    def answer(number: int, sample: Sample) -> Output | Failure:
        return Failure("busy", "no") if number % 4 == 0 else answering(0.5)(number, sample)

    run = made.run("acme-parrot:last,sleep=0", answer, version="v3", digest="d" * 32)
    score = made.session.store.scored(run, "strict").scores["exact"]
    page = read(made.client(), "/")
    (row,) = page.rows[1:]
    assert row[0].split() == ["acme-parrot:last,sleep=0", "incomplete", "v3", "·", run.id]
    assert f"{score.value:.3f}" in row[2]
    assert f"{score.low:.3f} … {score.high:.3f}" in row[3]
    assert row[4].split() == ["75%", "of", "40"]
    spent = made.session.store.spent(run)
    assert row[5].split() == [f"{spent.visual_tokens_mean:.3f}", percent(spent.kept_fraction), "kept"]
    assert row[6].split()[0] == run.created[:10]
    (found,) = made.client().get("/api/runs").json()["runs"]
    assert found["score"] == {
        "protocol": "strict", "name": "exact", "value": score.value, "low": score.low, "high": score.high
    }  # fmt: skip
    assert (found["coverage"], found["asked"], found["n"]) == (0.75, 40, 40)
    assert found["model"] == {"ref": "acme-parrot:last,sleep=0", "version": "v3", "digest": "d" * 32}
    assert found["visual_tokens_mean"] == spent.visual_tokens_mean


@pytest.fixture
def several(made: Any, answering: Callable[[float], Any]) -> Any:
    """Runs of several models and states."""
    for number in range(4):
        made.run(f"acme-book:v{number}", answering(0.2 + 0.2 * number), version=f"v{number}")
    made.run("acme-book:v3,image=none", answering(0.1), version="v3", image="none")
    made.run("acme-parrot:first", answering(0.95), limit=20)
    made.run("acme-parrot:last", answered=8)
    return made


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("/", ["acme-parrot:last", "acme-parrot:first", "acme-book:v3,image=none", "acme-book:v3", "acme-book:v2",
               "acme-book:v1", "acme-book:v0"]),
        ("/?model=acme-book&sort=score", ["acme-book:v0", "acme-book:v1", "acme-book:v2", "acme-book:v3"]),
        ("/?model=acme-book&sort=-score", ["acme-book:v3", "acme-book:v2", "acme-book:v1", "acme-book:v0"]),
        ("/?model=acme-book,image%3Dnone", ["acme-book:v3,image=none"]),
        ("/?q=BOOK+v3&sort=model", ["acme-book:v3", "acme-book:v3,image=none"]),
        ("/?state=limited", ["acme-parrot:first"]),
        ("/?state=unfinished", ["acme-parrot:last"]),
        ("/?state=complete&sort=-model&q=v3", ["acme-book:v3,image=none", "acme-book:v3"]),
        ("/?benchmark=acme-trivia&q=parrot&sort=nonsense&page=minus", ["acme-parrot:last", "acme-parrot:first"]),
    ],
)  # fmt: skip
def test_the_table_is_filtered_and_sorted(several: Any, address: str, expected: list[str]) -> None:
    page = read(several.client(), address)
    assert page.cells() == expected
    found = several.client().get(f"/api/runs{address[1:]}").json()
    assert [item["model"]["ref"] for item in found["runs"]] == expected
    assert f"{len(expected)} run" in page.said


def test_nothing_found_is_said(several: Any) -> None:
    for address in ("/?q=nothing+like+this", "/?benchmark=another"):
        assert "No run is like that" in read(several.client(), address).said


def test_every_way_of_sorting_is_a_link_that_turns(several: Any) -> None:
    client = several.client()
    head = [link for link in read(client, "/?q=book").links() if "sort=" in link]
    assert head == ["?q=book&sort=model", "?q=book&sort=benchmark", "?q=book&sort=-score", "?q=book&sort=begun"]
    first = read(client, "/?q=book&sort=-score").cells()
    assert read(client, "/?q=book&sort=score").cells() == first[::-1]
    turned = read(client, "/?q=book&sort=-score")
    assert "?q=book&sort=score" in turned.links()
    assert [attributes["aria-sort"] for _, attributes in turned.tags if "aria-sort" in attributes] == ["descending"]


def test_only_what_can_be_compared_is_offered(several: Any) -> None:
    client = several.client()
    against = next(run for run in several.session.store.runs() if run.model == "acme-book:v1")
    page = read(client, f"/?against={against.id}")
    assert set(page.cells()) == {"acme-book:v0", "acme-book:v2", "acme-book:v3", "acme-book:v3,image=none"}
    compared = [link for link in page.links() if link.startswith("/compare")]
    assert len(compared) == 4
    assert all(link.startswith(f"/compare?a={against.id}&b=") for link in compared)
    for link in compared:
        assert "less" in read(client, link).said
    read(client, "/?against=nothing", 404)


def test_thousands_of_runs_come_a_page_at_a_time(made: Any) -> None:
    run = made.run("acme-parrot:last")
    with made.session.database.transaction() as connection:
        columns = "model, version, digest, benchmark, identity, facts, status, n, seconds, created, finished"
        connection.executemany(
            f"INSERT INTO runs (id, {columns}) SELECT ?, {columns} FROM runs WHERE id = ?",
            [(f"{number:012x}", run.id) for number in range(119)],
        )
    client = made.client()
    seen: list[str] = []
    address: str | None = "/?sort=begun"
    while address:
        answer = client.get(address)
        seen += re.findall(r'href="/runs/(\w+)"', answer.text)
        address = next(
            (link["href"] for tag, link in Reader(answer.text).tags if tag == "a" and link.get("rel") == "next"), None
        )  # fmt: skip
    assert len(seen) == len(set(seen)) == 120
    assert "101 to 120 of 120 runs" in read(client, "/?page=3").said
    assert "101 to 120 of 120 runs" in read(client, "/?page=999").said


# --- one run, two runs ---


def test_a_runs_page_is_its_report(made: Any, answering: Callable[[float], Any]) -> None:
    run = made.run("acme-parrot:last", answering(0.3))
    page = read(made.client(), f"/runs/{run.id}")
    score = made.session.store.scored(run, "strict").scores["exact"]
    assert f"exact {score.value:.3f}" in page.said
    columns = page.data("samples-0")
    assert columns["runs"][0]["scores"]["exact"] == made.session.store.per_sample(run, "strict")["exact"].tolist()
    assert columns["runs"][0]["text"] == [
        item.result.text for _, item in made.session.store.predictions(run)
    ]  # fmt: skip
    assert page.data("pictures-0") == {"run": run.id, "counts": [1] * 40}
    assert len(page.data("traces-0")["A"]["rows"]) == 40


def test_what_is_quick_to_say_is_sent_first(made: Any) -> None:
    run, workspace = made.run("acme-parrot:last"), made.workspace
    done: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            done.append(name)
            return function(*arguments)

        return call

    context = {
        "here": "runs", "unread": workspace.report([run]), "shown": [run], "complete": "complete", "others": 0,
        "apart": "", "asked": workspace.reporter.store.asked, "browse": noted("samples", workspace.samples),
        "read": noted("report", lambda: workspace.report([run])),
    }  # fmt: skip
    parts = stream("report.html.j2", context)
    first = next(parts)
    assert (done, "<h1" in first, "0.5" in first) == ([], True, False)
    second = next(parts)
    assert (done, "Scores" in second, "samples-0" in second) == (["report"], True, False)
    assert "samples-0" in next(parts)
    assert done == ["report", "samples"]
    assert next(parts, None) is None


def test_the_beginning_of_an_id_is_enough(made: Any) -> None:
    run = made.run("acme-parrot:last")
    answer = made.client().get(f"/runs/{run.id[:5]}", follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, f"/runs/{run.id}")


def test_an_unknown_run_is_a_page_with_near_ones(made: Any) -> None:
    run = made.run("acme-parrot:last")
    wrong = run.id[:-1] + ("0" if run.id[-1] != "0" else "1")
    page = read(made.client(), f"/runs/{wrong}", 404)
    assert "did you mean" in page.said
    assert f"/runs/{run.id}" in page.links()
    answer = made.client().get(f"/api/runs/{wrong}")
    assert (answer.status_code, run.id in answer.json()["error"]) == (404, True)
    read(made.client(), "/no/such/page", 404)
    assert made.client().get("/static/../app.py").status_code == 404


def test_a_run_as_json_is_its_document(made: Any) -> None:
    from harness.report.document import run_document

    run = made.run("acme-parrot:last")
    found = made.client().get(f"/api/runs/{run.id}").json()
    assert found == json.loads(json.dumps(run_document(made.session.store, run, "strict")))


def test_two_runs_are_compared(made: Any, answering: Callable[[float], Any]) -> None:
    a, b = made.run("acme-parrot:a", answering(0.3)), made.run("acme-parrot:b", answering(0.9))
    page = read(made.client(), f"/compare?a={a.id}&b={b.id}")
    assert "B's exact is better than A's" in page.said
    assert [run["letter"] for run in page.data("samples-0")["runs"]] == ["A", "B"]
    assert "B's exact is worse than A's" in read(made.client(), f"/compare?a={b.id}&b={a.id}").said


def test_what_cannot_be_compared_says_why(made: Any, answering: Callable[[float], Any]) -> None:
    a, b = made.run("acme-parrot:a", answering(0.3)), made.run("acme-parrot:b", answering(0.9), limit=20)
    client = made.client()
    assert "limit differs (None and 20)" in read(client, f"/compare?a={a.id}&b={b.id}").said
    made.write_questions([{"id": "x", "question": "another?", "answers": ["a"]}])
    c = made.run("acme-parrot:c", answering(0.3))
    assert "data digest differs" in read(client, f"/compare?a={a.id}&b={c.id}").said
    assert "cannot be compared with itself" in read(client, f"/compare?a={a.id}&b={a.id}", 400).said
    assert "/compare?a=ID&b=ID" in read(client, f"/compare?a={a.id}", 400).said
    read(client, f"/compare?a={a.id}&b=nothing", 404)


def test_an_unfinished_run_shows_how_far_it_is(made: Any) -> None:
    run = made.run("acme-parrot:last", answered=8)
    client = made.client()
    for address in ("/", f"/runs/{run.id}"):
        page = read(client, address)
        assert "8 of 40" in page.said
        assert ("progress", {"max": "40", "value": "8", "aria-label": "Samples asked"}) in page.tags
    other = made.run("acme-parrot:first")
    found = client.get("/api/progress", params={"run": [run.id, other.id, "nothing"]}).json()
    assert found == {
        run.id: {"status": "running", "asked": 8, "n": 40}, other.id: {"status": "complete", "asked": 40, "n": 40}
    }  # fmt: skip


def test_pages_are_read_while_another_writes(made: Any, answering: Callable[[float], Any]) -> None:
    from harness.database import Database
    from harness.store import RunStore
    from harness.types import Prediction

    run = made.run("acme-parrot:last", answered=0)
    samples = list(made.task.samples())
    ended = threading.Event()

    def write() -> None:
        database = Database(made.folder / "home")  # as another process has it
        store = RunStore(database)
        for number, sample in enumerate(samples):
            store.add(run, [Prediction(number, sample.id, answering(0.5)(number, sample))], 0.01)
        store.finish(run)
        database.close()
        ended.set()

    client = made.client()
    writer = threading.Thread(target=write)
    writer.start()
    seen = []
    while not ended.is_set() or not seen:
        seen.append(client.get("/api/progress", params={"run": run.id}).json()[run.id]["asked"])
        read(client, "/")
        read(client, f"/runs/{run.id}")
    writer.join()
    assert seen == sorted(seen)
    assert client.get("/api/runs").json()["runs"][0]["status"] == "complete"


# --- pictures ---


def test_pictures_are_made_when_they_are_asked_for(made: Any) -> None:
    run, workspace = made.run("acme-parrot:last"), made.workspace
    for number in (0, 5):
        answer = made.client().get(f"/runs/{run.id}/picture", params={"sample": f"q{number}"})
        assert answer.headers["content-type"] == "image/webp"
        with Image.open(io.BytesIO(answer.content)) as picture, Image.open(made.data / f"{number % 4}.jpg") as original:
            assert picture.size == original.size
            pairs = zip(picture.convert("RGB").getpixel((3, 3)), original.getpixel((3, 3)), strict=True)
            assert all(abs(ours - theirs) < 16 for ours, theirs in pairs)
    # What was made is kept, and not without bound.
    first = workspace.shelf.picture(run.id, "q0", 0)
    (made.data / "0.jpg").unlink()
    assert workspace.shelf.picture(run.id, "q0", 0) == first
    assert workspace.shelf.picture.cache_info().maxsize == KEPT


def test_large_pictures_are_made_small(made: Any) -> None:
    Image.new("RGB", (3000, 1000)).save(made.data / "0.jpg")
    run = made.run("acme-parrot:last")
    content = made.workspace.shelf.picture(run.id, "q0", 0)
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.size == (640, 213)


def test_no_address_reaches_a_file(made: Any) -> None:
    run, client = made.run("acme-parrot:last"), made.client()
    for sample in ("nothing", "../trivia/0.jpg", str(made.data / "0.jpg"), "0.jpg", "q0/../q1", "", "\0"):
        answer = client.get(f"/runs/{run.id}/picture", params={"sample": sample})
        assert (answer.status_code, answer.headers["content-type"][:9]) == (404, "text/html"), sample
    for number in ("1", "9999"):
        assert client.get(f"/runs/{run.id}/picture", params={"sample": "q0", "number": number}).status_code == 404
    for number in ("-1", "x", "1e3", "99999999"):
        assert client.get(f"/runs/{run.id}/picture", params={"sample": "q0", "number": number}).status_code == 400
    assert client.get("/runs/nothing/picture", params={"sample": "q0"}).status_code == 404


@pytest.mark.parametrize(
    ("change", "remark"),
    [
        (lambda data: (data / "trivia.jsonl").unlink(), "no such file"),
        (
            lambda data: (data / "trivia.jsonl").write_text('{"id": "q0", "question": "?", "answers": []}\n'),
            "other data",
        ),
    ],
)
def test_data_that_has_gone_costs_the_pictures_only(made: Any, change: Callable[[Path], Any], remark: str) -> None:
    run = made.run("acme-parrot:last")
    change(made.data)
    client = made.client()
    page = read(client, f"/runs/{run.id}")
    assert remark in page.said
    assert page.data("pictures-0")["counts"] == [0] * 40
    assert client.get(f"/runs/{run.id}/picture", params={"sample": "q0"}).status_code == 404


def test_a_torn_picture_costs_itself_only(made: Any) -> None:
    run, client = made.run("acme-parrot:last"), made.client()
    (made.data / "1.jpg").write_bytes(b"no picture")
    assert client.get(f"/runs/{run.id}/picture", params={"sample": "q1"}).status_code == 404
    assert client.get(f"/runs/{run.id}/picture", params={"sample": "q2"}).status_code == 200


# --- verdicts and checkpoints ---


def test_verdicts_are_listed_and_shown(made: Any) -> None:
    a = made.run("acme-book:v1", version="v1", digest="1" * 32)
    b = made.run("acme-book:v2", version="v2", digest="2" * 32)
    failed, passed = made.judge(b, "fail", baseline=a), made.judge(a, "pass", "nightly")
    client = made.client()
    page = read(client, "/verdicts")
    assert page.cells() == ["pass", "fail"]
    assert "0 of 1 hold" in page.said
    assert read(client, "/verdicts?policy=production").cells() == ["fail"]
    assert read(client, "/verdicts?verdict=pass").cells() == ["pass"]
    assert "No verdict is like that" in read(client, "/verdicts?verdict=pass&policy=production").said
    shown = read(client, f"/verdicts/{failed.id}")
    assert "production: fail" in shown.said
    assert "0.400 … 0.600" in shown.said
    assert {f"/runs/{b.id}", f"/compare?a={a.id}&b={b.id}"} <= set(shown.links())
    wrong = read(client, f"/verdicts/{passed.id[:-1]}", 404)
    assert f"/verdicts/{passed.id}" in wrong.links()


def test_a_verdict_given_again_is_one_page(made: Any) -> None:
    run = made.run("acme-book:v1")
    verdict = made.judge(run)
    made.judge(run)
    page = read(made.client(), f"/verdicts/{verdict.id}")
    assert len([tag for tag, _ in page.tags if tag == "time"]) == 2


def test_verdicts_come_a_page_at_a_time(made: Any) -> None:
    run = made.run("acme-book:v1")
    for number in range(51):
        made.judge(run, policy=f"p{number}")
    client = made.client()
    assert len(read(client, "/verdicts").cells()) == 50
    assert read(client, "/verdicts?page=2").rows[1][3].startswith("p0")


def test_checkpoints_show_runs_verdicts_and_moves(made: Any, answering: Callable[[float], Any]) -> None:
    versions = [made.checkpoint("acme-book", f"c{number}") for number in range(3)]
    made.session.checkpoints.alias("acme-book", "production", "v1", "because it is good")
    run = made.run("acme-book:v1", answering(0.6), version="v1", digest=versions[1].digest)
    made.run("acme-book:v1,image=none", answering(0.1), version="v1", digest=versions[1].digest, image="none")
    verdict = made.judge(run, "pass")
    client = made.client()
    page = read(client, "/checkpoints")
    assert page.cells() == ["acme-book"]
    assert {"latest v2", "production v1"} <= {part.strip() for part in re.findall(r"\w+ v\d", page.rows[1][1])}
    page = read(client, "/checkpoints/acme-book")
    assert [row[0].split()[:2] for row in page.rows[1:4]] == [
        ["v2", "latest"],
        ["v1", "production"],
        ["v0", versions[0].digest[:12]],
    ]
    score = made.session.store.scored(run, "strict").scores["exact"].value
    assert page.rows[2][1].split() == ["acme-trivia", f"{score:.3f}"]
    assert {f"/runs/{run.id}", f"/verdicts/{verdict.id}"} <= set(page.links())
    assert "because it is good" in page.said
    assert "/checkpoints/acme-book" in read(client, "/checkpoints/acme-bok", 404).links()


def test_a_checkpoint_store_that_does_not_answer_costs_its_own_page_only(
    made: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.run("acme-book:v1", version="v1")
    monkeypatch.setenv("HARNESS_CHECKPOINTS", "no-such-store")
    client = made.client()
    assert "no-such-store" in read(client, "/checkpoints", 404).said
    assert "acme-trivia.exact" in read(client, "/trends").said


# --- text of others ---

HOSTILE = [
    "<script>alert(1)</script>", "\x1b[31mred\x1b[0m", "\u202egnitirw\u202c", "=HYPERLINK(1)",
    '"><img src=x onerror=a>', "</script><!--", "{{ 7 * 7 }}",
]  # fmt: skip


def test_foreign_text_is_text_on_every_page(made: Any) -> None:
    rows = [
        {"id": text, "question": text, "answers": [text], "group": text, "topic": text, "picture": "0.jpg"}
        for text in HOSTILE
    ]  # fmt: skip
    made.write_questions(rows)

    def answer(row: int, sample: Sample) -> Output:
        return Output(HOSTILE[row], Usage(1, 2, 3, 4))

    runs = [
        made.run(
            f"acme-book:{text}", answer, version=f"v{number}", digest=f"{number}" * 32,
            facts={"command": text, text: text},
        )
        for number, text in enumerate(HOSTILE)
    ]  # fmt: skip
    verdicts = [made.judge(run, policy=run.model) for run in runs]
    made.checkpoint("acme-book", "c0")
    made.session.checkpoints.alias("acme-book", "production", "v0", " ".join(HOSTILE))
    client = made.client()
    addresses = [
        *PAGES, "/checkpoints/acme-book", f"/compare?a={runs[0].id}&b={runs[1].id}",
        *(f"/runs/{run.id}" for run in runs), *(f"/verdicts/{verdict.id}" for verdict in verdicts),
    ]  # fmt: skip
    for address in addresses:
        check_harmless(client.get(address).text)
    for text in HOSTILE:
        for name in ("q", "model", "benchmark", "state", "sort"):
            check_harmless(client.get("/", params={name: text}).text)
        for name in ("benchmark", "score", "kind", "model", "setting"):
            check_harmless(client.get("/trends", params={name: text}).text)
        check_harmless(client.get("/verdicts", params={"policy": text}).text)
        for address in ("/?against=", "/runs/", "/verdicts/", "/checkpoints/", "/compare?a=x&b="):
            check_harmless(client.get(address + quote(text, safe="")).text)
    shown = read(client, "/").said
    assert HOSTILE[0] in shown
    assert "\\x1b[31mred" in shown
    picture = client.get(f"/runs/{runs[0].id}/picture", params={"sample": HOSTILE[4]})
    assert picture.headers["content-type"] == "image/webp"


def check_harmless(text: str) -> None:
    """Nothing in a page is run but our scripts, nothing is fetched from elsewhere, nothing is invisible."""
    page = Reader(text)
    for tag, attributes in page.tags:
        assert not any(name.startswith("on") or name == "style" for name in attributes), (tag, attributes)
        for name in ("src", "href", "action"):
            assert re.match(r"[/?#]|data:,$", attributes.get(name) or "/"), (tag, attributes)
        if tag == "script":
            assert attributes.get("type") == "application/json" or (attributes.get("src") or "").startswith("/static/")
        assert tag not in ("iframe", "object", "style", "base"), tag
    assert not any(tag == "img" for tag, _ in page.tags)
    assert "49" not in page.said.partition("7 * 7")[2][:20]
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", "".join(page.text))


def test_templates_escape_what_they_are_given() -> None:
    assert environment().autoescape is True
    assert environment().from_string("{{ text }}").render(text="<b>\x1b") == "&lt;b&gt;\\x1b"
