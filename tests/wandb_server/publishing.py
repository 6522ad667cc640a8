"""What clients do with artifacts: publish, use, name, link and delete versions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .artifacts import Artifact, Collection, Membership, content_key
from .nodes import Input, Refused, mutation, now, page

if TYPE_CHECKING:
    from .state import State


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
    if input.distributed_id:
        raise KeyError("versions of several writers are not modelled")
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
        artifact.tag_names = [tag.tag_name for tag in input.tags or ()]
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
    if input.type != "FULL":
        raise KeyError(f"manifests of type {input.type} are not modelled")
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
    for key in ("description", "metadata", "ttl_duration_seconds"):
        if input.get(key) is not None:
            setattr(artifact, key, input[key])
    deleted = {tag.tag_name for tag in input.tags_to_delete or ()}
    named = [*artifact.tag_names, *(tag.tag_name for tag in input.tags_to_add or ())]
    artifact.tag_names = [name for name in dict.fromkeys(named) if name not in deleted]
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
    for member in artifact.memberships():
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
