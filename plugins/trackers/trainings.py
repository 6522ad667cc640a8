"""Trainings that were reported to W&B while it could not be reached: the offline runs of a workspace, sent later."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from harness import Incomplete, Told
from plugins.trackers.children import SDK, call
from plugins.trackers.outbox import Box, State, now


class Trainings:
    """The offline runs that `harness train` leaves in a workspace.

    A training that went on has several, of one id, the newest of which has all of its history: that one is sent.

    Args:
        home: the workspace's folder.
        folder: where it is remembered which were sent.
    """

    def __init__(self, home: Path, folder: Path) -> None:
        self._places = [home / "wandb", *([Path(own) / "wandb"] if (own := os.environ.get("WANDB_DIR")) else [])]
        self._folder = folder

    def told(self) -> list[Told]:
        """The newest of each id, oldest first."""
        return [self._told(name, source) for name, source in self._newest().items()]

    def send(self, id: str, seconds: float) -> Told:
        """Send one, and see that it arrived.

        Raises:
            Incomplete: it did not.
        """
        source, box = self._newest()[id], Box(self._folder / id)
        with box.alone(seconds):
            try:
                answer = call("send", box.folder, seconds, str(source), "")
                if answer["missing"]:
                    raise Incomplete(f"did not arrive: {', '.join(answer['missing'])}")
            except Incomplete as error:
                box.mark(State(now(), reason=str(error)))
                raise
            finally:
                shutil.rmtree(box.folder / SDK, ignore_errors=True)
            box.mark(State(now(), sent=_version(source), url=answer["url"]))
        return self._told(id, source)

    def _told(self, id: str, source: Path) -> Told:
        state = Box(self._folder / id).state
        sent = state.sent == _version(source)
        since = datetime.fromtimestamp(_log(source).st_mtime, UTC).isoformat(timespec="seconds")
        return Told("training", id, source.name, sent, state.url if sent else state.reason, since)

    def _newest(self) -> dict[str, Path]:
        """Id -> its newest folder, the oldest first. Their names begin with when they were begun."""
        folders = {path for place in self._places for path in place.glob("offline-run-*-*")}
        found: dict[str, Path] = {}
        for path in sorted(folders, key=lambda path: (path.name, str(path))):
            if any(path.glob("*.wandb")):
                found[path.name.split("-", 3)[3]] = path
        return found


def _log(source: Path) -> os.stat_result:
    return next(source.glob("*.wandb")).stat()


def _version(source: Path) -> str:
    """Changes where the folder or its log does."""
    return f"{source.name} {_log(source).st_size}"
