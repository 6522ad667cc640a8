"""The page in a real browser: filters, search, overlay, keyboard; no error, no request, no barrier."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from harness.report.browser import make_browser
from harness.report.content import Report
from harness.report.page import render_page
from harness.report.sweep import SweepReport, render_sweep
from harness.types import Failure, Output, Sample, Trace, Usage, Version

AXE = importlib.util.find_spec("axe_core_python")
WAIT = 20.0
ROWS_IN_A_PAGE = 25
HOSTILE = ["<script>document.title = 'broken'</script>", "\x1b[31mred\x1b[0m", "\u202egnitirw\u202c", "=HYPERLINK(1)"]


class Page:
    """An opened report."""

    def __init__(self, driver: Any, path: Path) -> None:
        self.driver = driver
        self.emulate("light")
        for log in ("browser", "performance"):
            driver.get_log(log)  # forget what came before
        driver.get(f"file://{path}")
        self.until(lambda: self.js("return performance.getEntriesByName('interactive').length === 1"))

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + WAIT
        while not (found := condition()):
            assert time.monotonic() < end, "nothing came of it"
            time.sleep(0.02)
        return found

    def emulate(self, scheme: str, width: int = 1280) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def type(self, *keys: str) -> None:
        from selenium.webdriver.common.action_chains import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def find(self, selector: str) -> Any:
        from selenium.webdriver.common.by import By

        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def choose(self, id: str, text: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.find(f"#{id}")).select_by_visible_text(text)

    def outcome(self, name: str) -> None:
        self.js("document.querySelector(`#outcomes [value=${arguments[0]}]`).click()", name)

    @property
    def rows(self) -> list[int]:
        return [
            int(row) for row in self.js("return [...document.querySelectorAll('#list button')].map(b => b.dataset.row)")
        ]

    @property
    def found(self) -> str:
        return str(self.find("#found").text)

    @property
    def detail(self) -> str | None:
        """The id of the sample that is open."""
        title = self.js("return $('detail').hidden ? null : $('detail-title').textContent")
        return None if title is None else str(title).removeprefix("Sample ")

    def chips(self) -> dict[str, int]:
        found = self.js(
            "return [...document.querySelectorAll('.chip')].map("
            "chip => [chip.querySelector('input').value, chip.querySelector('b').textContent])"
        )
        return {name: int(number.replace(",", "")) for name, number in found}

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> set[str]:
        """The beginnings of all addresses that were asked for."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        sent = [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]
        return {url.partition(":")[0] for url in sent}

    def too_wide(self) -> list[str]:
        """What reaches over the page's edge, where the page scrolls sideways."""
        return self.js(  # type: ignore[no-any-return]
            "const {scrollWidth, clientWidth} = document.documentElement;"
            "return scrollWidth <= clientWidth ? [] : [...document.querySelectorAll('body *')]"
            ".filter(e => e.getBoundingClientRect().right > clientWidth + 1 && !e.closest('.scroll *, nav *'))"
            ".map(e => `${e.tagName}.${e.className} ${e.textContent.slice(0, 60)}`)"
        )

    def violations(self) -> list[str]:
        assert AXE is not None
        assert AXE.submodule_search_locations is not None
        self.js((Path(AXE.submodule_search_locations[0]) / "axe.min.js").read_text())
        found, passed = self.driver.execute_async_script(
            "const [done] = arguments;"
            "axe.run(document).then(r => done([r.violations, r.passes.map(rule => rule.id)]), e => done([[], `${e}`]))"
        )
        assert "color-contrast" in passed, "axe could not judge the colours"
        return [f"{item['id']}: {[node['html'][:120] for node in item['nodes'][:3]]}" for item in found]


def tells(share: float, answered_by: Callable[[int, Sample], str | None] = lambda row, sample: None) -> Any:
    def answer(row: int, sample: Sample) -> Output | Failure:
        if row == 5:
            return Failure("unreadable_image", f"{sample.id}: torn")
        right = (row * 7919 % 100) / 100 < share
        text = answered_by(row, sample) or (sample.references[0] if right else f"wrong{row}")
        grid = [[float(row % 7 + down * across) for across in range(6)] for down in range(4)]
        trace = Trace({"relevance": grid, "token_budget": [[0.0, 1.0], [2.0, 4.0]]}, {"need": 0.5})
        return Output(text, Usage(6, 4 + row % 5, 20, 2), trace)

    return answer


