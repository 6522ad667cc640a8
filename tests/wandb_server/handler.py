"""HTTP: GraphQL, the stream of a run's lines, and the storage, with the faults that a test has set."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
import socket
import time
import urllib.parse
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from .execution import answer, operation
from .runs import receive_stream

if TYPE_CHECKING:
    from .server import Server

API_KEY = "0123456789abcdef0123456789abcdef01234567"
AUTHORIZATION = "Basic " + base64.b64encode(f"api:{API_KEY}".encode()).decode()


@dataclass(frozen=True)
class Request:
    """What a client sent: `label` as faults match it, the body without its compression."""

    label: str
    body: bytes
    status: int


class Cut(Exception):
    """The connection ends here."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer leaves in one piece
    mock: Server

    def log_message(self, *arguments: object) -> None:
        """Nothing: the server keeps its requests itself."""

    def handle(self) -> None:
        self.mock.connections.add(self.connection)
        try:
            if not self.mock.is_down:
                super().handle()
        except (ConnectionError, Cut):  # a client that left, a cut, or `down` in the middle of a request
            self.close_connection = True
        finally:
            self.mock.connections.discard(self.connection)

    def do_POST(self) -> None:
        self._serve()

    do_GET = do_HEAD = do_PUT = do_POST

    def _serve(self) -> None:
        path = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path)
        label = f"{self.command} {path}"
        upload_cut = self.mock.faults.take("cut", label) if self.command == "PUT" else None
        body = self._read_body(upload_cut.value if upload_cut else 1.0)
        if upload_cut:
            self.mock.requests.append(Request(label, body, 0))
            raise Cut
        if path == "/graphql":
            label += f" {operation(str(parsed(body).get('query')))}"
        if slow := self.mock.faults.take("slow", label):
            time.sleep(slow.value)
        if failure := self.mock.faults.take("status", label):
            status, data, headers = int(failure.value), b'{"error": "fault"}', {}
        else:
            status, data, headers = self._answer(path, body)
        self.mock.requests.append(Request(label, body, status))
        self._send(status, data, headers, label)

    def _read_body(self, part: float) -> bytes:
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b"".join(self._chunks())
        else:
            body = self._exactly(int(int(self.headers.get("Content-Length") or 0) * part))
        return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" and part == 1 else body

    def _exactly(self, size: int) -> bytes:
        body = self.rfile.read(size) if size > 0 else b""
        if len(body) != size:
            raise ConnectionAbortedError("the client left in the middle of its body")
        return body

    def _chunks(self) -> Any:
        while size := int(self.rfile.readline().split(b";")[0] or b"-1", 16):
            yield self._exactly(size)
            self.rfile.readline()
        self.rfile.readline()

    def _send(self, status: int, data: bytes, headers: dict[str, str], label: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if self.command != "PUT" and (cut := self.mock.faults.take("cut", label)):
            self.wfile.write(data[: int(len(data) * cut.value)])
            self.wfile.flush()
            raise Cut
        self.wfile.write(data)

    def finish(self) -> None:
        try:
            super().finish()
        except (ConnectionError, ValueError):
            self.close_connection = True

    def _answer(self, path: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        if path.startswith("/storage/"):
            return self._storage(path.removeprefix("/storage/"), body)
        if self.headers.get("Authorization") != AUTHORIZATION:
            return 401, b'{"error": "invalid API key"}', {}
        if path == "/graphql":
            status, answered = answer(self.mock.state, parsed(body))
            return status, json.dumps(answered).encode(), {"Content-Type": "application/json"}
        if found := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
            with self.mock.state.lock:
                answered = receive_stream(self.mock.state.run(*found.groups()), parsed(body))
            return 200, json.dumps(answered).encode(), {"Content-Type": "application/json"}
        if found := re.match(r"/artifacts(?:V2)?/.*?([0-9a-f]{32})(?:/|$)", path):
            return self._storage(f"content/{found[1]}", body)
        self.mock.state.note_unknown(f"{self.command} {path}")
        return 404, b'{"error": "no such path"}', {}

    def _storage(self, key: str, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        blobs = self.mock.state.blobs
        if self.command == "PUT":
            digest = hashlib.md5(body).digest()
            sent = self.headers.get("Content-MD5", base64.b64encode(digest).decode())
            if base64.b64decode(sent) != digest or (key.startswith("content/") and key[8:] != digest.hex()):
                return 400, b"BadDigest", {}
            with self.mock.state.lock:
                blobs[key] = body
            return 200, b"", {"ETag": f'"{digest.hex()}"'}
        if key not in blobs:
            return 404, b"NoSuchKey", {}
        data, headers = blobs[key], {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, stop = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{stop}/{len(data)}"
            return 206, data[start : stop + 1], headers
        return 200, data, headers


def parsed(body: bytes) -> dict[str, Any]:
    """The JSON object; one without keys where there is none, which is refused for what it lacks."""
    try:
        found = json.loads(body)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def close_abruptly(connection: socket.socket) -> None:
    """End a connection in the middle of whatever it does."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return  # it had ended
