"""Artifacts: types, collections (sequences and portfolios), versions, aliases, manifests, files, links, lineage."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

from .nodes import Input, Node, Refused, mutation, node_id, now, page
from .runs import File, Run

if TYPE_CHECKING:
    from .projects import Project
    from .state import State

ORDERS = ("createdAt", "created_at")


class ArtifactType:
    description = None

    def __init__(self, project: Project, name: str) -> None:
        self.project = project
        self.name = name
        self.id = node_id("ArtifactType", project.serial, name)
        self.created_at = project.created_at

    def _collections(self) -> list[Collection]:
        return [collection for collection in self.project.collections.values() if collection.type_name == self.name]

    def artifact_collection(self, name: str) -> Collection | None:
        return next((collection for collection in self._collections() if collection.name == name), None)

    def artifact_collections(self, **window: Any) -> dict[str, Any]:
        return page(self._collections(), window.get("first"), window.get("after"))


class Collection(Node):
    """A sequence, which holds the versions that were logged under its name, or a portfolio of linked ones."""

    description = None
    digest_algorithm = "MANIFEST_MD5"

    def __init__(self, server: State, project: Project, name: str, type_name: str, typename: str) -> None:
        self.typename = typename
        super().__init__(server)
        self.project = project
        self.name = name
        self.type_name = type_name
        self.state = "READY"
        self.members: list[Membership] = []
        self.versions_given = 0  # never given twice, also after a deletion

    @property
    def default_artifact_type(self) -> ArtifactType:
        return ArtifactType(self.project, self.type_name)

    def tags(self) -> dict[str, Any]:
        return page([])

    def artifact_membership(self, alias_name: str | None = None) -> Membership | None:
        return next((m for m in self.members if alias_name in (f"v{m.version_index}", *m.alias_names)), None)

    def membership_of(self, artifact: Artifact) -> Membership | None:
        return next((member for member in self.members if member.artifact is artifact), None)

    @property
    def latest_artifact(self) -> Artifact | None:
        member = self.artifact_membership("latest")
        return member.artifact if member else None

    def artifacts(self, filters: str | None = None, order: str | None = None, **window: Any) -> dict[str, Any]:
        """Newest first; `+created_at` turns it round."""
        wanted = json.loads(filters) if filters else {}  # members are committed
        if wanted not in ({}, {"state": "COMMITTED"}) or (order or "createdAt").lstrip("+-") not in ORDERS:
            raise KeyError(f"artifacts: filters {filters}, order {order} are not modelled")
        found = sorted(self.members, key=lambda m: m.version_index, reverse=not (order or "-").startswith("+"))
        connection = page([member.artifact for member in found], **window)
        for edge in connection["edges"]:
            edge["version"] = f"v{self.membership_of(edge['node']).version_index}"  # type: ignore[union-attr]
        return connection

    def aliases(self, **window: Any) -> dict[str, Any]:
        return page([alias for member in self.members for alias in member.aliases], **window)

    def add(self, artifact: Artifact) -> Membership:
        """The artifact's place here: a new version, which is then the latest, unless it has one already."""
        member = self.membership_of(artifact)
        if member is None:
            member = Membership(self.server, self, artifact, self.versions_given)
            self.versions_given += 1
            self.members.append(member)
            self.move_aliases(member, ["latest"])
        return member

    def move_aliases(self, member: Membership, aliases: list[str]) -> None:
        """The member has the aliases now, and no other version does."""
        for alias in aliases:
            for other in self.members:
                if alias in other.alias_names:
                    other.alias_names.remove(alias)
            member.alias_names.append(alias)


class Membership(Node):
    typename = "ArtifactCollectionMembership"

    def __init__(self, server: State, collection: Collection, artifact: Artifact, version_index: int) -> None:
        super().__init__(server)
        self.artifact_collection = collection
        self.artifact = artifact
        self.version_index = version_index
        self.alias_names: list[str] = []

    @property
    def aliases(self) -> list[dict[str, Any]]:
        collection = self.artifact_collection
        return [{"id": node_id("Alias", collection.serial, alias), "alias": alias, "artifactCollection": collection}
                for alias in self.alias_names]  # fmt: skip

    def files(self, **arguments: Any) -> dict[str, Any]:
        return self.artifact.files(**arguments)


