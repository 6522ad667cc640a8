"""The workspace's runs: what was asked, what was answered, how it was scored. One SQLite file.

`runs` holds a plan's identity and its state; `samples` what was asked, once for all runs on the same data;
`predictions` the raw answers, committed batch by batch; `timings` and `traces` what may differ between two equal runs;
`scores` the results, by scoring rules; `files` the digests of pictures, so that unchanged files are read once.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count, islice
from pathlib import Path
from sqlite3 import Connection

import msgspec
import numpy as np

from harness.database import Database
from harness.digests import file_sha256
from harness.encoding import decode_sample, encode_shared, storable
from harness.errors import ImageError, UnknownName
from harness.plan import run_id
from harness.schema import BLOCK
from harness.scoring import Scored
from harness.stats import FloatArray
from harness.types import NOTHING, Failure, FileImage, ImageRef, Json, Output, Prediction, Sample, Score, Trace, Usage

RUNNING = "running"
COMPLETE = "complete"


@dataclass(frozen=True, slots=True)
class Run:
    """A stored run.

    Attributes:
        key: its row; the other tables refer to it.
        id: the hash of its plan.
        model: the model as it was named, `version` and `digest` those of its checkpoint.
        identity: the plan's identity.
        facts: data, profile, versions, hardware and command line: what reproducing it needs.
        n: samples to answer.
        seconds: time spent on them, over all resumptions.
    """

    key: int
    id: str
    model: str
    version: str | None
    digest: str | None
    benchmark: str
    identity: Mapping[str, Json]
    facts: Mapping[str, Json]
    status: str
    n: int
    seconds: float
    created: str
    finished: str | None

    @property
    def names(self) -> tuple[str, ...]:
        """What its model was called, first and since: the same answers may have come from several results files."""
        return (self.model, *self.facts.get("also", ()))


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run's answered samples cost on average; None where there is nothing to average."""

    prompt_tokens_mean: float | None
    visual_tokens_mean: float | None
    full_visual_tokens_mean: float | None
    generated_tokens_mean: float | None
    kept_fraction: float | None
    device_seconds: float


