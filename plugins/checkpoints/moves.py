"""How aliases were moved: who, when, why, from where to where. W&B keeps no such history.

The log of a name is a collection of artifacts of its own, one a move, that are numbered by the server: the number that
an entry is given decides who was first. An entry says which one was the newest that its writer had seen. It counts if
its number is the next one, so of several writers at once one wins, and everybody who reads the log knows which. The
winner moves the alias and marks the entry as done; the others look again where the alias is, and decide anew.

Where this cannot help: W&B's own pages and other programs move aliases without the log, and a publication moves the
aliases that it is given, and `latest`, when its upload is complete. A move from outside between the last look and our
own move is overwritten; one right after ours is noticed by looking again. A writer that stalls between winning and
moving is waited for during a few times the configured timeout, no longer.
"""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from harness import LATEST, AliasMove, CheckpointError, Json, Privacy, StoreError
from plugins.checkpoints.connection import neutral_folder
from plugins.checkpoints.project import LOG, Project
from plugins.checkpoints.records import KEY, UNKNOWN, Published, moment, now, number_of, record_of

TRIES: Final = 10
"""How often a writer that others were quicker than looks again."""
POLL: Final = 0.5
WITHDRAWN: Final = -2
"""What an entry says that it had seen whose writer has given it up."""
FORGOTTEN: Final = 3600.0
"""Seconds after which nobody is any more about to carry out what an entry says."""
LONGEST: Final = 128
OUTSIDE: Final = "moved without the harness"


class Moved(msgspec.Struct, frozen=True):
    """An alias, and the numbers of the versions that it was and is at; None where it is at none."""

    alias: str
    before: int | None
    after: int | None


