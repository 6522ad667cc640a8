"""Weights & Biases is told of runs and verdicts, through its SDK; what it cannot be told now waits in the workspace."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Final

import msgspec

from harness import ConfigError, FinishedRun, HarnessError, Incomplete, Json, MissingExtra, Told
from plugins.trackers.children import AGAIN, SDK, Patience, call
from plugins.trackers.content import Content, content_of, fingerprint
from plugins.trackers.outbox import Box, State
from plugins.trackers.trainings import Trainings
from plugins.wandb_sdk import is_installed, logged_in, server

STAGING: Final = 120.0
"""Seconds that the SDK may take to write a run down on this machine."""
LONGER: Final = 5.0
"""How much more patience `harness track sync` has, for which somebody waits on purpose."""
PROJECT: Final = "vlm-harness"

_Natural = Annotated[int, msgspec.Meta(ge=0)]


class Options(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`[trackers.wandb]` of harness.toml.

    Attributes:
        entity, project: where runs go; those of WANDB_ENTITY and WANDB_PROJECT, else the user's own entity.
        samples: rows of the table of samples, evenly spaced, at most; 0 for none.
        side: the longest side of a picture there, in pixels.
        heatmaps: whether the maps of traces are drawn over the pictures.
        tags: of every run.
        patience: seconds that a server may take before runs are left for `harness track sync`: all that fails in a
            process takes no longer together.
    """

    entity: str | None = None
    project: Annotated[str, msgspec.Meta(min_length=1)] = PROJECT
    samples: _Natural = 100
    side: Annotated[int, msgspec.Meta(ge=16)] = 384
    heatmaps: bool = True
    tags: tuple[str, ...] = ()
    patience: Annotated[float, msgspec.Meta(gt=0)] = 60.0


