"""What a server without a password lets in: readers, on this machine, whom no other site has sent."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, MutableMapping
from typing import Any, Final

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

POLICY: Final = "; ".join([
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data:",
    "connect-src 'self'",
    "form-action 'self'",
    "base-uri 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types 'none'",
])  # fmt: skip
"""A Content-Security-Policy: nothing but what lies on this server, and no script or style within a page."""
HEADERS: Final = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cache-control": "no-cache",
}
METHODS: Final = ("GET", "HEAD")
_HOST: Final = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]+)?", re.ASCII | re.IGNORECASE)


class Guard:
    """Refuses other methods than reading ones and foreign Host headers; gives every answer the headers above.

    A page of another site can make its own name mean this machine's address (DNS rebinding), and would then be within
    the same-origin policy; but its requests bear that name. Ports are not looked at: they differ behind a tunnel.

    Args:
        names: by which the server may be addressed, beside `localhost` and the addresses of this machine alone.
        anywhere: whether any address that is a number may be used, as it must where others are let in.
    """

    def __init__(self, app: ASGIApp, names: Collection[str] = (), *, anywhere: bool = False) -> None:
        self._app = app
        self._names = {"localhost", *(name.lower() for name in names)}
        self._anywhere = anywhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_missing(message)]
            await send(message)

        app = self._refusal(scope) or self._app
        await app(scope, receive, send_guarded)

    def _refusal(self, scope: MutableMapping[str, Any]) -> ASGIApp | None:
        if scope["method"] not in METHODS:
            allow = {"allow": ", ".join(METHODS)}
            return PlainTextResponse("This server only shows: GET and HEAD.\n", 405, allow)
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        if len(hosts) != 1 or not self._knows(hosts[0]):
            return PlainTextResponse(
                "This server does not answer to that name; use the address that `harness view` printed.\n", 421
            )
        return None

    def _knows(self, host: str) -> bool:
        match = _HOST.fullmatch(host)
        if match is None:
            return False
        name = match["name"].lower()
        if name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return self._anywhere or address.is_loopback


def _missing(message: Message) -> list[tuple[bytes, bytes]]:
    given = {name.lower() for name, _ in message.get("headers", ())}
    return [
        (name.encode(), value.encode()) for name, value in HEADERS.items() if name.encode() not in given
    ]  # fmt: skip
