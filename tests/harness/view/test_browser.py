"""The viewer in a real browser: filters, choosing, pictures, what goes on; no error, no foreign request, no barrier."""

from __future__ import annotations

import importlib.util
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from harness.types import Prediction
from harness.view.app import make_app
from harness.view.guard import Guard

AXE = importlib.util.find_spec("axe_core_python")
WAIT = 20.0


class Viewer:
    """The browser, at the viewer."""

    def __init__(self, driver: Any, home: str) -> None:
        self.driver = driver
        self.home = home
        self.emulate("light")
        for log in ("browser", "performance"):
            driver.get_log(log)  # forget what came before

    def open(self, address: str) -> None:
        self.driver.get(self.home + address)

    @property
    def address(self) -> str:
        return str(self.driver.current_url).removeprefix(self.home)

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def until(self, condition: Callable[[], Any]) -> Any:
        end = time.monotonic() + WAIT
        while not (found := condition()):
            assert time.monotonic() < end, f"nothing came of it at {self.address}"
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

    def choose(self, name: str, text: str) -> None:
        from selenium.webdriver.support.select import Select

        Select(self.find(f"select[name={name}]")).select_by_visible_text(text)

    def rows(self) -> list[str]:
        script = "return [...document.querySelectorAll('.listing tbody th a')].map(a => a.textContent)"
        return [str(text) for text in self.js(script)]

    def until_interactive(self) -> None:
        self.until(lambda: self.js("return performance.getEntriesByName('interactive').length === 1"))

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """All addresses that were asked for."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

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


@pytest.fixture
def viewer(made: Any, chromium: Any) -> Iterator[Viewer]:
    """The browser at a server of the workspace."""
    server = uvicorn.Server(uvicorn.Config(
        Guard(make_app(made.workspace, lambda: server.should_exit)), port=0, log_level="warning", lifespan="off",
        ws="none", timeout_graceful_shutdown=2,
    ))  # fmt: skip
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Viewer(chromium, f"http://127.0.0.1:{port}")
    chromium.get("about:blank")  # which closes its connections
    server.should_exit = True
    thread.join()


@pytest.fixture
def full(made: Any, answering: Callable[[float], Any]) -> Any:
    """Three versions, verdicts, checkpoints, a run that is going on, and a run whose answers are markup."""
    from harness.types import Output

    versions = [made.checkpoint("acme-book", f"c{number}") for number in range(3)]
    made.session.checkpoints.alias("acme-book", "production", "v1", "good")
    runs = [
        made.run(f"acme-book:v{number}", answering(0.3 + 0.2 * number), version=f"v{number}", digest=version.digest)
        for number, version in enumerate(versions)
    ]
    made.judge(runs[2], "pass", baseline=runs[1])
    made.judge(runs[1], "fail")
    made.run("acme-parrot:<script>document.title='broken'</script>", lambda *_: Output("<img src=x onerror=alert(1)>"))
    made.run("acme-parrot:last", answered=10)
    return made


def test_filters_act_when_something_is_chosen(viewer: Viewer, full: Any) -> None:
    viewer.open("/")
    assert len(viewer.rows()) == 5
    viewer.choose("model", "acme-book")
    viewer.until(lambda: viewer.address == "/?model=acme-book")
    assert viewer.rows() == ["acme-book:v2", "acme-book:v1", "acme-book:v0"]
    viewer.find("thead a[href*='-score']").click()
    viewer.until(lambda: "sort=-score" in viewer.address)
    assert viewer.rows() == ["acme-book:v2", "acme-book:v1", "acme-book:v0"]
    viewer.find("input[name=q]").send_keys("v1\n")
    viewer.until(lambda: "q=v1" in viewer.address)
    assert "sort=-score" in viewer.address
    assert viewer.rows() == ["acme-book:v1"]


def test_two_runs_are_chosen_and_compared_by_keyboard(viewer: Viewer, full: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    viewer.open("/?q=v1")
    viewer.js("document.querySelector('td a[href*=against]').focus()")
    viewer.type(Keys.ENTER)
    viewer.until(lambda: "against=" in viewer.address and "v1" not in viewer.rows())
    viewer.js("[...document.querySelectorAll('td a')].find(a => a.textContent.includes('book:v2')).focus()")
    viewer.type(Keys.ENTER)
    viewer.until(lambda: "/compare?a=" in viewer.address)
    viewer.until_interactive()
    assert viewer.find("h1").text == "acme-book:v2 against acme-book:v1 on acme-trivia"
    assert viewer.js("return [...document.querySelectorAll('.chip input')].map(i => i.value)") == [
        "all", "right", "wrong", "failed", "flipped", "won", "lost"
    ]  # fmt: skip


def test_samples_have_their_pictures_and_maps(viewer: Viewer, full: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    run = next(run for run in full.session.store.runs() if run.version == "v2")
    viewer.open(f"/runs/{run.id}")
    viewer.until_interactive()
    assert not viewer.js("return [...document.querySelectorAll('.reading')].some(e => e.offsetParent)")
    loaded = "return [...document.querySelectorAll('{} img')].map(i => i.naturalWidth)"
    viewer.js("document.getElementById('samples').scrollIntoView()")
    viewer.until(lambda: viewer.js(loaded.format("#list"))[:4] == [10, 11, 12, 13])
    viewer.type("j", "j", Keys.ENTER)
    viewer.until(lambda: viewer.js(loaded.format("#detail")) == [11, 11])  # the picture, and it under the map
    assert viewer.js("return document.querySelectorAll('#detail canvas.map').length") == 1
    assert viewer.address.endswith("#sample=q1")
    viewer.find("#query").send_keys("what12")
    viewer.until(lambda: viewer.find("#found").text == "1 of 40 samples")
    assert viewer.errors() == []


def test_a_run_that_goes_on_is_followed_to_its_end(viewer: Viewer, full: Any, answering: Any) -> None:
    store = full.session.store
    run = next(run for run in store.runs() if run.status == "running")
    samples = list(full.task.samples())
    viewer.open("/")
    assert "10 of 40" in viewer.find("[data-progress] small").text
    store.add(run, [Prediction(n, samples[n].id, answering(0.5)(n, samples[n])) for n in range(10, 30)], 1.0)
    viewer.until(lambda: viewer.find("[data-progress] small").text.startswith("30 of 40, "))
    assert viewer.js("return document.querySelector('progress').value") == 30
    store.add(run, [Prediction(n, samples[n].id, answering(0.5)(n, samples[n])) for n in range(30, 40)], 1.0)
    store.finish(run)
    full.session.rescore(run.id)
    viewer.until(lambda: viewer.js("return !document.querySelector('[data-progress]')"))
    assert viewer.errors() == []


def test_the_theme_is_kept_from_page_to_page(viewer: Viewer, full: Any) -> None:
    viewer.open("/")
    viewer.find("#theme").click()
    assert viewer.js("return document.documentElement.dataset.theme") == "dark"
    viewer.open("/trends")
    assert viewer.js("return document.documentElement.dataset.theme") == "dark"
    viewer.find("#theme").click()


def test_a_point_of_a_trend_leads_to_its_run(viewer: Viewer, full: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    viewer.open("/trends")
    run = next(run for run in full.session.store.runs() if run.version == "v1")
    assert viewer.find(".alias").text == "production"
    viewer.js("document.querySelectorAll('.lines a')[1].focus()")
    viewer.type(Keys.ENTER)
    viewer.until(lambda: viewer.address == f"/runs/{run.id}")


def addresses(made: Any) -> list[str]:
    runs = {run.model: run.id for run in made.session.store.runs()}
    hostile = next(run for model, run in runs.items() if "script" in model)
    verdict = made.session.verdicts.of()[0].verdict.id
    return [
        "/", f"/?against={runs['acme-book:v1']}", "/?q=nothing", "/trends", "/verdicts", f"/verdicts/{verdict}",
        "/checkpoints", "/checkpoints/acme-book", f"/runs/{hostile}", f"/compare?a={runs['acme-book:v1']}&b={hostile}",
    ]  # fmt: skip


def test_no_page_has_an_error_or_a_foreign_request_or_is_too_wide(viewer: Viewer, full: Any) -> None:
    for address in addresses(full):
        for width in (360, 1280):
            viewer.emulate("light", width)
            viewer.open(address)
            if address.startswith(("/runs", "/compare")):
                viewer.until_interactive()
            assert viewer.too_wide() == [], (address, width)
        assert viewer.driver.title.endswith(" · harness")
    assert viewer.errors() == []
    asked = viewer.requests()
    assert any("/picture?" in url for url in asked)
    assert all(url.startswith((f"{viewer.home}/", "data:")) for url in asked), asked


@pytest.mark.skipif(AXE is None, reason="axe is not installed: pip install 'vlm-harness[dev]'")
def test_no_page_has_a_barrier(viewer: Viewer, full: Any) -> None:
    for number, address in enumerate(addresses(full)):
        viewer.emulate(*(("dark", 360) if number % 2 else ("light", 1280)))
        viewer.open(address)
        if address.startswith(("/runs", "/compare")):
            viewer.until_interactive()
        assert viewer.violations() == [], address
