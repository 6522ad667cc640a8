# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""A training as it would be, put together without weights: its model, data, order and arguments."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, hf_hub_download, try_to_load_from_cache
from transformers import Trainer, set_seed

from harness import CheckpointError, Session, near
from training.callbacks.evaluating import bare
from training.estimate.imagining import Imagining
from training.estimate.quiet import quiet
from training.job import Assembled, Job
from training.modelling.architectures import described, stand_in
from training.modelling.models import STAND_IN, Start

PATIENCE = 5.0
"""Seconds in which the hub may answer."""


class StandIns:
    """Folders in the place of models that are not there: those that an earlier config makes, and the hub's.

    Args:
        folder: where they are made.
        offline: whether the hub is not asked.

    Attributes:
        notes: what a reader should know of them.
        datasets: names of those that an earlier config prepares.
    """

    def __init__(self, folder: Path, *, offline: bool = False) -> None:
        self.folder = folder
        self.offline = offline
        self.notes: list[str] = []
        self.datasets: set[str] = set()
        self._planned: dict[str, Path] = {}
        self._hub: dict[str, Start | None] = {}

    def __call__(self, text: str, revision: str | None) -> Start | None:
        """What stands for a model; None where the model itself can be asked.

        Raises:
            CheckpointError: it is on the hub, which can't be reached, and nothing is known of it.
        """
        if text.startswith((".", "/", "~")):
            return None
        name, colon, _ = text.partition(":")
        if colon:
            found = self._planned.get(name)
            return None if found is None else Start(f"{name}:planned", str(found), None, f"planned {found.name}")
        if revision is not None and text not in self._hub:
            self._hub[text] = self._of_hub(text, revision)
        return self._hub.get(text)

    def plan(self, name: str, model: Any, processor: Any) -> None:
        """From now on this stands for a version of that name, which is yet to be made."""
        folder = self.folder / "planned" / name
        bare(model).config.save_pretrained(folder)
        processor.save_pretrained(folder)
        self._planned[name] = folder

    def _of_hub(self, name: str, revision: str) -> Start | None:
        if not self.offline and _reachable(name, revision):
            return None
        why = "the hub is not asked" if self.offline else "the hub can't be reached"
        known = described()
        if name not in known:
            hint = f"did you mean {found[0]}?" if (found := near(name, known)) else f"known: {', '.join(sorted(known))}"
            raise CheckpointError(f"{name}: {why}, and its architecture is not among those known without ({hint})")
        folder = stand_in(known[name], self.folder / name.replace("/", "--"))
        self.notes.append(f"{name}: {why}; its published architecture is used, with four characters a token")
        return Start(f"{name}@{revision}", str(folder), None, revision)


def _reachable(name: str, revision: str) -> bool:
    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return True
    try:
        HfApi().model_info(name, revision=revision, timeout=PATIENCE)  # downloads try again and again, this does not
        hf_hub_download(name, "config.json", revision=revision)
    except Exception:  # noqa: BLE001 - whatever keeps it from us
        return False
    return True


@dataclass(frozen=True, slots=True)
class Assembly:
    """A training that could begin.

    Attributes:
        job: of it.
        trainer: whose model has no values where `imagining` is given.
        processor: the model's.
        imagining: on what the trainer may run; None where it has real weights.
    """

    job: Job
    trainer: Trainer
    processor: Any
    imagining: Imagining | None


def assemble(
    settings: Any, run: Callable[[Job], Any], session: Session, stand_ins: StandIns, *, real: bool = False
) -> Assembly:
    """All that the stage puts together before it trains.

    Args:
        settings, run: the stage's, of one that computes gradients.
        session: the workspace, in which nothing is written.
        real: with real weights, on the session's device.

    Raises:
        HarnessError: whatever would end the training before its first step.
    """
    folder = stand_ins.folder / "work"
    if real:
        return _assembled(settings, run, session, folder, None)
    imagining = Imagining()
    with imagining.building(), standing_in(stand_ins), quiet():
        return _assembled(settings, run, on_cpu(session), folder, imagining)


def _assembled(
    settings: Any, run: Callable[[Job], Any], session: Session, folder: Path, imagining: Imagining | None
) -> Assembly:
    job = dataclasses.replace(Job.of(settings, session), planning=folder)
    set_seed(settings.seed)
    try:
        run(job)
    except Assembled as found:
        return Assembly(job, found.trainer, found.processor, imagining)
    raise TypeError(f"the stage {settings.stage} does not train by `fit`")


@contextmanager
def standing_in(stand_ins: StandIns) -> Iterator[None]:
    """Inside, models that are not there are stood in for."""
    token = STAND_IN.set(stand_ins)
    try:
        yield
    finally:
        STAND_IN.reset(token)


def on_cpu(session: Session) -> Session:
    """The same workspace, whose device is the CPU."""
    settings = session.settings
    other = copy.copy(session)
    workspace = settings.workspace.model_copy(update={"device": "cpu"})
    other.__dict__["settings"] = settings.model_copy(update={"workspace": workspace})
    return other