class RunStore:
    """Reads and writes runs in the workspace database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def begin(
        self,
        identity: Mapping[str, Json],
        facts: Mapping[str, Json],
        n: int,
        *,
        benchmark: str,
        model: str,
        version: str | None,
        digest: str | None,
    ) -> Run:
        """The stored run of an identity: a new one, or the one that is there, which remembers the model's name too."""
        name = run_id(identity)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO runs"
                " (id, model, version, digest, benchmark, identity, facts, status, n, created)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (name, model, version, digest, benchmark, _json(identity), _json(facts), RUNNING, n, _now()),
            )
            there = _run(connection.execute("SELECT * FROM runs WHERE id = ?", (name,)).fetchone())
            if model not in there.names:
                facts = {**there.facts, "also": [*there.names[1:], model]}
                connection.execute("UPDATE runs SET facts = ? WHERE key = ?", (_json(facts), there.key))
        return self.get(name)

    def keep_samples(self, run: Run, samples: Iterable[tuple[Sample, bytes]]) -> None:
        """Store what is asked, so that scores and reports need the benchmark's files no more.

        Args:
            samples: the benchmark's first ones, in its order, each with what `encode_sample` makes of it; not touched
                where as many are stored.
        """
        data = run.identity["data_digest"]
        with self._database.transaction() as connection:
            query = "SELECT coalesce(sum(n), 0) FROM samples WHERE data = ?"
            if connection.execute(query, (data,)).fetchone()[0] >= run.n:
                return
            remaining = iter(samples)
            for block in count():
                chunk = list(islice(remaining, BLOCK))
                if not chunk:
                    return
                if block == 0:
                    shared = encode_shared(chunk[0][0].shared)
                    connection.execute("INSERT OR IGNORE INTO shared VALUES (?, ?)", (data, shared))
                content = b"[" + b",".join([encoded for _, encoded in chunk]) + b"]"
                connection.execute(
                    "INSERT OR REPLACE INTO samples VALUES (?, ?, ?, ?)", (data, block, len(chunk), content)
                )

    def get(self, id: str) -> Run:
        """The run of that id, or of the only id that starts so.

        Raises:
            UnknownName: there is none, or there are several.
        """
        query = "SELECT * FROM runs WHERE substr(id, 1, ?) = ? ORDER BY id != ?, key DESC"
        with self._database.reading() as connection:
            found = connection.execute(query, (len(id), id, id)).fetchall()
            if len(found) == 1 or (found and found[0]["id"] == id):
                return _run(found[0])
            known = [name for (name,) in connection.execute("SELECT id FROM runs ORDER BY key DESC")]
        several = ", ".join(row["id"] for row in found)
        raise UnknownName("run", id, known, f"several runs start so: {several}" if found else "see `harness list runs`")

    def runs(self) -> list[Run]:
        """All runs, newest first."""
        with self._database.reading() as connection:
            rows = connection.execute("SELECT * FROM runs ORDER BY key DESC").fetchall()
        return [_run(row) for row in rows]

    def asked(self, run: Run) -> int:
        """How many positions have a prediction."""
        with self._database.reading() as connection:
            (count,) = connection.execute("SELECT count(*) FROM predictions WHERE run = ?", (run.key,)).fetchone()
        return int(count)

    def answered(self, run: Run) -> set[int]:
        """Positions that have a prediction."""
        return self._positions(run, "SELECT position FROM predictions WHERE run = ?")

    def failed(self, run: Run) -> set[int]:
        """Positions whose prediction is a failure."""
        return self._positions(run, "SELECT position FROM predictions WHERE run = ? AND failure IS NOT NULL")

    def _positions(self, run: Run, query: str) -> set[int]:
        with self._database.reading() as connection:
            return {position for (position,) in connection.execute(query, (run.key,))}

    def add(self, run: Run, predictions: Sequence[Prediction], seconds: float) -> None:
        """Commit one batch's predictions, and the time that they took.

        An answer that is there stays, with its time and trace. Where anything changes, the run's scores are void.
        """
        answers: list[tuple[Json, ...]] = []
        timings, traces = [], []
        for item in predictions:
            result = item.result
            if isinstance(result, Failure):
                answers.append(
                    (run.key, item.position, item.sample_id, "", 0, 0, 0, 0, result.kind, storable(result.message))
                )
                continue
            usage = result.usage
            answers.append((
                run.key, item.position, item.sample_id, storable(result.text), usage.prompt_tokens,
                usage.visual_tokens, usage.full_visual_tokens, usage.generated_tokens, None, None,
            ))  # fmt: skip
            if usage.seconds or usage.peak_bytes:
                timings.append((run.key, item.position, usage.seconds, usage.peak_bytes))
            if result.trace is not None:
                traces.append((run.key, item.position, zlib.compress(msgspec.json.encode(result.trace))))
        with self._database.transaction() as connection:
            # A failure never takes the place of an answer that is there: answers are dear, and a device may be busy.
            changed = connection.executemany(
                "INSERT INTO predictions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
                " ON CONFLICT (run, position) DO UPDATE SET"
                " text = excluded.text, prompt_tokens = excluded.prompt_tokens,"
                " visual_tokens = excluded.visual_tokens, full_visual_tokens = excluded.full_visual_tokens,"
                " generated_tokens = excluded.generated_tokens, failure = excluded.failure, message = excluded.message"
                " WHERE predictions.failure IS NOT NULL",
                answers,
            ).rowcount
            connection.executemany("INSERT OR IGNORE INTO timings VALUES (?, ?, ?, ?)", timings)
            connection.executemany("INSERT OR IGNORE INTO traces VALUES (?, ?, ?)", traces)
            connection.execute("UPDATE runs SET seconds = seconds + ? WHERE key = ?", (seconds, run.key))
            if changed > 0:
                connection.execute("DELETE FROM scores WHERE run = ?", (run.key,))

    def finish(self, run: Run) -> Run:
        """Mark a run complete."""
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE runs SET status = ?, finished = ? WHERE key = ? AND status != ?",
                (COMPLETE, _now(), run.key, COMPLETE),
            )
        return self.get(run.id)

    def predictions(self, run: Run) -> Iterator[tuple[Sample, Prediction]]:
        """All predictions with their samples (without pictures), in the benchmark's order."""
        query = """
            SELECT p.position, p.sample, p.text, p.prompt_tokens, p.visual_tokens, p.full_visual_tokens,
                   p.generated_tokens, coalesce(t.seconds, 0), coalesce(t.peak_bytes, 0), p.failure, p.message, r.trace
            FROM predictions p
            LEFT JOIN timings t ON t.run = p.run AND t.position = p.position
            LEFT JOIN traces r ON r.run = p.run AND r.position = p.position
            WHERE p.run = ? ORDER BY p.position"""
        with self._database.reading() as connection:
            sample_at = _Samples(connection, run.identity["data_digest"])
            for position, sample_id, text, *spent, kind, message, trace in connection.execute(query, (run.key,)):
                result: Output | Failure
                if kind is not None:
                    result = Failure(kind, message)
                else:
                    result = Output(text, Usage(*spent), None if trace is None else _trace(trace))
                yield sample_at(position), Prediction(position, sample_id, result)

    def failures(self, run: Run) -> dict[str, tuple[int, str]]:
        """How many failures of each kind, and the first message of each."""
        with self._database.reading() as connection:
            rows = connection.execute(
                "SELECT failure, count(*), message, min(position) FROM predictions"
                " WHERE run = ? AND failure IS NOT NULL GROUP BY failure ORDER BY failure",
                (run.key,),
            ).fetchall()
        return {kind: (count, message) for kind, count, message, _ in rows}

    def spent(self, run: Run) -> Spent:
        """What the answered samples cost; `kept_fraction` is the mean of visual over full visual tokens a sample."""
        with self._database.reading() as connection:
            row = connection.execute(
                "SELECT avg(prompt_tokens) AS prompt_tokens_mean, avg(visual_tokens) AS visual_tokens_mean,"
                " avg(full_visual_tokens) AS full_visual_tokens_mean, avg(generated_tokens) AS generated_tokens_mean,"
                " avg(CASE WHEN full_visual_tokens > 0 THEN 1.0 * visual_tokens / full_visual_tokens END)"
                " AS kept_fraction FROM predictions WHERE run = ? AND failure IS NULL",
                (run.key,),
            ).fetchone()
            (seconds,) = connection.execute(
                "SELECT coalesce(sum(seconds), 0) FROM timings WHERE run = ?", (run.key,)
            ).fetchone()
        return Spent(**dict(row), device_seconds=seconds)

    def made_by(self, run: Run, protocol: str) -> dict[str, str]:
        """Stored score -> the digest of the metric that gave it, or that had nothing to measure."""
        query = "SELECT name, metrics FROM scores WHERE run = ? AND protocol = ? AND reason IS NULL"
        with self._database.reading() as connection:
            return dict(connection.execute(query, (run.key, protocol)).fetchall())

    def keep_scores(
        self, run: Run, protocol: str, scored: Scored, made_by: Mapping[str, str], order: Sequence[str] = ()
    ) -> Scored:
        """Store scores of a run under a protocol; those of other names stay.

        Args:
            made_by: score -> the digest of its metric.
            order: which come first; then those that are there already, then new ones.

        Returns:
            All that is stored now, as `scored` gives it.
        """
        rows: list[tuple[Json, ...]] = [
            (name, _json(item), None, _bytes(scored.per_sample.get(name))) for name, item in scored.scores.items()
        ]
        rows += [(name, None, reason, None) for name, reason in scored.unscored.items()]
        rows += [(name, None, None, None) for name in scored.inapplicable]
        of_run = "FROM scores WHERE run = ? AND protocol = ?"
        with self._database.transaction() as connection:
            there = connection.execute(f"SELECT name {of_run} ORDER BY place", (run.key, protocol)).fetchall()
            connection.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, 0, ?, ?, ?, ?)",
                [(run.key, protocol, *row, made_by[row[0]]) for row in rows],
            )
            # The first place is the main figure's, which must have a value.
            ranks = dict.fromkeys([*order, *(name for (name,) in there), *(row[0] for row in rows)])
            found = dict(connection.execute(f"SELECT name, score IS NULL {of_run}", (run.key, protocol)).fetchall())
            names = sorted((name for name in ranks if name in found), key=found.__getitem__)
            connection.executemany(
                "UPDATE scores SET place = ? WHERE run = ? AND protocol = ? AND name = ?",
                [(place, run.key, protocol, name) for place, name in enumerate(names)],
            )
            return _scored(connection, run, protocol)

    def scored(self, run: Run, protocol: str) -> Scored:
        """The run's scores under a protocol; without the values of single samples."""
        with self._database.reading() as connection:
            return _scored(connection, run, protocol)

    def per_sample(self, run: Run, protocol: str) -> dict[str, FloatArray]:
        """Score -> [n] its value at each answered sample in order, NaN where it has none; scores that have them."""
        query = "SELECT name, per_sample FROM scores WHERE run = ? AND protocol = ? AND per_sample IS NOT NULL"
        with self._database.reading() as connection:
            rows = connection.execute(query + " ORDER BY place", (run.key, protocol)).fetchall()
        return {name: np.frombuffer(values, np.float64) for name, values in rows}

    def protocols(self, run: Run) -> list[str]:
        """The scoring rules that the run was scored by."""
        query = "SELECT DISTINCT protocol FROM scores WHERE run = ? ORDER BY protocol"
        with self._database.reading() as connection:
            return [protocol for (protocol,) in connection.execute(query, (run.key,))]

    def hash_image(self, image: ImageRef) -> str:
        """A picture's sha256. That of a file is remembered by its path, size and time of change.

        Raises:
            ImageError: it cannot be read.
        """
        if not isinstance(image, FileImage):
            import hashlib

            return hashlib.sha256(image.read()).hexdigest()
        try:
            return self.hash_file(image.path)
        except OSError as error:
            raise ImageError(f"{image.path}: cannot be read ({error.strerror})") from error

    def hash_file(self, path: Path) -> str:
        """A file's sha256, remembered by its path, size and time of change."""
        stat = path.stat()
        key = str(path.absolute())
        with self._database.reading() as connection:
            row = connection.execute("SELECT size, changed, sha256 FROM files WHERE path = ?", (key,)).fetchone()
        if row is not None and row[:2] == (stat.st_size, stat.st_mtime_ns):
            return str(row[2])
        digest = file_sha256(path)
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", (key, stat.st_size, stat.st_mtime_ns, digest)
            )
        return digest


