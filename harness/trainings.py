"""The workspace's trainings: what each was told to do, how far it is, and its curves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import msgspec

from harness.database import Database
from harness.errors import UnknownName
from harness.types import Json

if TYPE_CHECKING:
    from sqlite3 import Connection

RUNNING: Final = "running"
COMPLETE: Final = "complete"


@dataclass(frozen=True, slots=True)
class Training:
    """One training, over all attempts at it.

    Attributes:
        id: the hash of its settings, of what it starts from and of its data.
        name: the checkpoint that it makes.
        stage: the kind of training.
        facts: its settings, data, parents and the machine.
        steps: that it is to make.
        version: what it published in the end, as `NAME:vN`.
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


class TrainingStore:
    """Reads and writes trainings in the workspace database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(self, id: str, *, name: str, stage: str, steps: int, facts: Mapping[str, Json]) -> Training:
        """The training of that id: a new one, or the one that is there, which goes on."""
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO trainings (id, name, stage, facts, status, steps, created) VALUES (?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (id) DO UPDATE SET status = excluded.status, facts = excluded.facts",
                (id, name, stage, _json(facts), RUNNING, steps, _now()),
            )
        return self.get(id)

    def rewind(self, training: Training, step: int) -> None:
        """Forget what was logged after a step: a training that goes on from there makes it anew."""
        with self._database.transaction() as connection:
            connection.execute("DELETE FROM curves WHERE training = ? AND step > ?", (training.key, step))

    def log(self, training: Training, step: int, values: Mapping[str, float]) -> None:
        """Keep what was measured at a step, by curve."""
        rows = [(training.key, name, step, value if math.isfinite(value) else None) for name, value in values.items()]
        with self._database.transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO curves VALUES (?, ?, ?, ?)", rows)

    def finish(self, training: Training, status: str, version: str | None = None) -> None:
        """Say how an attempt ended: `complete` with the version that it made, or why it stopped."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE trainings SET status = ?, version = ?, finished = ? WHERE key = ?",
                (status, version, _now(), training.key),
            )

    def get(self, id: str) -> Training:
        """The training of that id, or of the only id that starts so.

        Raises:
            UnknownName: there is none, or there are several.
        """
        with self._database.reading() as connection:
            query = "SELECT * FROM trainings WHERE substr(id, 1, ?) = ? ORDER BY key DESC"
            found = connection.execute(query, (len(id), id)).fetchall()
            if len(found) == 1:
                return _training(found[0])
            known = [name for (name,) in connection.execute("SELECT id FROM trainings ORDER BY key DESC")]
        raise UnknownName("training", id, known, hint="see `harness list trainings`")

    def all(self) -> list[Training]:
        """All trainings, newest first."""
        with self._database.reading() as connection:
            return [_training(row) for row in connection.execute("SELECT * FROM trainings ORDER BY key DESC")]

    def curves(self, training: Training) -> dict[str, list[tuple[int, float]]]:
        """Curve -> its (step, value) in order; NaN where it was no finite number."""
        curves: dict[str, list[tuple[int, float]]] = {}
        with self._database.reading() as connection:
            for name, step, value in _rows(connection, training):
                curves.setdefault(name, []).append((step, math.nan if value is None else value))
        return curves


def _rows(connection: Connection, training: Training) -> list[tuple[str, int, float | None]]:
    query = "SELECT name, step, value FROM curves WHERE training = ? ORDER BY name, step"
    return connection.execute(query, (training.key,)).fetchall()


def _training(row: Mapping[str, Json]) -> Training:
    columns = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a sqlite3.Row iterates over its values
    return Training(**{**columns, "facts": msgspec.json.decode(columns["facts"])})


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