class Artifact(Node):
    typename = "Artifact"
    digest_algorithm = "MANIFEST_MD5"
    ttl_is_inherited = True
    ttl_duration_seconds = -2
    history_step = None
    tags: tuple[Any, ...] = ()

    def __init__(self, server: State, sequence: Collection, digest: str, run: Run | None) -> None:
        super().__init__(server)
        self.artifact_sequence = sequence
        self.digest = digest
        self.created_by = run
        self.state = "PENDING"
        self.description = self.metadata = None
        self.pending_aliases: list[str] = []

    @property
    def committed(self) -> bool:
        return self.state == "COMMITTED"

    @property
    def commit_hash(self) -> str:
        return self.digest[:20]

    @property
    def artifact_type(self) -> ArtifactType:
        return self.artifact_sequence.default_artifact_type

    def _memberships(self) -> list[Membership]:
        collections = (c for project in self.server.projects.values() for c in project.collections.values())
        return [member for collection in collections for member in collection.members if member.artifact is self]

    @property
    def version_index(self) -> int | None:
        member = self.artifact_sequence.membership_of(self)
        return member.version_index if member else None

    @property
    def aliases(self) -> list[dict[str, Any]]:
        return [alias for member in self._memberships() for alias in member.aliases]

    def artifact_memberships(self) -> dict[str, Any]:
        return page(self._memberships())

    @property
    def manifest_file(self) -> File:
        return File(self.server, "wandb_manifest.json", f"manifests/{self.serial}.json", self)

    @property
    def current_manifest(self) -> dict[str, Any]:
        return {"id": node_id("ArtifactManifest", self.serial), "file": self.manifest_file}

    def entries(self) -> dict[str, dict[str, Any]]:
        """The manifest's entries by path: `digest` (MD5, base64), `size`, `ref` of a reference."""
        manifest = self.server.blobs.get(self.manifest_file.storage_path)
        return json.loads(manifest)["contents"] if manifest else {}

    @property
    def size(self) -> int:
        return sum(entry.get("size", 0) for entry in self.entries().values())

    @property
    def file_count(self) -> int:
        return len(self.entries())

    def file(self, name: str, md5: str) -> File:
        file = File(self.server, name, content_key(md5), self, md5)
        file.upload_headers = (f"Content-MD5:{md5}",)
        return file

    def files(self, names: list[str] | None = None, **window: Any) -> dict[str, Any]:
        stored = {name: entry["digest"] for name, entry in self.entries().items() if "ref" not in entry}
        return page([self.file(n, md5) for n, md5 in sorted(stored.items()) if not names or n in names], **window)

    def files_by_manifest_entries(self, entries: list[Input], **_: Any) -> dict[str, Any]:
        """One file for each entry that is asked for, in the order asked."""
        by_digest = {entry["digest"]: name for name, entry in self.entries().items()}
        return page([self.file(entry.name or by_digest[entry.digest], entry.digest) for entry in entries])

    def used_by(self) -> dict[str, Any]:
        return page([run for run in self.server.all_runs() if self.id in run.used])


def content_key(md5: str) -> str:
    """Where content of this digest (base64) lies: equal content is stored once."""
    return f"content/{base64.b64decode(md5).hex()}"


def _artifact(state: State, artifact_id: str | None) -> Artifact:
    artifact = state.artifacts.get(artifact_id or "")
    if artifact is None:
        raise Refused(f"artifact {artifact_id} not found", 404)
    return artifact


def _collection(state: State, entity: str, project: str, name: str, type_name: str, typename: str) -> Collection:
    owner = state.project(entity, project)
    collection = owner.collections.get(name)
    if collection is None:
        collection = owner.collections[name] = Collection(state, owner, name, type_name, typename)
    if collection.type_name != type_name:
        raise Refused(f"collection {name} holds artifacts of type {collection.type_name}, not {type_name}", 409)
    return collection