class WandbTracker:
    """The tracker. A harness run is always the same W&B run, whose id is its own.

    Args:
        home: the workspace's folder.
        entity, project, samples, side, heatmaps, tags, patience: see `Options`.

    Raises:
        ConfigError: an option has a wrong value.
    """

    def __init__(
        self, home: Path, *, entity: Json = None, project: Json = None, samples: Json = 100, side: Json = 384,
        heatmaps: Json = True, tags: Json = (), patience: Json = 60.0,
    ) -> None:  # fmt: skip
        given = {
            "entity": os.environ.get("WANDB_ENTITY") or None if entity is None else entity,
            "project": os.environ.get("WANDB_PROJECT") or PROJECT if project is None else project,
            "samples": samples, "side": side, "heatmaps": heatmaps, "tags": tags, "patience": patience,
        }  # fmt: skip
        try:
            self._options = msgspec.convert(given, Options)
        except msgspec.ValidationError as error:
            raise ConfigError(f"harness.toml: trackers.wandb: {error}") from error
        self._folder = home / "trackers" / "wandb"
        self._trainings = Trainings(home, self._folder / "trainings")
        self._patience = Patience(self._options.patience)

    def run_finished(self, run: FinishedRun) -> None:
        """Keep what there is to tell, have the SDK write it down, and send it where somebody is logged in.

        Raises:
            MissingExtra: the SDK is not installed.
            Incomplete: it could not be sent; it waits in the workspace.
        """
        if _off():
            return
        box = self._box(run.id)
        with box.alone(self._options.patience):
            self._keep(box, run)
            self._deliver(box)

    def verdict_given(self, verdict: Mapping[str, Json], runs: Sequence[FinishedRun]) -> None:
        """The same W&B runs say what a policy says of them; those that are not known there yet are told."""
        if _off():
            return
        for run in runs:
            box = self._box(run.id)
            with box.alone(self._options.patience):
                kept = box.content
                content = kept if kept is not None and self._is_for_us(kept) else self._keep(box, run)
                verdicts = {**content.verdicts, verdict["policy"]: dict(verdict)}
                if verdicts != content.verdicts:
                    box.keep(msgspec.structs.replace(content, verdicts=verdicts))
                self._deliver(box)

    def told(self) -> list[Told]:
        """Runs, then trainings, each oldest first."""
        found = [_told(box, content) for box in self._boxes() if (content := box.content) is not None]
        return [*sorted(found, key=lambda told: told.since), *self._trainings.told()]

    def sync(self, progress: Callable[[Told], None]) -> list[Told]:
        """Send what has not arrived.

        After a server gave no answer, or failed for as long as may be waited in all, the rest is not tried.
        """
        left: list[Told] = []
        waiting = [told for told in self.told() if not told.sent]
        if waiting:
            _require_sdk()
        nobody = "" if logged_in() else f"nobody is logged in at {server()}: `wandb login`, or set WANDB_API_KEY"
        patience = Patience(LONGER * self._options.patience)
        for told in waiting:
            tried = _left(told, nobody)
            if not nobody:
                try:
                    tried = self._resend(told, patience)
                except HarnessError as error:
                    tried = _left(told, error)
            progress(tried)
            if not tried.sent:
                left.append(tried)
        return left

    def _resend(self, told: Told, patience: Patience) -> Told:
        if told.kind == "training":
            with patience.trying() as seconds:
                return self._trainings.send(told.id, seconds)
        box = self._box(told.id)
        with box.alone(self._options.patience):
            self._deliver(box, patience)
        content = box.content
        assert content is not None
        return _told(box, content)

    def _keep(self, box: Box, run: FinishedRun) -> Content:
        """What there is to tell of a run: what is kept already, where nothing has changed."""
        kept = box.content
        if kept is not None and kept.told == fingerprint(run, self._options) and box.whole(kept):
            return kept
        new = content_of(run, self._options, box.pictures)
        if kept is not None:
            new = msgspec.structs.replace(new, verdicts=kept.verdicts)
        box.keep(new)
        return new

    def _deliver(self, box: Box, patience: Patience | None = None) -> None:
        """Have it written down, and send it where that is wanted.

        Args:
            patience: with it, it is sent whatever WANDB_MODE says.
        """
        content, state = box.content, box.state
        assert content is not None
        digest = content.digest()
        if state.sent == digest:
            return
        _require_sdk()
        state = self._staged(box, digest, state)
        if patience is None and not _online():
            return
        try:
            with (patience or self._patience).trying() as seconds:
                answer = self._sent(box, content, state, seconds)
                if answer["lost"]:
                    state = self._staged(box, digest, msgspec.structs.replace(state, staged=""))
                    answer = self._sent(box, content, state, seconds)
                if answer["missing"]:
                    raise Incomplete(f"did not arrive: {', '.join(answer['missing'])}")
        except Incomplete as error:
            box.mark(msgspec.structs.replace(state, reason=str(error)))
            waits = f"run {box.folder.name} waits in the workspace, and `harness track sync` sends it"
            raise type(error)(f"{error}; {waits}" if patience is None else str(error)) from error
        shutil.rmtree(box.folder / SDK, ignore_errors=True)
        box.mark(State(state.since, sent=digest, url=answer["url"]))

    def _staged(self, box: Box, digest: str, state: State) -> State:
        """What the SDK has written down of this very content."""
        if state.staged == digest and Path(state.source).is_dir():
            return state
        shutil.rmtree(box.folder / SDK, ignore_errors=True)
        source = call("stage", box.folder, STAGING, *([AGAIN] if state.sent else []))["run"]
        state = msgspec.structs.replace(state, staged=digest, source=source)
        box.mark(state)
        return state

    def _sent(self, box: Box, content: Content, state: State, seconds: float) -> Mapping[str, Json]:
        used = content.used if content.used and content.server == server() else ""
        answer: Mapping[str, Json] = call("send", box.folder, seconds, state.source, used)
        return answer

    def _is_for_us(self, content: Content) -> bool:
        """Whether it is to go where the settings say now."""
        where = (content.server, content.run["entity"], content.run["project"])
        return where == (server(), self._options.entity, self._options.project)

    def _box(self, id: str) -> Box:
        return Box(self._folder / "runs" / id)

    def _boxes(self) -> list[Box]:
        return [Box(path) for path in sorted((self._folder / "runs").glob("*")) if path.is_dir()]


def _off() -> bool:
    return os.environ.get("WANDB_MODE") == "disabled"


def _online() -> bool:
    """Whether what is told is sent at once: as WANDB_MODE says, else where somebody is logged in."""
    mode = os.environ.get("WANDB_MODE")
    return mode not in ("offline", "dryrun") and logged_in()


def _require_sdk() -> None:
    if not is_installed():
        raise MissingExtra("the tracker 'wandb' needs the SDK: pip install 'vlm-harness[wandb]'")


def _told(box: Box, content: Content) -> Told:
    state = box.state
    sent = state.sent == content.digest()
    return Told("run", box.folder.name, content.run["name"], sent, state.url if sent else state.reason, state.since)


def _left(told: Told, reason: Exception | str) -> Told:
    return Told(told.kind, told.id, told.what, False, str(reason), told.since)
