"""What all nodes of the graph share: identifiers, times, pages, inputs, and the errors that a client is told."""

from __future__ import annotations

import base64
import datetime
import itertools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .state import State


# One count for all servers of a process: the SDK keeps artifacts by their identifiers, whichever server they are of.
SERIALS = itertools.count(1)


class Refused(Exception):
    """An error that the server tells its client: `status` is the HTTP status, as the real server sends it."""

    def __init__(self, message: str, status: int = 200) -> None:
        super().__init__(message)
        self.status = status


class Input(dict[str, Any]):
    """A mutation's input; names as in Python (`artifactID` is `artifact_id`), and what was not sent is None."""

    def __getattr__(self, name: str) -> Any:
        return self.get(name)


class Node:
    """An object of the graph. A field is the attribute, or the method, of its name as Python writes it."""

    typename: str

    def __init__(self, state: State) -> None:
        self.server = state
        self.serial = next(SERIALS)
        self.created_at = self.updated_at = now()

    @property
    def id(self) -> str:
        return node_id(self.typename, self.serial)


Mutation = Callable[["State", Input], Any]
MUTATIONS: dict[str, Mutation] = {}


def mutation(function: Mutation) -> Mutation:
    """The function answers the mutation of its name."""
    MUTATIONS[function.__name__] = function
    return function


def snake(name: str) -> str:
    """`clientIDMapping` -> `client_id_mapping`."""
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1_\2", name.replace("IDs", "Ids"))
    return re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).lower()


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def node_id(*parts: object) -> str:
    return base64.b64encode(":".join(map(str, parts)).encode()).decode()


def page(nodes: Sequence[Any], first: int | None = None, after: str | None = None) -> dict[str, Any]:
    """A page of a connection; a cursor is the number of nodes before it."""
    start = int(after) if after else 0
    stop = len(nodes) if first is None else min(len(nodes), start + first)
    return {
        "totalCount": len(nodes),
        "pageInfo": {"endCursor": str(stop) if nodes else None, "hasNextPage": stop < len(nodes)},
        "edges": [{"node": nodes[i], "cursor": str(i + 1)} for i in range(start, stop)],
    }