class _Samples:
    """The stored samples of a dataset, by position; quick where asked for in order."""

    def __init__(self, connection: Connection, data: str) -> None:
        self._connection = connection
        self._data = data
        found = connection.execute("SELECT content FROM shared WHERE data = ?", (data,)).fetchone()
        self._shared = NOTHING if found is None else msgspec.json.decode(found[0])
        self._block, self._chunk = -1, ()

    def __call__(self, position: int) -> Sample:
        block, place = divmod(position, BLOCK)
        if block != self._block:
            query = "SELECT content FROM samples WHERE data = ? AND block = ?"
            (content,) = self._connection.execute(query, (self._data, block)).fetchone()
            self._block, self._chunk = block, msgspec.json.decode(content)
        return decode_sample(self._chunk[place], self._shared)


def _scored(connection: Connection, run: Run, protocol: str) -> Scored:
    rows = connection.execute(
        "SELECT name, score, reason FROM scores WHERE run = ? AND protocol = ? ORDER BY place", (run.key, protocol)
    ).fetchall()
    return Scored(
        {name: msgspec.json.decode(text, type=Score) for name, text, _ in rows if text is not None},
        {},
        {name: reason for name, text, reason in rows if reason is not None},
        tuple(name for name, text, reason in rows if text is None and reason is None),
    )


def _trace(stored: bytes) -> Trace:
    content = zlib.decompress(stored)
    try:
        return msgspec.json.decode(content, type=Trace)
    except msgspec.ValidationError:  # JSON has no word for what is not a number: it became null
        maps, scalars = (msgspec.json.decode(content)[part] for part in ("maps", "scalars"))
        return Trace(
            {name: [[_number(cell) for cell in row] for row in rows] for name, rows in maps.items()},
            {name: _number(value) for name, value in scalars.items()},
        )


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _run(row: Mapping[str, Json]) -> Run:
    columns = {key: row[key] for key in row.keys()}  # noqa: SIM118 - a sqlite3.Row iterates over its values
    columns["identity"] = msgspec.json.decode(columns["identity"])
    columns["facts"] = msgspec.json.decode(columns["facts"])
    return Run(**columns)


def _bytes(values: FloatArray | None) -> bytes | None:
    return None if values is None else values.tobytes()


def _json(value: object) -> str:
    return msgspec.json.encode(value, order="sorted").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
