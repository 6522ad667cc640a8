"""The points from which a training goes on: the Trainer's own folders, and their copies in the registry.

The Trainer writes `trainer_state.json` last, after what every process writes, so a folder with a whole one is whole.
"""

from __future__ import annotations

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path

from harness import CheckpointError, CheckpointStore, Privacy, StoreError, Version
from training.job import Job

STATE = "trainer_state.json"
BEST = "best"
"""The alias of the best published checkpoint."""


def complete(folder: Path) -> dict[int, Path]:
    """Step -> checkpoint, of those that are whole, in the order of steps."""
    found = {}
    for path in folder.glob("checkpoint-*"):
        try:
            found[int(json.loads((path / STATE).read_text(encoding="utf-8"))["global_step"])] = path
        except (OSError, ValueError):
            continue
    return dict(sorted(found.items()))


def newest_complete(folder: Path) -> Path | None:
    """The whole checkpoint with the most steps."""
    found = complete(folder)
    return found[max(found)] if found else None


def unfinished(folder: Path) -> list[Path]:
    """What was being written or removed when a process ended."""
    whole = set(complete(folder).values())
    return [path for path in folder.glob("checkpoint-*") if path not in whole] + list(folder.glob("restored.part"))


def remove(checkpoint: Path) -> None:
    """Remove a checkpoint; a kill in between leaves one that is not whole."""
    (checkpoint / STATE).unlink(missing_ok=True)
    shutil.rmtree(checkpoint, ignore_errors=True)


def starting_point(job: Job, folder: Path) -> Path | None:
    """The checkpoint from which the training goes on, in its place; None at its beginning.

    It is the newest of those in the folder and of those that were published, by this machine or by another one. Where
    one in the folder is not as large as it was when it was published, the published one takes its place.

    Raises:
        IntegrityError: the published one is not what was published.
        StoreError: it cannot be copied into its place.
    """
    if job.settings.save.resume == "never":
        return None
    for path in unfinished(folder):
        remove(path)
    versions = published(job)
    for version in versions:
        found = complete(folder).get(step_of(version))
        if found is not None and _size(found) != version.size:  # cut short, where a machine lost its power
            remove(found)
    if versions and step_of(versions[0]) > max(complete(folder), default=0):
        _restore(job.session.checkpoints, versions[0], folder)
    newest = newest_complete(folder)
    if newest is not None:
        best = json.loads((newest / STATE).read_text(encoding="utf-8"))["best_global_step"]
        for version in versions:
            if step_of(version) == best and best not in complete(folder):
                _restore(job.session.checkpoints, version, folder)
    return newest


def start_again(job: Job) -> None:
    """Remove what earlier attempts left: nothing, here or on another machine, goes on from it any more."""
    for version in published(job):
        withdraw(job, version)
    shutil.rmtree(job.folder, ignore_errors=True)


def keep_safe(checkpoint: Path) -> None:
    """Have the files of a checkpoint on the disk, whatever becomes of the machine."""
    for path in [*checkpoint.rglob("*"), checkpoint, checkpoint.parent]:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def leave_places_out(checkpoint: Path) -> None:
    """Remove from a checkpoint what says where things lie on this machine; no training that goes on reads it.

    The Trainer keeps its arguments there, as a pickle, and where the best checkpoint is, which is known by its step;
    PEFT keeps where the model came from, in its settings and in a card of its own.
    """
    for name in ("training_args.bin", "README.md"):
        (checkpoint / name).unlink(missing_ok=True)
    for name, key in ((STATE, "best_model_checkpoint"), ("adapter_config.json", "base_model_name_or_path")):
        path = checkpoint / name
        content = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        if content.get(key) is not None and Privacy().names_place(content[key]):
            partial = path.with_suffix(".part")
            partial.write_text(json.dumps({**content, key: None}, indent=2) + "\n", encoding="utf-8")
            partial.replace(path)


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def steps_name(job: Job) -> str:
    """Under which the training's checkpoints are published."""
    return f"{job.settings.name}-steps"


def step_of(version: Version) -> int:
    """After how many steps it was saved."""
    return int(version.metadata["step"])


def published(job: Job) -> list[Version]:
    """The checkpoints that this very training published, newest first."""
    store, name = job.session.checkpoints, steps_name(job)
    if name not in store.names():
        return []
    return [version for version in store.versions(name) if version.metadata.get("recipe_digest") == job.id]


def withdraw(job: Job, version: Version) -> None:
    """Remove a published checkpoint, unless somebody gave it a name of its own: then it is wanted."""
    with suppress(CheckpointError):
        job.session.checkpoints.delete(version.name, f"v{version.number}", aliased=(BEST,))


def last_good(job: Job, folder: Path) -> str:
    """Words for where a training that failed goes on."""
    found = complete(folder)
    if not found:
        return "nothing was saved before"
    step = max(found)
    names = [str(version) for version in published(job) if step_of(version) == step]
    return f"the last good checkpoint is that of step {step}: " + " = ".join([*names, str(found[step])])


def _restore(store: CheckpointStore, version: Version, folder: Path) -> None:
    source = store.resolve(version.name, f"v{version.number}").checkout()
    target, copy = folder / f"checkpoint-{step_of(version)}", folder / "restored.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copytree(source, copy, copy_function=shutil.copyfile)
            copy.rename(target)
        finally:
            shutil.rmtree(copy, ignore_errors=True)
    except OSError as error:
        raise StoreError(
            f"{target}: {version} cannot be copied there ({error.strerror or error}); free some space and run the same "
            "command again"
        ) from error
