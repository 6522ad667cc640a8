"""The workspace's trainings: what each was told to do, how far it is, its curves, and what it published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from harness.database import Database
from harness.errors import UnknownName
from harness.processes import is_gone, this_process
from harness.types import Json, Version

RUNNING: Final = "running"
COMPLETE: Final = "complete"
INTERRUPTED: Final = "interrupted"
FAILED: Final = "failed"


@dataclass(frozen=True, slots=True)
class Training:
    """One training, over all attempts at it.

    Attributes:
        id: the hash of its settings, of what it starts from and of its data.
        name: the checkpoint that it makes.
        stage: the kind of training.
        facts: its settings, data, parents (`parents`: name -> digest) and, where it has one, the score that chooses
            its best checkpoint (`best`: score, higher_is_better).
        status: running, complete, interrupted or failed. One that is said to be running and whose process is gone from
            this machine is interrupted; of another machine's nothing is known but when it was `heard` of.
        steps: that it is to make.
        version: what it published in the end, as `NAME:vN`.
        created, finished, heard: when it was first begun, ended, and last logged something; ISO 8601, UTC.
        step: the newest that was logged.
        process: who carries it out, or did last.
        reason: why it stopped.
    """

    key: int
    id: str
    name: str
    stage: str
    facts: Mapping[str, Json]
    status: str
    steps: int
    version: str | None
    created: str
    finished: str | None
    step: int = 0
    heard: str | None = None
    process: str | None = None
    reason: str | None = None


class TrainingStore:
    """Reads and writes trainings in the workspace database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, id: str, *, name: str, stage: str, steps: int, facts: Mapping[str, Json]) -> Training:
        """The training of that id, carried out by this process: a new one, or the one that is there, which goes on."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO trainings (id, name, stage, facts, status, steps, created, heard, process)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET status = excluded.status,"
                " facts = excluded.facts, heard = excluded.heard, process = excluded.process, version = NULL,"
                " finished = NULL, reason = NULL",
                (id, name, stage, _json(facts), RUNNING, steps, _now(), _now(), this_process()),
            )
        return self.get(id)

    def rewind(self, training: Training, step: int) -> None:
        """Forget what was logged after a step: a training that goes on from there makes it anew."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM curves WHERE training = ? AND step > ?", (training.key, step))
            connection.execute("UPDATE trainings SET step = min(step, ?) WHERE key = ?", (step, training.key))

    def log(self, training: Training, step: int, values: Mapping[str, float]) -> None:
        """Keep what was measured at a step, by curve."""
        rows = [(training.key, name, step, value if math.isfinite(value) else None) for name, value in values.items()]
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO curves VALUES (?, ?, ?, ?)", rows)
            connection.execute(
                "UPDATE trainings SET step = max(step, ?), heard = ? WHERE key = ?", (step, _now(), training.key)
            )

    def published(self, training: Training, version: Version, step: int | None = None) -> None:
        """Remember a version that it published: that of a step, or what it made in the end."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO training_versions VALUES (?, ?, ?, ?)",
                (version.digest, training.key, str(version), step),
            )

    def complete(self, training: Training, version: Version) -> None:
        """It has made a version in the end."""
        self.published(training, version)
        self._end(training, COMPLETE, str(version), None)

    def stop(self, training: Training, status: str, reason: str) -> None:
        """An attempt ended before it was complete: `interrupted` or `failed`, and why."""
        self._end(training, status, None, reason)

    def _end(self, training: Training, status: str, version: str | None, reason: str | None) -> None:
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE trainings SET status = ?, version = ?, reason = ?, finished = ? WHERE key = ?",
                (status, version, reason, _now(), training.key),
            )

    def get(self, id: str) -> Training:
        """The training of that id, or of the only id that starts so.

        Raises:
            UnknownName: there is none, or there are several.
        """
        with self._database.reading() as connection:
            query = "SELECT * FROM trainings WHERE substr(id, 1, ?) = ? ORDER BY key DESC"
            found = connection.execute(query, (len(id), id)).fetchall() if id else []
            if len(found) == 1:
                return _training(found[0])
            known = [name[:12] for (name,) in connection.execute("SELECT id FROM trainings ORDER BY key DESC")]
        raise UnknownName("training", id, known, hint="see `harness list trainings`")

    def all(self) -> list[Training]:
        """All trainings, newest first."""
        with self._database.reading() as connection:
            return [_training(row) for row in connection.execute("SELECT * FROM trainings ORDER BY key DESC")]

    def of_digest(self, digest: str) -> tuple[Training, int | None] | None:
        """The newest training that published a version of that digest, and its step; None where it was the last.

        None at all where no training of this workspace published it.
        """
        query = (
            "SELECT t.*, v.step AS published FROM training_versions v JOIN trainings t ON t.key = v.training"
            " WHERE v.digest = ? ORDER BY v.step IS NOT NULL, t.key DESC LIMIT 1"
        )
        with self._database.reading() as connection:
            row = connection.execute(query, (digest,)).fetchone()
        return None if row is None else (_training(row), row["published"])

    def curves(self, training: Training) -> dict[str, list[tuple[int, float]]]:
        """Curve -> its (step, value) in order; NaN where it was no finite number."""
        curves: dict[str, list[tuple[int, float]]] = {}
        query = "SELECT name, step, value FROM curves WHERE training = ? ORDER BY name, step"
        with self._database.reading() as connection:
            for name, step, value in connection.execute(query, (training.key,)):
                curves.setdefault(name, []).append((step, math.nan if value is None else value))
        return curves

    def last(self, curve: str) -> dict[str, float]:
        """Id of each training that has a curve -> the curve's newest value; NaN where that was no finite number."""
        query = (
            "SELECT t.id, c.value FROM trainings t JOIN curves c ON c.training = t.key AND c.name = ?1 AND c.step ="
            " (SELECT max(step) FROM curves WHERE training = t.key AND name = ?1)"
        )
        with self._database.reading() as connection:
            rows = connection.execute(query, (curve,)).fetchall()
        return {training: math.nan if value is None else value for training, value in rows}


def _training(row: Mapping[str, Any]) -> Training:
    columns = {name: row[name] for name in Training.__dataclass_fields__}
    training = Training(**{**columns, "facts": msgspec.json.decode(columns["facts"])})
    if training.status == RUNNING and training.process is not None and is_gone(training.process):
        return replace(training, status=INTERRUPTED, reason="its process is gone")
    return training


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