@pytest.fixture
def opened(made: Any, chromium: Any) -> Page:
    """Two runs with failures, flips, traces and hostile answers."""
    first = made.run("acme-parrot:a", tells(0.4))
    second = made.run("acme-parrot:b", tells(0.7, lambda row, sample: HOSTILE[row - 6] if 6 <= row < 10 else None))
    made.page(first, second)
    return Page(chromium, made.folder / "report.html")


def right(made: Any, model: str) -> list[bool | None]:
    """Whether each sample was answered rightly, by the stored scores; None where it failed."""
    (run,) = [run for run in made.session.store.runs() if run.model == model]
    values = iter(made.session.store.per_sample(run, "strict")["exact"])
    return [
        bool(next(values)) if isinstance(item.result, Output) else None
        for _, item in made.session.store.predictions(run)
    ]  # fmt: skip


def test_filters_show_what_they_say(opened: Page, made: Any) -> None:
    a, b = right(made, "acme-parrot:a"), right(made, "acme-parrot:b")
    both = list(zip(a, b, strict=True))
    expected = {
        "all": [True] * 40,
        "right": [y is True for _, y in both],
        "wrong": [y is False for _, y in both],
        "failed": [y is None for _, y in both],
        "flipped": [{x, y} == {True, False} for x, y in both],
        "won": [(x, y) == (False, True) for x, y in both],
        "lost": [(x, y) == (True, False) for x, y in both],
    }
    assert opened.chips() == {name: sum(rows) for name, rows in expected.items()}
    assert opened.chips()["flipped"] > opened.chips()["lost"] > 0
    for name, rows in expected.items():
        opened.outcome(name)
        wanted = [row for row, shown in enumerate(rows) if shown]
        assert opened.rows == wanted[:ROWS_IN_A_PAGE], name
        assert opened.found == ("40 samples" if name == "all" else f"{len(wanted)} of 40 samples")
    # By the other run.
    opened.choose("run", "A: acme-parrot:a")
    opened.outcome("right")
    assert opened.rows == [row for row, x in enumerate(a) if x][:ROWS_IN_A_PAGE]
    # By kind of sample: within what is right.
    opened.choose("facet", "topic")
    opened.choose("key", "sport (13)")
    assert opened.rows == [row for row, x in enumerate(a) if x and row % 3 == 1]
    opened.outcome("all")
    assert opened.rows == list(range(1, 40, 3))


def test_search_reads_questions_answers_references_and_ids(opened: Page) -> None:
    for text, wanted in {
        "what12": [12], "WHAT12 Word5": [12], "wrong39": [39], "q39": [39], "torn": [5], "document.title": [6],
        "nothing like this": [],
    }.items():  # fmt: skip
        box = opened.find("#query")
        box.clear()
        box.send_keys(text)
        opened.until(lambda wanted=wanted: opened.rows == wanted)
    assert opened.find("#nothing").is_displayed()
    opened.find("#reset").click()
    assert opened.found == "40 samples"


def test_samples_can_be_sorted(opened: Page, made: Any) -> None:
    b = right(made, "acme-parrot:b")
    opened.choose("order", "lowest score first")
    wrong = [row for row, y in enumerate(b) if y is False]
    assert opened.rows[: len(wrong)] == wrong[:ROWS_IN_A_PAGE]
    opened.choose("order", "most visual tokens first")
    assert opened.rows[:8] == [4, 9, 14, 19, 24, 29, 34, 39]