class Entry(msgspec.Struct, frozen=True):
    """What an artifact of the log says.

    Attributes:
        id: of this entry alone, so that its writer knows it again, and no two are the same content to W&B.
        seen: the number of the newest entry before it; -1 where there was none.
        newest: the number of the name's newest version then: orders it among publications.
        deleted: the number of a version that is removed with it, and how that had been published.
    """

    id: str
    seen: int
    newest: int
    moves: tuple[Moved, ...]
    when: str
    who: str
    reason: str
    done: bool = False
    deleted: int | None = None
    published: Published | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What is to be done with a name's versions as they were found.

    Attributes:
        moves: of aliases.
        carry_out: does it.
        prepare: what must succeed before.
        deleted: the artifact that is removed with it.
    """

    moves: tuple[Moved, ...]
    carry_out: Callable[[], None]
    prepare: Callable[[], None] = lambda: None
    deleted: Any | None = None


class Log:
    """The log of one name."""

    def __init__(self, project: Project, name: str) -> None:
        self._project = project
        self._name = name
        self._collection = log_name(name)

    def change(self, decide: Callable[[Sequence[Any]], Change | None], reason: str) -> None:
        """Decide what to do with the versions, newest first, be the only one who does it, and do it.

        Args:
            decide: None where there is nothing to do. It may be asked again, where others were quicker.

        Raises:
            CheckpointError: what `decide` raises; or others were quicker each time.
        """
        for _ in range(TRIES):
            seen = self._settled()
            versions = self._project.versions(self._name)
            change = decide(versions)
            if change is None:
                return
            who = self._project.connection.user
            entry = Entry(
                uuid.uuid4().hex, seen, number_of(versions[0]), change.moves, now(), who, Privacy().said(reason),
                deleted=None if change.deleted is None else number_of(change.deleted),
                published=None if change.deleted is None else published(change.deleted),
            )  # fmt: skip
            began = time.monotonic()
            claim = self._write(entry)
            if number_of(claim) == seen + 1:
                self._carry_out(change, claim, entry, began)
                return
        raise CheckpointError(
            f"{self._name}: others moved its aliases each time that this was about to; see `harness checkpoints log "
            f"{self._name}` and decide again"
        )

    def _carry_out(self, change: Change, claim: Any, entry: Entry, began: float) -> None:
        """Do what an entry of ours says that has won, and say that it is done."""
        connection = self._project.connection
        with connection.asking(f"changing {self._name}"):
            try:
                change.prepare()
                if time.monotonic() - began > self._patience / 2:
                    raise StoreError(
                        f"{connection}: took too long to move aliases of {self._name} safely; nothing was moved: run "
                        "the same command again"
                    )
            except BaseException:
                _rewrite(claim, msgspec.structs.replace(entry, seen=WITHDRAWN))  # nobody need wait for it
                raise
            change.carry_out()
            _rewrite(claim, msgspec.structs.replace(entry, done=True))

    def history(self, versions: Sequence[Any]) -> list[AliasMove]:
        """All moves, newest first, of a name whose versions, newest first, are these."""
        entries = self._carried_out(versions)
        births = {number_of(artifact): published(artifact) for artifact in versions}
        births |= {
            entry.deleted: entry.published for _, entry in entries if entry.deleted is not None and entry.published
        }
        told = _Told()
        # A publication comes before all that was done when its version was the newest.
        events: list[tuple[tuple[int, int], Published | Entry]] = [((n, -1), birth) for n, birth in births.items()]
        events += [((entry.newest, index), entry) for index, entry in entries]
        for (number, _), event in sorted(events, key=lambda event: event[0]):
            if isinstance(event, Published):
                for alias in dict.fromkeys((LATEST, *event.aliases)):
                    told.move(alias, number, event.when, event.who, "published")
                continue
            for move in event.moves:
                told.move(move.alias, move.before, event.when)
                told.move(move.alias, move.after, event.when, event.who, event.reason)
        holders = _holders(versions)
        for alias in sorted({*told.at, *holders}):
            told.move(alias, holders.get(alias), moment(versions[0].updated_at or versions[0].created_at))
        return told.moves[::-1]

    def _read(self) -> tuple[int, list[tuple[int, Entry]]]:
        """The number of the newest artifact of the log (-1 without one), and the entries that won, oldest first."""
        logged = self._project.logged(LOG, self._collection)
        won = []
        for artifact in reversed(logged):
            try:
                entry = msgspec.convert(artifact.metadata.get(KEY), Entry)
            except msgspec.ValidationError:
                continue
            if entry.seen == number_of(artifact) - 1:
                won.append((number_of(artifact), entry))
        return number_of(logged[0]) if logged else -1, won

    def _settled(self) -> int:
        """The number of the newest artifact of the log, once nobody is about to do what an entry says."""
        end = time.monotonic() + self._patience
        while True:
            newest, entries = self._read()
            if not entries or entries[-1][1].done or _age(entries[-1][1]) > FORGOTTEN or time.monotonic() > end:
                return newest
            versions = self._project.versions(self._name)
            if _fulfilled(entries[-1][1], _holders(versions), versions):
                return newest
            time.sleep(POLL)

    def _carried_out(self, versions: Sequence[Any]) -> list[tuple[int, Entry]]:
        """The entries that were done, to all appearances, whether or not their writers could say so; oldest first."""
        kept: list[tuple[int, Entry]] = []
        later = dict[str, int | None](_holders(versions))
        for index, entry in reversed(self._read()[1]):
            if entry.done or _fulfilled(entry, later, versions):
                kept.append((index, entry))
                later |= {move.alias: move.before for move in entry.moves}
        return kept[::-1]

    def _write(self, entry: Entry) -> Any:
        """The artifact that says it; where the answer was lost, the one that is there all the same."""
        with neutral_folder() as scratch:
            file = scratch / "move.json"
            file.write_bytes(msgspec.json.encode(entry))
            name = ", ".join(f"{self._name}:{move.alias}" for move in entry.moves) or f"{self._name}:v{entry.deleted}"
            try:
                return self._project.log(
                    self._collection,
                    LOG,
                    {"move.json": file},
                    _metadata(entry),
                    run=("alias", f"move {name}"[:LONGEST]),
                )
            except StoreError:
                for artifact in self._project.logged(LOG, self._collection):
                    if artifact.metadata.get(KEY, {}).get("id") == entry.id:
                        return artifact
                raise

    @property
    def _patience(self) -> float:
        return 2 * self._project.connection.timeout


def log_name(name: str) -> str:
    """The collection that holds the log of a name."""
    log = f"{name}.aliases"
    if len(log) > LONGEST:
        digest = hashlib.sha256(name.encode()).hexdigest()[:8]
        log = f"{name[: LONGEST - 17]}-{digest}.aliases"
    return log


def published(artifact: Any) -> Published:
    """How an artifact came to be, as far as it says so."""
    record = record_of(artifact)
    return record.published if record else Published(moment(artifact.created_at), UNKNOWN)


class _Told:
    """Moves as they are told, each from where the one before it had led."""

    def __init__(self) -> None:
        self.at: dict[str, int | None] = {}
        self.moves: list[AliasMove] = []

    def move(self, alias: str, to: int | None, when: str, who: str = UNKNOWN, reason: str = OUTSIDE) -> None:
        """The alias is there now, if it was not."""
        before = self.at.get(alias)
        if before != to:
            self.moves.append(AliasMove(alias, before, to, when, who, reason))
            self.at[alias] = to


def _holders(versions: Sequence[Any]) -> dict[str, int]:
    return {alias: number_of(artifact) for artifact in versions for alias in artifact.aliases}


def _fulfilled(entry: Entry, holders: Mapping[str, int | None], versions: Sequence[Any]) -> bool:
    """Whether all is as the entry says that it was to become."""
    gone = entry.deleted is None or all(number_of(artifact) != entry.deleted for artifact in versions)
    return gone and all(holders.get(move.alias) == move.after for move in entry.moves)


def _rewrite(artifact: Any, entry: Entry) -> None:
    artifact.metadata = _metadata(entry)
    artifact.save()


def _metadata(entry: Entry) -> dict[str, Json]:
    return {KEY: msgspec.to_builtins(entry)}


def _age(entry: Entry) -> float:
    return abs((datetime.now(UTC) - datetime.fromisoformat(entry.when)).total_seconds())
