"""A proxy on the loopback that lets nothing through and remembers every host that it was asked for.

    with refuse_all_other_hosts() as proxy:
        subprocess.run([...], env={**os.environ, **proxy.environment})
        assert proxy.asked == []

Seen is who goes through a proxy: requests, urllib, httpx, aiohttp with `trust_env`, Go, curl, git, pip. Who opens
sockets of his own is not.
"""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class LoggingProxy(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Refusal)
        self.asked: list[str] = []

    @property
    def environment(self) -> dict[str, str]:
        """What sends a child's requests here, those to the loopback apart."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        proxies = {f"{scheme}_proxy": url for scheme in ("http", "https", "all")}
        proxies["no_proxy"] = "127.0.0.1,localhost,::1"
        return {**proxies, **{name.upper(): value for name, value in proxies.items()}}


class _Refusal(socketserver.StreamRequestHandler):
    server: LoggingProxy

    def handle(self) -> None:
        words = self.rfile.readline(65536).decode("latin-1").split()
        self.server.asked.append(" ".join(words[:2]))  # `CONNECT host:443`, `GET http://host/path`
        self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")


@contextmanager
def refuse_all_other_hosts() -> Iterator[LoggingProxy]:
    with LoggingProxy() as proxy:
        thread = threading.Thread(target=proxy.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            thread.join()
