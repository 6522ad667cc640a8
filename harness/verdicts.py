"""The workspace's verdicts: what was judged, by which version of a policy, and how it ended. Never changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from harness.database import Database
from harness.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored verdict and when it was given."""

    verdict: Verdict
    created: str


class VerdictStore:
    """Reads and writes verdicts in the workspace database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def keep(self, verdict: Verdict) -> None:
        """Store a verdict, each time that it is given."""
        row = (
            verdict.id, verdict.policy, verdict.policy_digest, verdict.model["digest"], verdict.verdict,
            msgspec.json.encode(verdict).decode(), datetime.now(UTC).isoformat(timespec="seconds"),
        )  # fmt: skip
        with self._database.transaction(durable=True) as connection:
            connection.execute(
                "INSERT INTO verdicts (id, policy, policy_digest, model, verdict, document, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )

    def of(self, digest: str | None = None, policy: str | None = None) -> list[Kept]:
        """The verdicts on a checkpoint, by a policy, newest first; all where None."""
        query = (
            "SELECT document, created FROM verdicts WHERE (?1 IS NULL OR model = ?1) AND (?2 IS NULL OR policy = ?2)"
            " ORDER BY key DESC"
        )
        with self._database.reading() as connection:
            rows = connection.execute(query, (digest, policy)).fetchall()
        return [Kept(msgspec.json.decode(document, type=Verdict), created) for document, created in rows]