def test_the_keyboard_is_enough(opened: Page) -> None:
    from selenium.webdriver.common.keys import Keys

    opened.type("j")
    assert opened.js("return document.activeElement.dataset.row") == "0"
    opened.type("j", "j", "k", Keys.ENTER)
    opened.until(lambda: opened.detail == "q1")
    opened.type("j")
    opened.until(lambda: opened.detail == "q2")
    opened.type(Keys.ARROW_UP)
    opened.until(lambda: opened.detail == "q1")
    assert opened.js("return location.hash") == "#sample=q1"
    opened.type(Keys.ESCAPE)
    assert opened.detail is None
    assert opened.js("return document.activeElement.dataset.row") == "1"
    opened.type("/")
    assert opened.js("return document.activeElement.id") == "query"
    opened.type("j/k")
    assert opened.find("#query").get_attribute("value") == "j/k"
    opened.until(lambda: opened.found == "0 of 40 samples")
    opened.type(Keys.ESCAPE)  # which empties the field
    opened.until(lambda: opened.found == "40 samples")
    # To the next page and back.
    opened.js("document.activeElement.blur()")
    for _ in range(ROWS_IN_A_PAGE + 1):
        opened.type("j")
    assert opened.rows[0] == ROWS_IN_A_PAGE
    opened.type("k")
    assert opened.js("return document.activeElement.dataset.row") == str(ROWS_IN_A_PAGE - 1)
    # Whoever's software needs the letters can have them.
    opened.find("#keys").click()
    opened.js("document.activeElement.blur()")
    opened.type("k")
    assert opened.js("return document.activeElement.tagName") == "BODY"
    # What has the focus is seen to have it.
    opened.type(Keys.TAB)
    assert opened.js("return getComputedStyle(document.activeElement).outlineStyle") != "none"


def test_a_sample_shows_pictures_answers_costs_and_maps(opened: Page, made: Any) -> None:
    opened.js("document.querySelector('#list button[data-row=\"1\"]').click()")
    opened.until(lambda: opened.js("return document.querySelectorAll('#detail canvas.map').length") == 2)
    opened.until(
        lambda: opened.js("const i = document.querySelector('#detail img'); return i.complete && i.naturalWidth")
    )
    assert opened.js("const i = document.querySelector('#detail img'); return [i.naturalWidth, i.naturalHeight]") == [
        11,
        8,
    ]
    text = opened.find("#detail").text
    for part in ("What1 is word1", "visual tokens", "need", "topic sport", "exact"):
        assert part in text
    options = opened.js("return [...document.querySelectorAll('#map option')].map(o => o.value)")
    assert options == ["", "relevance", "token_budget"]

    def pixels() -> Any:
        return opened.js(
            "const c = document.querySelector('#detail canvas.map');"
            "return [c.width, c.height, [...c.getContext('2d').getImageData(0, 0, c.width, c.height).data]]"
        )

    width, height, colours = pixels()
    assert (width, height) == (6, 4)
    colours = np.array(colours).reshape(4, 6, 4)
    # Brightness rises with the value: the greatest, down and to the right, is the brightest.
    brightness = colours[..., :3].sum(axis=-1)
    assert brightness.argmax() == 23
    assert (np.diff(brightness[3]) > 0).all()
    assert (colours[..., 3] == 255).all()
    opened.choose("map", "token_budget")
    assert pixels()[:2] == [2, 2]
    opened.js("document.activeElement.blur()")
    opened.type("m")
    assert opened.js("return document.querySelectorAll('#detail canvas.map').length") == 0
    opened.type("m")
    assert pixels()[:2] == [6, 4]
    opened.js(
        "const s = document.querySelector('input[type=range]'); s.value = 25; s.dispatchEvent(new Event('input'))"
    )
    assert opened.js("return document.querySelector('#detail canvas.map').style.opacity") == "0.25"
    reading = opened.js(
        "const c = document.querySelector('#detail canvas.map'), box = c.getBoundingClientRect();"
        "c.dispatchEvent(new PointerEvent('pointermove', {clientX: box.right - 2, clientY: box.bottom - 2}));"
        "return document.querySelector('#detail .reading').textContent"
    )
    assert reading == "row 4, column 6: 16"


def test_hostile_answers_are_text(opened: Page) -> None:
    for row, text in enumerate(HOSTILE, start=6):
        opened.js('document.querySelector(`#list button[data-row="${arguments[0]}"]`).click()', row)
        opened.until(lambda row=row: opened.detail == f"q{row}")
        shown = opened.js("return document.querySelectorAll('#detail pre.said')[1].textContent")
        assert shown == text.encode("unicode_escape").decode() if not text.isprintable() else text
        assert opened.js("return document.querySelectorAll('#detail pre.said')[1].dir") == "auto"
    assert "broken" not in opened.driver.title
    assert opened.js("return document.querySelectorAll('#browser script').length") == 0
    assert opened.errors() == []