@mutation
def create_artifact(state: State, input: Input) -> dict[str, Artifact]:
    """A version that waits for its commit, or the committed one of equal digest, to which the aliases move."""
    name = input.artifact_collection_name or input.artifact_collection_names[0]
    sequence = _collection(
        state, input.entity_name, input.project_name, name, input.artifact_type_name, "ArtifactSequence"
    )
    project = state.project(input.entity_name, input.project_name)
    aliases = [alias.alias for alias in input.aliases or ()]
    artifact = state.artifacts.get(state.client_ids.get(input.client_id, ""))  # asked again: the answer was lost
    artifact = artifact or _with_digest(sequence, input.digest)
    if artifact is None:
        artifact = Artifact(state, sequence, input.digest, project.runs_by_name.get(input.run_name))
        artifact.description, artifact.metadata = input.description, input.metadata
        artifact.pending_aliases = aliases
        state.artifacts[artifact.id] = artifact
    elif artifact.committed:
        sequence.move_aliases(sequence.add(artifact), aliases)
    for client_id, node in ((input.client_id, artifact), (input.sequence_client_id, sequence)):
        if client_id:
            state.client_ids[client_id] = node.id
    return {"artifact": artifact}


def _with_digest(sequence: Collection, digest: str) -> Artifact | None:
    return next((member.artifact for member in sequence.members if member.artifact.digest == digest), None)


@mutation
def create_artifact_manifest(state: State, input: Input) -> dict[str, Any]:
    return {"artifactManifest": _artifact(state, input.artifact_id).current_manifest}


@mutation
def update_artifact_manifest(state: State, input: Input) -> dict[str, Any]:
    found = (a for a in state.artifacts.values() if a.current_manifest["id"] == input.artifact_manifest_id)
    artifact = next(found, None)
    if artifact is None:
        raise Refused(f"manifest {input.artifact_manifest_id} not found", 404)
    return {"artifactManifest": artifact.current_manifest}


@mutation
def create_artifact_files(state: State, input: Input) -> dict[str, Any]:
    return {
        "files": page([_artifact(state, spec.artifact_id).file(spec.name, spec.md5) for spec in input.artifact_files])
    }


@mutation
def commit_artifact(state: State, input: Input) -> dict[str, Artifact]:
    """The version is there for everybody from now on, once all of its files are."""
    artifact = _artifact(state, input.artifact_id)
    if artifact.committed:
        return {"artifact": artifact}
    if artifact.manifest_file.storage_path not in state.blobs:
        raise Refused(f"artifact {artifact.id} has no manifest yet")
    digests = {name: entry["digest"] for name, entry in artifact.entries().items() if "ref" not in entry}
    if missing := [name for name, digest in digests.items() if content_key(digest) not in state.blobs]:
        raise Refused(f"artifact {artifact.id} lacks files: {', '.join(missing)}")
    sequence = artifact.artifact_sequence
    if twin := _with_digest(sequence, artifact.digest):  # logged meanwhile by another client: one version, two ids
        state.artifacts[artifact.id] = twin
        sequence.move_aliases(sequence.add(twin), artifact.pending_aliases)
        return {"artifact": twin}
    artifact.state = "COMMITTED"
    sequence.move_aliases(sequence.add(artifact), [a for a in artifact.pending_aliases if a != "latest"])
    return {"artifact": artifact}


@mutation
def use_artifact(state: State, input: Input) -> dict[str, Artifact]:
    artifact = _artifact(state, input.artifact_id)
    run = state.run(input.entity_name, input.project_name, input.run_name)
    if artifact.id not in run.used:
        run.used.append(artifact.id)
    return {"artifact": artifact}


