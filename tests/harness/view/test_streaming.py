"""Pages that are sent while they are being made: in order, to the end, and given up when nobody waits for them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator

import pytest

from harness.view.streaming import AT_ONCE, BROKEN, ENDED, sent


async def collect(parts: Iterator[str], ending: bool = False) -> list[str]:
    return [part async for part in sent(parts, lambda: ending)]


def test_parts_come_in_order() -> None:
    assert asyncio.run(collect(iter(["a", "b", "c"]))) == ["a", "b", "c"]
    assert asyncio.run(collect(iter([]))) == []


def test_each_part_is_sent_before_the_next_is_made() -> None:
    sent_first = threading.Event()

    def parts() -> Iterator[str]:
        yield "a"
        assert sent_first.wait(10)
        yield "b"

    async def read() -> list[str]:
        found = []
        async for part in sent(parts(), lambda: False):
            found.append(part)
            sent_first.set()
        return found

    assert asyncio.run(read()) == ["a", "b"]


def test_what_breaks_off_says_so_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    def parts() -> Iterator[str]:
        yield "a"
        raise ZeroDivisionError("too small")

    assert asyncio.run(collect(parts())) == ["a", BROKEN]
    assert "ZeroDivisionError: too small" in caplog.text


def test_the_end_of_the_server_waits_for_no_page() -> None:
    released = threading.Event()

    def parts() -> Iterator[str]:
        yield "a"
        released.wait(60)

    begun = time.monotonic()
    assert asyncio.run(collect(parts(), ending=True)) == ["a", ENDED]
    assert time.monotonic() - begun < 5
    released.set()


def test_a_page_that_nobody_reads_any_more_is_given_up() -> None:
    made: list[int] = []
    left = threading.Event()
    ended = threading.Event()

    def parts() -> Iterator[str]:
        try:
            for number in range(1000):
                made.append(number)
                yield str(number)
                if number == 0:
                    left.wait(10)
        finally:
            ended.set()

    async def leave() -> None:
        reader = sent(parts(), lambda: False)
        async for _ in reader:
            break
        await reader.aclose()  # type: ignore[attr-defined]
        left.set()

    asyncio.run(leave())
    assert ended.wait(10)
    assert len(made) < 1000


def test_no_more_pages_than_so_many_are_made_at_once() -> None:
    lock, running, most = threading.Lock(), 0, 0

    def parts() -> Iterator[str]:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        time.sleep(0.02)
        yield "a"
        with lock:
            running -= 1

    async def many() -> None:
        await asyncio.gather(*(collect(parts()) for _ in range(3 * AT_ONCE)))

    asyncio.run(many())
    assert most == AT_ONCE
