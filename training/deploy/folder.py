"""The deployed folder: a model's files and its card, with the verdict on which it was deployed."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import Json, Session, StoreError, UsageError, Version, file_sha256

CARD: Final = "README.md"
NOTE: Final = "deployment.json"
"""What was deployed, and on which verdict; how a deployed folder is known again."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """A folder that was written, or was there as it would be written.

    Attributes:
        files: name -> bytes.
        fresh: whether it was written now.
    """

    version: Version
    folder: Path
    verdict: str
    policy: str
    files: dict[str, int]
    fresh: bool

    def document(self) -> dict[str, Json]:
        """All of it as JSON values."""
        return {
            "checkpoint": str(self.version), "digest": self.version.digest, "folder": str(self.folder),
            "policy": self.policy, "verdict": self.verdict, "files": self.files, "new": self.fresh,
        }  # fmt: skip


def deploy(session: Session, name: str, ref: str, folder: Path, policy: str | None = None) -> Deployed:
    """Writes a version that passed its gate into a folder, which is there whole or as it was before at any moment.

    Where the system cannot exchange two folders in one step, it is not there for a moment, and whoever is killed in
    that moment leaves it to the next call to write it.

    Raises:
        GateFailed: the newest verdict on this version is that it fails.
        Incomplete: the newest verdict is that it cannot be told.
        UsageError: there is no verdict; or the folder holds something else than an earlier deployment.
        UnknownName, IntegrityError: there is no such version, or its files are not what was published.
        StoreError: the folder cannot be written.
    """
    version = session.checkpoints.get(name, ref)
    if version.type != "model":
        raise UsageError(f"{version} is of type {version.type}; only a model is deployed")
    verdict = session.promoter.evidence(version, policy, ref)
    note = {"checkpoint": str(version), "digest": version.digest, "policy": verdict.policy, "verdict": verdict.id}
    kept = _note(folder)
    if kept is None and folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder}: holds something else than a deployed model; name another folder with --out")
    if kept is not None and kept == {**note, "files": _digests(folder)}:
        return Deployed(version, folder, verdict.id, verdict.policy, _sizes(folder), False)
    source = session.checkpoints.resolve(name, f"v{version.number}").checkout()
    try:
        _write(source, folder, note, verdict.document())
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from error
    return Deployed(version, folder, verdict.id, verdict.policy, _sizes(folder), True)


def is_deployed(folder: Path, digest: str) -> bool:
    """Whether a version of that digest was written into a folder, whose files are as they were written."""
    note = _note(folder)
    return note is not None and note.get("digest") == digest and note.get("files") == _digests(folder)


def _write(source: Path, folder: Path, note: dict[str, Json], verdict: dict[str, Any]) -> None:
    part, old = (folder.with_name(f".{folder.name}.{what}") for what in ("part", "old"))
    folder.parent.mkdir(parents=True, exist_ok=True)
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)
    shutil.copytree(source, part, copy_function=shutil.copyfile)
    part.chmod(0o755)
    card = part / CARD
    told = card.read_text(encoding="utf-8").rstrip() if card.is_file() else f"# {note['checkpoint']}"
    card.unlink(missing_ok=True)
    card.write_text(f"{told}\n\n{_section(verdict)}", encoding="utf-8")
    note = {**note, "files": _digests(part)}
    (part / NOTE).write_bytes(msgspec.json.format(msgspec.json.encode(note), indent=2) + b"\n")
    if not folder.exists():
        part.rename(folder)
    elif not _exchange(part, folder):
        folder.rename(old)
        part.rename(folder)
    for left in (part, old):
        shutil.rmtree(left, ignore_errors=True)


def _exchange(one: Path, other: Path) -> bool:
    """Gives two folders each other's name in one step; False where the system cannot: Linux can, most file systems do.

    https://man7.org/linux/man-pages/man2/rename.2.html
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    code: int = rename(_CURRENT, os.fsencode(one), _CURRENT, os.fsencode(other), _RENAME_EXCHANGE)
    return code == 0


_CURRENT: Final = -100
"""AT_FDCWD: paths are meant from the current folder."""
_RENAME_EXCHANGE: Final = 2


def _section(verdict: dict[str, Any]) -> str:
    """The verdict as the card tells it."""
    rows = ["| requirement | measured | needed | verdict |", "|---|---|---|---|"]
    for finding in verdict["findings"]:
        measured = "–" if finding["measured"] is None else f"{finding['measured']:.4g}"
        rows.append(f"| `{finding['score']}` | {measured} | {finding['needed']} | {finding['status']} |")
    table = "\n".join(rows)
    against = f", compared with `{verdict['baseline']['ref']}`" if verdict["baseline"] else ""
    return (
        f"## Verdict\n\nDeployed on verdict `{verdict['id']}` of policy `{verdict['policy']}`: "
        f"{verdict['verdict']}{against}.\n\n{table}\n"
    )


def _note(folder: Path) -> dict[str, Any] | None:
    try:
        note = json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return note if isinstance(note, dict) else None


def _digests(folder: Path) -> dict[str, str]:
    """The content of all files but the note."""
    return {name: file_sha256(path) for name, path in _files(folder).items() if name != NOTE}


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def _sizes(folder: Path) -> dict[str, int]:
    return {name: path.stat().st_size for name, path in _files(folder).items()}