@mutation
def update_artifact(state: State, input: Input) -> dict[str, Artifact]:
    artifact = _artifact(state, input.artifact_id)
    for key in ("description", "metadata"):
        if key in input and input[key] is not None:
            setattr(artifact, key, input[key])
    if input.tags_to_add or input.tags_to_delete:
        raise KeyError("tags of artifacts are not modelled")
    if input.aliases is not None:
        member = artifact.artifact_sequence.add(artifact)
        member.alias_names.clear()
        artifact.artifact_sequence.move_aliases(member, [alias.alias for alias in input.aliases])
    artifact.updated_at = now()
    return {"artifact": artifact}


@mutation
def delete_artifact(state: State, input: Input) -> dict[str, Artifact]:
    artifact = _artifact(state, input.artifact_id)
    if artifact.aliases and not input.delete_aliases:
        raise Refused("artifact has aliases; delete them with it", 409)
    for member in artifact._memberships():
        member.artifact_collection.members.remove(member)
    artifact.state = "DELETED"
    state.artifacts = {key: other for key, other in state.artifacts.items() if other is not artifact}
    return {"artifact": artifact}


def _members_named(state: State, input: Input) -> list[tuple[Membership, str]]:
    artifact, found = _artifact(state, input.artifact_id), []
    for alias in input.aliases:
        collection = state.project(alias.entity_name, alias.project_name).collections.get(
            alias.artifact_collection_name
        )
        member = collection.membership_of(artifact) if collection else None
        if member is None:
            raise Refused(f"artifact {artifact.id} is not in collection {alias.artifact_collection_name}", 404)
        found.append((member, alias.alias))
    return found


@mutation
def add_aliases(state: State, input: Input) -> dict[str, bool]:
    for member, alias in _members_named(state, input):
        member.artifact_collection.move_aliases(member, [alias])
    return {"success": True}


@mutation
def delete_aliases(state: State, input: Input) -> dict[str, bool]:
    for member, alias in _members_named(state, input):
        if alias in member.alias_names:
            member.alias_names.remove(alias)
    return {"success": True}


@mutation
def link_artifact(state: State, input: Input) -> dict[str, Any]:
    artifact = _artifact(state, input.artifact_id or state.client_ids.get(input.client_id))
    if not artifact.committed:
        raise Refused(f"artifact {artifact.id} is not committed yet")
    if input.project_name.startswith("wandb-registry-") and not state.entity(input.entity_name).project(
        input.project_name
    ):
        raise Refused(f"registry {input.entity_name}/{input.project_name} not found", 404)
    portfolio = _collection(
        state, input.entity_name, input.project_name, input.artifact_portfolio_name,
        artifact.artifact_sequence.type_name, "ArtifactPortfolio",
    )  # fmt: skip
    member = portfolio.add(artifact)
    portfolio.move_aliases(member, [alias.alias for alias in input.aliases or ()])
    return {"versionIndex": member.version_index, "artifactMembership": member}


def _collection_by_id(state: State, collection_id: str) -> Collection:
    collection = state.query.artifact_collection(collection_id)
    if collection is None:
        raise Refused(f"collection {collection_id} not found", 404)
    return collection


@mutation
def unlink_artifact(state: State, input: Input) -> dict[str, bool]:
    portfolio = _collection_by_id(state, input.artifact_portfolio_id)
    member = portfolio.membership_of(_artifact(state, input.artifact_id))
    if member:
        portfolio.members.remove(member)
    return {"success": member is not None}


@mutation
def delete_artifact_sequence(state: State, input: Input) -> dict[str, Collection]:
    sequence = _collection_by_id(state, input.artifact_sequence_id)
    for member in list(sequence.members):
        delete_artifact(state, Input(artifact_id=member.artifact.id, delete_aliases=True))
    return _drop(sequence)


@mutation
def delete_artifact_portfolio(state: State, input: Input) -> dict[str, Collection]:
    return _drop(_collection_by_id(state, input.artifact_portfolio_id))


def _drop(collection: Collection) -> dict[str, Collection]:
    del collection.project.collections[collection.name]
    collection.state = "DELETED"
    return {"artifactCollection": collection}
