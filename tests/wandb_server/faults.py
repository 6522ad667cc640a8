"""Faults that a test sets at any time: a server that is down, slow, answers an error, cuts a body, or keeps a bad blob.

Each is met by requests whose label matches a regular expression. A label is `METHOD /path` and, for GraphQL, the
operation's name: `POST /graphql CommitArtifact`, `PUT /storage/content/…`, `POST /files/team/project/run/file_stream`.
So `"CreateArtifact$"` meets that mutation and not `CreateArtifactFiles`.
"""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["slow", "status", "cut"]


@dataclass
class Fault:
    kind: Kind
    match: str
    times: int | None
    value: float
    met: int = 0  # how many requests met it


@dataclass
class Faults:
    _faults: list[Fault] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def slow(self, seconds: float, match: str = "", times: int | None = None) -> Fault:
        """Wait so long before the answer, for the next `times` requests that match, or for all of them."""
        return self._add(Fault("slow", match, times, seconds))

    def status(self, code: int, match: str = "", times: int | None = None) -> Fault:
        """Answer with this status and do nothing, for the next `times` requests that match, or for all of them."""
        return self._add(Fault("status", match, times, code))

    def cut(self, match: str, times: int | None = 1, after: float = 0.5) -> Fault:
        """Close the connection when this part of the body is through.

        A download breaks off there. An upload is read so far and thrown away. A POST is carried out in full and its
        answer is lost, which is the case that makes a client ask again for what is done already.
        """
        return self._add(Fault("cut", match, times, after))

    def clear(self) -> None:
        """No fault from now on."""
        with self._lock:
            self._faults.clear()

    def _add(self, fault: Fault) -> Fault:
        with self._lock:
            self._faults.append(fault)
        return fault

    def take(self, kind: Kind, label: str) -> Fault | None:
        """The first fault of the kind that the request meets; it counts as met."""
        with self._lock:
            for fault in self._faults:
                if (
                    fault.kind == kind
                    and (fault.times is None or fault.met < fault.times)
                    and re.search(fault.match, label)
                ):
                    fault.met += 1
                    return fault
        return None
