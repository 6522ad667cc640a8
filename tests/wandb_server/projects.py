"""The root of queries, and who owns what: users, entities, their organization, projects (registries are projects)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .artifacts import Artifact, ArtifactType, Collection, Membership
from .filters import matches, ordered, parsed
from .nodes import Input, Node, Refused, mutation, node_id, page

if TYPE_CHECKING:
    from .launch import LaunchAgent, Queue, ResourceConfig
    from .runs import Run
    from .state import State
    from .sweeps import Sweep

# What this server says that it can do: each names a way of asking that the SDK takes only when it is announced.
FEATURES = (
    "LARGE_FILENAMES", "ARTIFACT_TAGS", "CLIENT_IDS", "ARTIFACT_COLLECTION_MEMBERSHIP_FILES",
    "ARTIFACT_COLLECTION_MEMBERSHIP_FILE_DOWNLOAD_HANDLER", "USE_ARTIFACT_WITH_ENTITY_AND_PROJECT_INFORMATION",
    "PROJECT_ARTIFACT_COLLECTION_MEMBERSHIP", "ARTIFACT_MEMBERSHIP_IN_LINK_ARTIFACT_RESPONSE",
    "TOTAL_COUNT_IN_FILE_CONNECTION", "ARTIFACT_V2_DOWNLOAD_HANDLER_SUPPORTS_ARTIFACT_ID", "MARK_RUN_FILES_UPLOADED",
    "FILESTREAM_GZIP", "ARTIFACT_DIGEST_ALGORITHM",
)  # fmt: skip


class Query:
    def __init__(self, state: State) -> None:
        self.server = state

    @property
    def viewer(self) -> User:
        return self.server.viewer

    def server_info(self) -> dict[str, Any]:
        return {
            "cliVersionInfo": {"max_cli_version": "9.9.9", "min_cli_version": "0.0.0"},
            "latestLocalVersionInfo": None,
            "features": [{"name": name, "isEnabled": True} for name in FEATURES],
        }

    def entity(self, name: str | None = None) -> Entity | None:
        return self.server.entities.get(name or self.server.entity(None).name)

    def organization(self, name: str | None = None) -> Organization | None:
        organization = Organization(self.server)
        return organization if name in (None, organization.name) else None

    def project(self, name: str | None = None, entity_name: str | None = None) -> Project | None:
        owner = self.entity(entity_name)
        return owner.project(name) if owner else None

    model = project

    def models(self, entity_name: str | None = None, **window: Any) -> dict[str, Any]:
        owner = self.server.entity(entity_name)
        return page([project for project in self.server.projects.values() if project.entity is owner], **window)

    def artifact(self, id: str) -> Artifact | None:
        return self.server.artifacts.get(id)

    def artifact_collection(self, id: str) -> Collection | None:
        collections = (c for project in self.server.projects.values() for c in project.collections.values())
        return next((collection for collection in collections if collection.id == id), None)

    def client_id_mapping(self, client_id: str) -> dict[str, str] | None:
        server_id = self.server.client_ids.get(client_id)
        return {"serverID": server_id} if server_id else None

    def launch_agent(self, id: str) -> LaunchAgent | None:
        return self.server.launch_agents.get(id)


class User:
    typename = "User"
    name = username = "tester"
    email = "tester@example.com"
    admin = False
    flags = "{}"
    deleted_at = None

    def __init__(self, state: State) -> None:
        self.server = state
        self.id = node_id("User", 1)

    @property
    def entity(self) -> str:
        return self.server.entity(None).name

    def api_keys(self) -> dict[str, Any]:
        return page([])

    def teams(self) -> dict[str, Any]:
        return page([self.server.entity(None)])

    def organizations(self) -> list[Organization]:
        return [Organization(self.server)]


class Entity(Node):
    typename = "Entity"
    is_team = True
    entity_type = "team"
    read_only = False
    available = True
    default_access = "PRIVATE"
    xxhash_digests_enabled = False
    user = None

    def __init__(self, state: State, name: str) -> None:
        super().__init__(state)
        self.name = name

    def organization(self) -> Organization:
        return Organization(self.server)

    def project(self, name: str | None = None) -> Project | None:
        return self.server.projects.get((self.name, name or "uncategorized"))

    def default_resource_config(self, id: str) -> ResourceConfig | None:
        return self.server.resource_configs.get(id)


class Organization:
    """The one organization; its entity owns the registries."""

    core_weave_organization_id = None

    def __init__(self, state: State) -> None:
        from .state import ORGANIZATION

        self.server = state
        self.name = ORGANIZATION
        self.id = node_id("Organization", 1)

    def org_entity(self) -> Entity:
        from .state import ORGANIZATION_ENTITY

        return self.server.entity(ORGANIZATION_ENTITY)

    def feature_flags(self, **_: Any) -> list[Any]:
        return []


class Project(Node):
    typename = "Project"
    description = None
    access = "PRIVATE"
    views = "{}"
    is_benchmark = False
    read_only = False
    allow_all_artifact_types_in_registry = True

    def __init__(self, state: State, entity: Entity, name: str) -> None:
        super().__init__(state)
        self.entity = entity
        self.name = name
        self.runs_by_name: dict[str, Run] = {}
        self.collections: dict[str, Collection] = {}
        self.deleted_runs: set[str] = set()

    @property
    def internal_id(self) -> str:
        return node_id("ProjectInternalId", self.serial)

    @property
    def entity_name(self) -> str:
        return self.entity.name

    @property
    def user(self) -> User:
        return self.server.viewer

    def run(self, name: str, **_: Any) -> Run | None:
        return self.runs_by_name.get(name)

    bucket = run

    def _matching(self, filters: str | None) -> list[Run]:
        return [run for run in self.runs_by_name.values() if matches(run.filter_fields(), parsed(filters))]

    def runs(self, filters: str | None = None, order: str | None = None, **window: Any) -> dict[str, Any]:
        return page(ordered(self._matching(filters), order), **window)

    def run_count(self, filters: str | None = None) -> int:
        return len(self._matching(filters))

    def artifact_collection_membership(self, name: str) -> Membership | None:
        collection, _, alias = name.partition(":")
        found = self.collections.get(collection)
        return found.artifact_membership(alias or "latest") if found else None

    def artifact(self, name: str) -> Artifact | None:
        membership = self.artifact_collection_membership(name)
        return membership.artifact if membership else None

    def _artifact_types(self) -> list[ArtifactType]:
        return [ArtifactType(self, name) for name in dict.fromkeys(c.type_name for c in self.collections.values())]

    def artifact_type(self, name: str) -> ArtifactType | None:
        return next((kind for kind in self._artifact_types() if kind.name == name), None)

    def artifact_types(self, include_all: bool = False, **window: Any) -> dict[str, Any]:
        return page(self._artifact_types(), **window)

    def artifact_collection(self, name: str) -> Collection | None:
        return self.collections.get(name)

    def artifact_collections(self, **window: Any) -> dict[str, Any]:
        return page(list(self.collections.values()), window.get("first"), window.get("after"))

    def _sweeps(self) -> list[Sweep]:
        return [sweep for sweep in self.server.sweeps.values() if sweep.project is self]

    def sweep(self, sweep_name: str) -> Sweep | None:
        return next((sweep for sweep in self._sweeps() if sweep_name in (sweep.name, sweep.id)), None)

    def sweeps(self, filters: str | None = None, **window: Any) -> dict[str, Any]:
        return page(self._sweeps(), **window)

    def total_sweeps(self) -> int:
        return len(self._sweeps())

    def run_queues(self) -> list[Queue]:
        return [queue for queue in self.server.queues.values() if queue.project is self]

    def run_queue(self, name: str) -> Queue | None:
        return next((queue for queue in self.run_queues() if queue.name == name), None)


@mutation
def upsert_model(state: State, input: Input) -> dict[str, Any]:
    if not input.name:
        raise Refused("a project needs a name")
    inserted = state.entity(input.entity_name).project(input.name) is None
    project = state.project(input.entity_name, input.name)
    project.description = input.description or project.description
    return {"model": project, "project": project, "inserted": inserted}
