"""The server as a test sees it: where it is, what it holds, what it met, and what goes wrong."""

from __future__ import annotations

import gc
import os
import socket
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from unittest import mock

from .artifacts import Artifact, Collection
from .faults import Faults
from .handler import API_KEY, Handler, Request, close_abruptly
from .launch import QueueItem
from .runs import Run
from .state import ENTITY, ORGANIZATION_ENTITY, State

REGISTRY = f"{ORGANIZATION_ENTITY}/wandb-registry-model"


class Listener(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128  # clients come with many connections at once


@dataclass
class Server:
    """A running server. Names of runs and collections are looked up in `entity` and `project`."""

    state: State = field(default_factory=State)
    faults: Faults = field(default_factory=Faults)
    requests: list[Request] = field(default_factory=list)
    connections: set[socket.socket] = field(default_factory=set)
    project: str = "project"
    port: int = 0
    _http: Listener | None = None

    @property
    def entity(self) -> str:
        """The team that everybody here logs to; another one is refused."""
        return ENTITY

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def unknown(self) -> set[str]:
        """Each operation, field, argument or path that a client asked for and the server does not model."""
        return self.state.unknown

    @property
    def is_down(self) -> bool:
        return self._http is None

    def up(self) -> None:
        """Listen, on the port of the first time."""
        handler = type("BoundHandler", (Handler,), {"mock": self})
        self._http = Listener(("127.0.0.1", self.port), handler)
        self.port = self._http.server_port
        self.state.base_url = self.url
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections from now on, and end those that there are."""
        if self._http is None:
            return
        http, self._http = self._http, None
        http.shutdown()
        http.server_close()
        for connection in list(self.connections):
            close_abruptly(connection)

    def environment(self, folder: Path) -> dict[str, str]:
        """The variables with which the SDK talks to this server and to no other host, and writes only below `folder`.

        It asks again a second after a failure, the least that it can, so that tests of faults are quick.
        """
        folders = {
            name: folder / name.lower() for name in ("DIR", "CACHE_DIR", "CONFIG_DIR", "DATA_DIR", "ARTIFACT_DIR")
        }
        for path in folders.values():
            path.mkdir(parents=True, exist_ok=True)
        clients = ("GRAPHQL", "FILE_STREAM", "FILE_TRANSFER")
        waits = {f"WANDB__{client}_RETRY_WAIT_{end}_SECONDS": "1" for client in clients for end in ("MIN", "MAX")}
        return {
            **{f"WANDB_{name}": str(path) for name, path in folders.items()},
            **waits,
            "WANDB_BASE_URL": self.url,
            "WANDB_API_KEY": API_KEY,
            "WANDB_ENTITY": self.entity,
            "WANDB_PROJECT": self.project,
            "WANDB_MODE": "online",
            "WANDB_SILENT": "true",
            "WANDB_ERROR_REPORTING": "false",  # no Sentry
            "WANDB_DISABLE_GIT": "true",
            "NETRC": str(folder / "netrc"),
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }

    @contextmanager
    def connected(self, folder: Path) -> Iterator[None]:
        """The SDK in this process talks to this server; afterwards its service process and its settings are gone."""
        import wandb
        from wandb.sdk.artifacts import artifact_instance_cache

        wandb.teardown()
        with mock.patch.dict(os.environ, self.environment(folder)):
            try:
                yield
            finally:
                wandb.teardown()
                artifact_instance_cache.artifact_instance_cache.clear()
                artifact_instance_cache.artifact_instance_cache_by_client_id.clear()
                with warnings.catch_warnings(action="ignore"):  # the SDK leaves folders and files to the collector
                    gc.collect()

    # What it holds

    def run(self, name: str, project: str | None = None) -> Run:
        return self.state.projects[self.entity, project or self.project].runs_by_name[name]

    def runs(self, project: str | None = None) -> list[Run]:
        found = self.state.projects.get((self.entity, project or self.project))
        return list(found.runs_by_name.values()) if found else []

    def collection(self, name: str, project: str | None = None) -> Collection:
        """`name` of the project, or of `entity/project` when that is given."""
        entity, _, inner = (project or self.project).rpartition("/")
        return self.state.projects[entity or self.entity, inner].collections[name]

    def versions(self, name: str, project: str | None = None) -> dict[str, list[str]]:
        """`{"v0": ["best"], "v1": ["latest"]}`: the collection's versions that are there, with their aliases sorted."""
        try:
            members = self.collection(name, project).members
        except KeyError:
            return {}
        return {f"v{member.version_index}": sorted(member.alias_names) for member in members}

    def artifact(self, name: str, project: str | None = None) -> Artifact:
        """`name:alias` or `name:v0`."""
        collection, _, alias = name.partition(":")
        member = self.collection(collection, project).artifact_membership(alias or "latest")
        assert member is not None, f"{collection} has no {alias!r}"
        return member.artifact

    def files(self, name: str, project: str | None = None) -> dict[str, bytes]:
        """What the version's files hold, by path."""
        artifact = self.artifact(name, project)
        stored = ((path, entry["digest"]) for path, entry in artifact.entries().items() if "ref" not in entry)
        return {path: self.state.blobs[artifact.file(path, digest).storage_path] for path, digest in stored}

    def used(self, run: str, project: str | None = None) -> list[str]:
        """The run's input artifacts, as `collection:v0`."""
        found = (self.state.artifacts.get(used) for used in self.run(run, project).used)
        return [f"{a.artifact_sequence.name}:v{a.version_index}" for a in found if a is not None]

    def items(self, queue: str) -> list[QueueItem]:
        """The queue's items, in the order in which they came."""
        return next(list(found.items) for found in self.state.queues.values() if found.name == queue)

    def received(self) -> bytes:
        """Every path and body that clients ever sent, to look for what must never leave a machine."""
        return b"\n".join(part for request in list(self.requests) for part in (request.label.encode(), request.body))

    def corrupt(self, name: str, path: str, project: str | None = None) -> None:
        """Change a byte in the middle of one of the version's files; its length stays."""
        artifact = self.artifact(name, project)
        key = artifact.file(path, artifact.entries()[path]["digest"]).storage_path
        blob = bytearray(self.state.blobs[key])
        blob[len(blob) // 2] ^= 0xFF
        self.state.blobs[key] = bytes(blob)


@contextmanager
def serve(**settings: Any) -> Iterator[Server]:
    server = Server(**settings)
    server.up()
    try:
        yield server
    finally:
        server.down()
