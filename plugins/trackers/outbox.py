"""What is to be told, on disk: a folder a run, with its content, what the SDK made of it, and whether that arrived.

RUN/content.json    what is to be told; replaced as a whole where there is more to tell
RUN/pictures/       its pictures, each named by its content
RUN/sdk/            the offline run that the SDK made of them
RUN/state.json      which content was staged, which arrived, and why not
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from harness import StoreError
from plugins.trackers.content import Content

_POLL: Final = 0.1

Kept = TypeVar("Kept")


class State(msgspec.Struct, frozen=True):
    """How far a run's telling is.

    Attributes:
        since: when its content was last changed.
        staged: digest of the content that the SDK wrote down, `source` where.
        sent: digest of the content that arrived, `url` where.
        reason: why it did not arrive, where that was tried in vain.
    """

    since: str
    staged: str = ""
    source: str = ""
    sent: str = ""
    url: str = ""
    reason: str = ""


class Box:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pictures = folder / "pictures"

    @property
    def content(self) -> Content | None:
        """What is to be told; None where nothing is yet."""
        return _read(self.folder / "content.json", Content)

    @property
    def state(self) -> State:
        return _read(self.folder / "state.json", State) or State(now())

    def keep(self, content: Content) -> None:
        """Tell this from now on; pictures of anything else are removed."""
        _write(self.folder / "content.json", msgspec.json.encode(content, order="sorted"))
        self.mark(msgspec.structs.replace(self.state, since=now(), reason=""))
        own = set(content.files())
        for path in self.pictures.iterdir():
            if path.name not in own:
                path.unlink()

    def mark(self, state: State) -> None:
        """Remember how far it is."""
        _write(self.folder / "state.json", msgspec.json.encode(state))

    def whole(self, content: Content) -> bool:
        """Whether all pictures of a content are there."""
        return all((self.pictures / name).is_file() for name in content.files())

    @contextmanager
    def alone(self, seconds: float) -> Iterator[None]:
        """Keep other processes from the folder meanwhile.

        Raises:
            StoreError: another one has it for too long, or it cannot be written.
        """
        try:
            self.pictures.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be written ({error.strerror})") from error
        try:
            self._lock(descriptor, seconds)
            yield
        finally:
            os.close(descriptor)

    def _lock(self, descriptor: int, seconds: float) -> None:
        ends = time.monotonic() + seconds
        while True:
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except (BlockingIOError, PermissionError) as error:
                if time.monotonic() > ends:
                    raise StoreError(f"{self.folder}: another process is sending it; wait for it") from error
                time.sleep(_POLL)


def now() -> str:
    """ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _read(path: Path, type: type[Kept]) -> Kept | None:
    """What a file holds; None where there is none.

    Raises:
        StoreError: it is damaged.
    """
    try:
        return msgspec.json.decode(path.read_bytes(), type=type)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError) as error:
        hint = "remove its folder, and evaluate again: what is stored is told anew"
        raise StoreError(f"{path}: cannot be read ({error}); {hint}") from error


def _write(path: Path, content: bytes) -> None:
    """The whole file or none of it."""
    partial = path.with_suffix(".part")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
