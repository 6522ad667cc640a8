# mypy: allow-untyped-calls
# Parts of wandb carry no annotations.

"""Whether all that was to be sent is there: everything is asked of the server anew and compared."""

from __future__ import annotations

import base64
import hashlib
import math
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from plugins.trackers.transcript import LoggedArtifact, Transcript

_MEDIA: Final = ("sha256", "size", "path", "nrows", "ncols")
"""What a table or picture in a summary must keep; the server rewrites where its artifact is."""
_TOLERANCE: Final = 1e-9


def missing(api: Any, path: str, transcript: Transcript, source: Path, used: str, scratch: Path) -> list[str]:
    """What of a run is not there, or not as it was sent.

    Args:
        path: entity/project/id.
        source: the offline run's folder.
        used: the input artifact that it is to have, or empty.
        scratch: a folder for what is downloaded, which is removed.
    """
    import wandb

    try:
        run = api.run(path)
    except (wandb.errors.CommError, ValueError) as error:
        return [f"the run ({' '.join(str(error).split())})"]
    try:
        return [
            *_unlike("config", transcript.config, run.config),
            *_unlike("summary", transcript.summary, _plain(run.summary)),
            *_history(run, transcript),
            *_files(run, transcript, source, scratch),
            *(fault for artifact in transcript.artifacts for fault in _artifact(run, artifact, scratch)),
            *([f"input {used}"] if used and not _uses(run, used) else []),
        ]
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def alike(sent: Any, found: Any) -> bool:
    """Whether a value is what was sent, but for the forms that JSON and the server give it."""
    if isinstance(sent, Mapping) and "_type" in sent:
        return isinstance(found, Mapping) and all(sent[key] == found.get(key) for key in _MEDIA if key in sent)
    if isinstance(sent, Mapping) and isinstance(found, Mapping):
        sent, found = _filled(sent), _filled(found)
        return sent.keys() == found.keys() and all(alike(sent[key], found[key]) for key in sent)
    if isinstance(sent, list | tuple) and isinstance(found, list | tuple):
        return len(sent) == len(found) and all(map(alike, sent, found))
    if isinstance(sent, float) and not math.isfinite(sent):
        return str(found).lower().lstrip("+") in (str(sent), str(sent).replace("inf", "infinity"))
    if isinstance(sent, int | float) and isinstance(found, int | float) and not isinstance(sent, bool):
        return math.isclose(sent, found, rel_tol=_TOLERANCE)
    return bool(sent == found)


def _filled(value: Mapping[str, Any]) -> dict[str, Any]:
    """Without mappings of nothing, which the SDK leaves out."""
    return {key: item for key, item in value.items() if item != {}}


def _plain(value: Any) -> Any:
    """A summary without the SDK's own kinds of mappings."""
    return {key: _plain(item) for key, item in value.items()} if hasattr(value, "items") else value


def _unlike(what: str, sent: Mapping[str, Any], found: Mapping[str, Any]) -> Iterator[str]:
    for key, value in sent.items():
        if not key.startswith("_") and value != {} and not (key in found and alike(value, found[key])):
            yield f"{what} {key}"


def _history(run: Any, transcript: Transcript) -> Iterator[str]:
    """Each row that was logged must be among those that are there: a run that goes on may have more."""
    if not transcript.rows:
        return
    there = [dict(row) for row in run.scan_history()]
    absent = 0
    for row in transcript.rows:
        own = {key: value for key, value in row.items() if not key.startswith("_")}
        absent += not any(all(key in found and alike(own[key], found[key]) for key in own) for found in there)
    if absent:
        yield f"{absent} of {len(transcript.rows)} rows of its history"


def _files(run: Any, transcript: Transcript, source: Path, scratch: Path) -> Iterator[str]:
    there = {file.name: file for file in run.files()}
    for name in dict.fromkeys(transcript.files):
        sent = source / "files" / name
        if not sent.is_file():
            yield f"file {name} (gone on this machine too)"
        elif name not in there or not _same(there[name], sent, scratch):
            yield f"file {name}"


def _same(file: Any, sent: Path, scratch: Path) -> bool:
    with file.download(root=str(scratch), replace=True) as opened:
        arrived = Path(opened.name)
    return hashlib.sha256(arrived.read_bytes()).digest() == hashlib.sha256(sent.read_bytes()).digest()


def _artifact(run: Any, artifact: LoggedArtifact, scratch: Path) -> Iterator[str]:
    """Its manifest must be the one that was sent, and every file in it what the manifest says."""
    found = next((item for item in run.logged_artifacts() if item.digest == artifact.digest
                  and item.name.partition(":")[0] == artifact.name), None)  # fmt: skip
    if found is None:
        yield f"artifact {artifact.name}"
        return
    there = {path: entry.digest for path, entry in found.manifest.entries.items()}
    for path, (digest, _) in artifact.files.items():
        if there.get(path) != digest:
            yield f"artifact {artifact.name}: {path}"
    folder = Path(found.download(root=str(scratch / artifact.name), skip_cache=True))
    for path, digest in there.items():
        content = (folder / path).read_bytes()
        if base64.b64encode(hashlib.md5(content, usedforsecurity=False).digest()).decode() != digest:
            yield f"artifact {artifact.name}: {path} (damaged)"


def _uses(run: Any, used: str) -> bool:
    return any(used in (item.qualified_name, item.source_qualified_name) for item in run.used_artifacts())