def test_a_million_characters_are_shown_when_they_are_asked_for(made: Any, chromium: Any) -> None:
    def answer(row: int, sample: Sample) -> Output:
        return Output("<b>" + "story " * 175_000 if row == 0 else "short")

    made.page(made.run("acme-parrot:a", answer))
    page = Page(chromium, made.folder / "report.html")
    assert len(page.js("return document.querySelector('#list button').textContent")) < 1_000
    page.find("#list button").click()
    length = "return document.querySelector('#detail pre.said').textContent.length"
    page.until(lambda: page.detail == "q0")
    assert page.js(length) == 2_000
    page.js("[...document.querySelectorAll('#detail button')].find(b => b.textContent.startsWith('Show all')).click()")
    page.until(lambda: page.js(length) == 1_000_000)
    assert "The first 1,000,000 of 1,050,003 characters" in page.js("return $('detail').textContent")
    assert page.errors() == []


def test_a_link_opens_its_sample_and_a_bar_its_kind(opened: Page, made: Any, chromium: Any) -> None:
    chromium.get("about:blank")
    chromium.get(f"file://{made.folder / 'report.html'}#sample=q31")
    opened.until(lambda: opened.detail == "q31")
    opened.js("[...document.querySelectorAll('button.key')].find(b => b.dataset.key === 'art').click()")
    assert opened.rows == list(range(0, 40, 3))
    assert opened.detail is None


def test_maps_of_other_pictures_are_not_drawn_over_this_one(made: Any, chromium: Any) -> None:
    made.page(made.run("acme-parrot:a", tells(0.5), image="shuffled"))
    page = Page(chromium, made.folder / "report.html")
    page.find("#list button").click()
    page.until(lambda: page.js("return document.querySelectorAll('#detail canvas.map').length") == 1)
    assert page.js("return document.querySelectorAll('#detail img + canvas').length") == 0
    assert "another sample's were shown" in page.find("#detail").text


def test_a_trace_that_had_no_room_is_missed(made: Any, chromium: Any) -> None:
    board = made.board(made.run("acme-parrot:a", tells(0.5)))
    whole = make_browser(made.session.store, board, None, 10**6)
    room = len(msgspec.json.encode(whole.columns)) + 4_000
    part = make_browser(made.session.store, board, None, room)
    kept = set(part.traces["A"].packed)
    assert 2 < len(kept) < len(whole.traces["A"].packed) == 39
    assert part.remarks == (f"A: the traces of {len(kept)} of 39 samples are here.",)
    (made.folder / "report.html").write_text(render_page(Report((board,)), [part]))
    page = Page(chromium, made.folder / "report.html")
    told = "The trace of A on this sample is not in this page."
    for row in (min(kept), min({1, 2, 3, 4} - kept)):
        page.js('document.querySelector(`#list button[data-row="${arguments[0]}"]`).click()', row)
        page.until(lambda row=row: page.detail == f"q{row}")
        page.until(lambda row=row: (told in page.js("return $('detail').textContent")) == (row not in kept))
        assert page.js("return document.querySelectorAll('#detail canvas.map').length") == (row in kept)


def test_several_benchmarks_share_the_browser(made: Any, chromium: Any) -> None:
    first = made.run("acme-parrot:a", tells(0.5))
    made.write_questions([{"id": "x", "question": "another?", "answers": ["a"], "group": "g", "topic": "art"}])
    made.page(first, made.run("acme-parrot:a", tells(0.5)))
    page = Page(chromium, made.folder / "report.html")
    assert page.found == "40 samples"
    page.js("const s = document.getElementById('board'); s.value = '1'; s.dispatchEvent(new Event('change'))")
    assert page.found == "1 sample"
    page.find("#list button").click()
    page.until(lambda: page.detail == "x")
    assert page.js("return location.hash") == "#sample=1/x"
    page.js("document.querySelectorAll('.board')[0].querySelector('button.key:enabled').click()")
    assert page.find("#board").get_attribute("value") == "0"
    assert page.found == "14 of 40 samples"


