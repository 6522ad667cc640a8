"""All that the server knows, in memory: one lock, the nodes by their keys, and the stored blobs."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .nodes import Refused
from .projects import Entity, Project, Query, User
from .runs import Run

if TYPE_CHECKING:
    from .artifacts import Artifact
    from .launch import LaunchAgent, Queue, ResourceConfig
    from .sweeps import Agent, Sweep

ENTITY = "team"
ORGANIZATION = "organization"
ORGANIZATION_ENTITY = "organization-registry"


class State:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.base_url = ""
        self.unknown: set[str] = set()
        self.blobs: dict[str, bytes] = {}
        self.projects: dict[tuple[str, str], Project] = {}
        self.artifacts: dict[str, Artifact] = {}
        self.client_ids: dict[str, str] = {}
        self.sweeps: dict[str, Sweep] = {}
        self.agents: dict[str, Agent] = {}
        self.queues: dict[str, Queue] = {}
        self.resource_configs: dict[str, ResourceConfig] = {}
        self.launch_agents: dict[str, LaunchAgent] = {}
        self.alerts: list[dict[str, Any]] = []
        self.entities = {name: Entity(self, name) for name in (ENTITY, ORGANIZATION_ENTITY)}
        self.viewer = User(self)
        self.query = Query(self)
        for kind in ("model", "dataset"):  # the registries that every organization has
            self.project(ORGANIZATION_ENTITY, f"wandb-registry-{kind}")

    def note_unknown(self, where: str, *what: str) -> None:
        self.unknown.add(" | ".join([where, *(line.strip() for line in what)]))

    def entity(self, name: str | None) -> Entity:
        found = self.entities.get(name or ENTITY)
        if found is None:
            raise Refused(f"entity {name} not found", 404)
        return found

    def project(self, entity: str | None, name: str | None) -> Project:
        """The project, made if there is none yet, as logging a run to it does."""
        key = entity or ENTITY, name or "uncategorized"
        if key not in self.projects:
            self.projects[key] = Project(self, self.entity(key[0]), key[1])
        return self.projects[key]

    def run(self, entity: str | None, project: str | None, name: str) -> Run:
        """The run, made if there is none yet."""
        runs = self.project(entity, project).runs_by_name
        if name not in runs:
            runs[name] = Run(self, self.project(entity, project), name)
        return runs[name]

    def all_runs(self) -> list[Run]:
        return [run for project in self.projects.values() for run in project.runs_by_name.values()]
