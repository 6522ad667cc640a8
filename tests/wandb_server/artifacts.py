"""Artifacts: types, collections (sequences and portfolios), versions, aliases, manifests, files, links, lineage."""

from __future__ import annotations

import base64
import json
import re
from typing import TYPE_CHECKING, Any

from .nodes import Input, Node, Refused, node_id, page
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
            if re.fullmatch(r"v\d+", alias):
                raise Refused(f"alias {alias} is reserved for versions")
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
    history_step = None

    def __init__(self, server: State, sequence: Collection, digest: str, run: Run | None) -> None:
        super().__init__(server)
        self.artifact_sequence = sequence
        self.digest = digest
        self.created_by = run
        self.state = "PENDING"
        self.ttl_duration_seconds = -2
        self.description = self.metadata = None
        self.pending_aliases: list[str] = []
        self.tag_names: list[str] = []

    @property
    def committed(self) -> bool:
        return self.state == "COMMITTED"

    @property
    def commit_hash(self) -> str:
        return self.digest[:20]

    @property
    def artifact_type(self) -> ArtifactType:
        return self.artifact_sequence.default_artifact_type

    def memberships(self) -> list[Membership]:
        collections = (c for project in self.server.projects.values() for c in project.collections.values())
        return [member for collection in collections for member in collection.members if member.artifact is self]

    @property
    def version_index(self) -> int | None:
        member = self.artifact_sequence.membership_of(self)
        return member.version_index if member else None

    @property
    def aliases(self) -> list[dict[str, Any]]:
        return [alias for member in self.memberships() for alias in member.aliases]

    @property
    def tags(self) -> list[dict[str, str]]:
        return [{"id": node_id("Tag", name), "name": name} for name in self.tag_names]

    def artifact_memberships(self) -> dict[str, Any]:
        return page(self.memberships())

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