def test_nothing_is_asked_of_anybody_and_nothing_goes_wrong(opened: Page) -> None:
    opened.find("#list button").click()
    opened.until(lambda: opened.js("return document.querySelectorAll('#detail canvas.map').length") == 2)
    assert opened.requests() <= {"file", "data"}
    assert opened.errors() == []
    # The policy holds: neither a script nor a request that is not the page's own gets through.
    opened.js("const s = document.createElement('img'); s.src = 'https://evil.example/x.png'; document.body.append(s)")
    opened.until(lambda: any("Content Security Policy" in message for message in opened.errors()))
    assert (
        "https" not in opened.requests()
        or opened.js("return document.querySelector('img[src^=https]').naturalWidth") == 0
    )


@pytest.mark.skipif(AXE is None, reason="axe is not installed: pip install 'vlm-harness[dev]'")
@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_there_are_no_barriers(opened: Page, scheme: str, width: int) -> None:
    opened.emulate(scheme, width)
    opened.js("for (const details of document.querySelectorAll('details')) details.open = true")
    assert opened.violations() == []
    opened.js("document.querySelector('#list button[data-row=\"1\"]').click()")
    opened.until(lambda: opened.js("return document.querySelectorAll('#detail canvas.map').length") == 2)
    assert opened.violations() == []
    assert opened.too_wide() == []


def test_light_and_dark_as_the_system_has_it_or_as_chosen(opened: Page) -> None:
    paper = "return getComputedStyle(document.body).backgroundColor"
    light = opened.js(paper)
    opened.emulate("dark")
    dark = opened.js(paper)
    assert light != dark
    opened.find("#theme").click()
    assert opened.js(paper) == light
    opened.find("#theme").click()
    assert opened.js(paper) == dark


@pytest.mark.slow
def test_ten_thousand_samples_stay_small_and_quick(
    made: Any, chromium: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    noise = np.random.default_rng(0)
    n = 10_000
    for row in range(n):
        coarse = noise.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC).save(made.data / f"p{row}.jpg", quality=85)
    made.write_questions([
        {"id": f"sample-{row}", "question": f"What is there beside the {row}th thing in this picture?",
         "answers": [f"answer {row % 97}"] * 10, "group": f"g{row}", "topic": f"topic {row % 40}",
         "picture": f"p{row}.jpg"}
        for row in range(n)
    ])  # fmt: skip

    def answer(row: int, sample: Sample) -> Output:
        grid = np.round(np.random.default_rng(row).random((16, 16)), 3).tolist()
        trace = Trace(dict.fromkeys(("one", "two", "three"), grid), {"need": row / n})
        return Output(sample.references[0] if row % 3 else "wrong", Usage(9, 20 + row % 9, 256, 2), trace)

    runs = [made.run(f"acme-parrot:{name}", answer) for name in "ab"]
    size = len(made.page(*runs).encode())
    assert size < 15_000_000
    page = Page(chromium, made.folder / "report.html")
    assert page.found == "10,000 samples"
    assert len(page.rows) == ROWS_IN_A_PAGE
    assert page.js("return document.querySelectorAll('#browser *').length") < 1_500
    page.until(lambda: page.js("return document.querySelector('#list img').naturalWidth") > 0)
    ready = page.js("return performance.getEntriesByName('interactive')[0].startTime")
    begin = time.monotonic()
    page.find("#query").send_keys("the 4321th thing")
    page.until(lambda: page.rows == [4321])
    searched = time.monotonic() - begin
    assert page.errors() == []
    with capsys.disabled():
        print(f"\n10,000 samples: {size / 1e6:.1f} MB, interactive after {ready:.0f} ms, searched in {searched:.2f} s")


class Figures(Page):
    """A page without samples: no script has anything to make interactive."""

    def until(self, condition: Callable[[], Any]) -> Any:
        return super().until(lambda: self.js("return document.readyState === 'complete'"))


