"""A server without a password: who is let in, and what browsers are told."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient

from harness.view.app import make_app
from harness.view.guard import HEADERS, Guard

PAGES = ("/", "/trends", "/verdicts", "/checkpoints", "/nothing", "/api/runs", "/static/view.css", "/compare")


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]", "[::1]:8765", "127.1.2.3:80"],
)  # fmt: skip
def test_this_machines_own_names_are_let_in(made: Any, host: str) -> None:
    assert made.client().get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example", "192.168.0.7", "0.0.0.0",
     "[::2]", "127.0.0.1:8765, evil.example", "127.0.0.1@evil.example", "", " ", "2130706433", "[127.0.0.1]x", "[::1"],
)  # fmt: skip
def test_foreign_names_are_refused(made: Any, host: str) -> None:
    run = made.run("acme-parrot:last")
    for address in ("/", f"/runs/{run.id}", "/api/runs", "/static/view.css"):
        answer = made.client().get(address, headers={"host": host})
        assert answer.status_code == 421
        assert run.id not in answer.text


def test_a_request_has_one_name(made: Any) -> None:
    answer = made.client().get("/", headers=[("host", "127.0.0.1"), ("host", "evil.example")])
    assert answer.status_code == 421


@pytest.mark.parametrize(
    ("host", "status"),
    [("gpu7", 200), ("GPU7:8765", 200), ("10.0.0.7:8765", 200), ("[fe80::1]:80", 200), ("gpu8", 421),
     ("evil.example", 421)],
)  # fmt: skip
def test_where_others_are_let_in_addresses_and_its_own_name_are_known(made: Any, host: str, status: int) -> None:
    client = TestClient(Guard(make_app(made.workspace), {"gpu7"}, anywhere=True))
    assert client.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "FROB"])
def test_nothing_but_reading_is_allowed(made: Any, method: str) -> None:
    for address in PAGES:
        answer = made.client().request(method, address)
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


def test_head_is_answered_without_the_page(made: Any) -> None:
    run = made.run("acme-parrot:last")
    for address in ("/", f"/runs/{run.id}", "/api/runs", "/static/view.css"):
        answer = made.client().head(address)
        assert answer.status_code == 200
        assert made.client().get(address).headers["content-type"] == answer.headers["content-type"]


def test_every_answer_tells_the_browser_what_is_allowed(made: Any) -> None:
    run = made.run("acme-parrot:last")
    addresses = (*PAGES, f"/runs/{run.id}", f"/runs/{run.id}/picture?sample=q0", "/runs/nothing")
    refused = [made.client().post("/"), made.client().get("/", headers={"host": "evil.example"})]
    for answer in [made.client().get(address) for address in addresses] + refused:
        for name, value in HEADERS.items():
            if name == "cache-control" and answer.url.path.startswith(("/static", "/runs")):
                continue
            assert answer.headers[name] == value
        assert "set-cookie" not in answer.headers
        assert "access-control-allow-origin" not in answer.headers
    policy = dict(rule.partition(" ")[::2] for rule in HEADERS["content-security-policy"].split("; "))
    assert policy["default-src"] == "'none'"
    assert not any("unsafe" in rule or "*" in rule or "http" in rule for rule in policy.values())


def test_styles_and_scripts_are_kept_until_they_change(made: Any) -> None:
    text = made.client().get("/").text
    assert "/static/report.css?" in text
    answer = made.client().get("/static/report.css")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-type"].startswith("text/css")
    assert made.client().get("/static/served.js").headers["content-type"].startswith("text/javascript")
