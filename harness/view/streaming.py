"""Pages that are sent while they are being made."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from typing import Final

AT_ONCE: Final = 4
"""Pages that are made at once; bounds the memory that it takes."""
LOOK: Final = 0.2
"""Seconds between two looks at whether the server is to end."""
BROKEN: Final = '<p class="warning">The rest of this page cannot be made; the server’s own output says why.</p>'
ENDED: Final = '<p class="warning">The server has ended.</p>'

_SLOTS: Final = threading.BoundedSemaphore(AT_ONCE)
_LOG: Final = logging.getLogger(__name__)


async def sent(parts: Iterator[str], is_ending: Callable[[], bool]) -> AsyncIterator[str]:
    """The parts of a page, made on a thread of their own. Whoever ends the server need not wait for it."""
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[str | None] = asyncio.Queue()
    left = threading.Event()

    def put(part: str | None) -> None:
        with suppress(RuntimeError):  # the server has ended meanwhile
            loop.call_soon_threadsafe(made.put_nowait, part)

    def make() -> None:
        try:
            with _SLOTS:
                for part in parts:
                    put(part)
                    if left.is_set():
                        return
        except Exception:  # noqa: BLE001 - what was sent cannot be taken back; the page says that it broke off
            _LOG.exception("a page broke off")
            put(BROKEN)
        finally:
            put(None)

    threading.Thread(target=make, name="page", daemon=True).start()
    try:
        while True:
            try:
                part = await asyncio.wait_for(made.get(), LOOK)
            except TimeoutError:
                if is_ending():
                    yield ENDED
                    return
            else:
                if part is None:
                    return
                yield part
    finally:
        left.set()