def test_trainings_are_readable_in_both_themes_on_any_width_without_barriers(made: Any, chromium: Any) -> None:
    store = made.session.trainings
    for letter, parents in (("a", {}), ("b", {"base:v0": "1" * 32}), ("c", {})):
        facts = {"best": {"score": "trivia.exact"}, "parents": parents, "settings": {"seed": letter}}
        training = store.begin(letter * 64, name="net", stage="sft", steps=100, facts=facts)
        for step in range(5, 101, 5):
            values = {"loss": 10 / step, "grad_norm": 50 / step**3, "a_name_without_any_end" * 3: 1.0}
            store.log(training, step, values | ({"eval_trivia.exact": step / 100} if step % 25 == 0 else {}))
        if letter == "a":
            store.complete(training, Version("base", 0, "1" * 32, "model", (), "2026-01-01", 1, {}, ()))
    store.stop(training, "failed", "step 7: the loss is nan")
    made.page("bb", "--training", "cc")
    page = Figures(chromium, made.folder / "report.html")
    page.js("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert page.js("return document.querySelectorAll('polyline.line').length") == 2 * 4 + 4
    for scheme in ("light", "dark"):
        for width in (1280, 360):
            page.emulate(scheme, width)
            assert page.too_wide() == []
            if AXE is not None:
                assert page.violations() == []
    assert page.errors() == []
    assert page.requests() <= {"file", "data"}


def test_pipelines_are_readable_in_both_themes_on_any_width_without_barriers(made: Any, chromium: Any) -> None:
    store = made.session.work
    work = store.open("pipeline", "p")
    states = ("done", "reused", "running", "gate failed", "incomplete", "stopped", "waiting", "interrupted")
    names = [HOSTILE[0] if state == "running" else state for state in states]
    scores = {"name": "trivia.exact", "value": 0.5, "low": 0.4, "high": 0.6, "needed": "≥ 1", "status": "fail"}
    stages = [
        {
            "stage": names[place], "kind": "train", "state": state,
            "depends_on": [] if place < 2 else [names[0]] if place == 4 else [names[place - 2]],
            "why": HOSTILE[place % 4], "began": 1e9 + place if place < 5 else None, "ended": None, "tries": place,
            "seconds": 10.0**place if place < 5 else None, "log": "pipelines/p/1.log", "said": HOSTILE[0],
            "outputs": {"m": {"reference": "m:v0", "digest": "0" * 32, "type": "model"}},
            "scores": [scores],
        }
        for place, state in enumerate(states)
    ]  # fmt: skip
    for number in range(3):
        store.add(work, {str(number): {"file": HOSTILE[0], "engine": "local", "parameters": {"n": HOSTILE[0]}}})
        item = store.claim(work, [str(number)])
        store.beat(item, {"stages": stages})
    made.page("--pipeline", "p")
    page = Figures(chromium, made.folder / "report.html")
    assert page.js("return document.querySelectorAll('.dag rect').length") == len(states)
    for scheme in ("light", "dark"):
        for width in (1280, 360):
            page.emulate(scheme, width)
            assert page.too_wide() == []
            if AXE is not None:
                assert page.violations() == []
    assert page.errors() == []
    assert page.requests() <= {"file", "data"}


def test_sweeps_are_readable_in_both_themes_on_any_width_without_barriers(made: Any, chromium: Any) -> None:
    store = made.session.work
    metric = {"name": "trivia.exact", "goal": "maximize", "target": None}
    document = {"name": "rates", "method": "grid", "metric": metric,
                "parameters": ["model.learning_rate", "kind", "same"], "constraints": ["learning_rate > 0"],
                "description": HOSTILE[0], "size": 12}  # fmt: skip
    work = store.open("sweep", "rates-1", document)
    for number in range(12):
        point = {"model.learning_rate": 10.0 ** -(number % 6), "kind": ["adam", HOSTILE[0]][number // 6], "same": 1}
        store.add(work, {f"{number:04d}": {"parameters": point}})
        item = store.claim(work)
        if number == 3:
            store.failed(item, f"exit code 1: {HOSTILE[0] * 9}")
        else:
            value = 0.5 + number / 100
            store.done(item, {"value": value, "low": value - 0.1, "high": value + 0.1, "checkpoint": "net:v3"})
    (made.folder / "sweep.html").write_text(render_sweep(SweepReport(work, store.items(work))), encoding="utf-8")
    page = Figures(chromium, made.folder / "sweep.html")
    page.js("document.querySelectorAll('details').forEach(part => { part.open = true })")
    assert page.js("return document.querySelectorAll('polyline.trial').length") == 11
    assert page.js("return document.querySelectorAll('.ranking tbody tr').length") == 12
    assert page.js("return document.title") == "Sweep rates"
    for scheme in ("light", "dark"):
        for width in (1280, 360):
            page.emulate(scheme, width)
            assert page.too_wide() == []
            if AXE is not None:
                assert page.violations() == []
    assert page.errors() == []
    assert page.requests() <= {"file", "data"}
