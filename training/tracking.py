# mypy: allow-untyped-calls
# Parts of transformers and wandb carry no annotations.

"""What a tracker is told of a training beside the workspace: Weights & Biases, through its SDK.

The Trainer's own callback for it is not used. It would send all of TrainingArguments, local folders among them, could
be made to upload checkpoints by the environment, logs without the step (so that a training that goes on would draw
its last points twice), and lets an unreachable server end the training.
"""

from __future__ import annotations

import os
import secrets
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec
from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.integrations.integration_utils import rewrite_logs

from harness import Json, Privacy
from training.callbacks.telemetry import numbers
from training.wandb_sdk import logged_in, silent

if TYPE_CHECKING:
    from training.job import Job

PATIENCE: Final = 30.0
"""Seconds that a server may take to answer at the start, and to take what is left at the end."""
STEP: Final = "train/global_step"
KEPT: Final = "WandbRun"
"""Where a checkpoint's state holds the run's identity."""


@contextmanager
def tracked(trainer: Trainer, job: Job) -> Iterator[Callable[[Mapping[str, float]], None]]:
    """Tells the trackers of the settings while the block trains, and how it ended; gives what takes the final scores.

    Raises:
        MissingExtra: a tracker's package is not installed.
    """
    job.settings.track.check()
    if not job.settings.track.report_to or not trainer.is_world_process_zero():
        yield lambda scores: None
        return
    run = WandbRun(job)
    trainer.add_callback(run)
    try:
        yield run.scores
    except Exception:
        run.close(1)
        raise
    except BaseException:  # SIGINT, SIGTERM: it goes on later
        run.close(1, preempted=True)
        raise
    run.close(0)


class Identity(msgspec.Struct, frozen=True):
    """A run's id and name at the tracker: they stay when it goes on.

    They are kept in the training's folder, and in its checkpoints, from which it may go on elsewhere.
    """

    id: str
    name: str

    @classmethod
    def of(cls, job: Job, state: TrainerState) -> Identity:
        """The one that is kept, or a new one."""
        kept = job.folder / "wandb.json"
        saved: Any = state.stateful_callbacks
        if KEPT in saved:
            return msgspec.convert(saved[KEPT]["attributes"], cls)
        if kept.exists():
            return msgspec.json.decode(kept.read_bytes(), type=cls)
        settings, now = job.settings, datetime.now(UTC)
        name = settings.track.run_name.format(
            name=settings.name, stage=settings.stage, timestamp=f"{now:%Y%m%d-%H%M%S}"
        )
        new = cls(secrets.token_hex(4), name)
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_bytes(msgspec.json.encode(new))
        return new


class WandbRun(TrainerCallback):
    """One run at Weights & Biases. Whatever goes wrong with it is said once, and costs nothing else."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._run: Any = None
        self._broken = False

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Opens the run; without its server, on this machine."""
        if self._run is None:
            self._guarded(lambda: self._open(state))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """One row of its history, at the training's step: what a training that goes on makes anew is there already."""
        if self._run is not None:
            self._guarded(lambda: self._log(state.global_step, logs or {}))

    def _log(self, step: int, logs: Mapping[str, Any]) -> None:
        if values := numbers(logs):
            self._run.log({**rewrite_logs(values), STEP: step}, step=step)

    def scores(self, scores: Mapping[str, float]) -> None:
        """The finished model's, into the run's summary."""
        if self._run is not None:
            self._guarded(lambda: self._run.summary.update({f"final/{name}": value for name, value in scores.items()}))

    def close(self, code: int, *, preempted: bool = False) -> None:
        """Ends the run, and with it the SDK's process."""
        import wandb

        run, self._run = self._run, None
        if run is None:
            return
        if preempted:
            self._guarded(run.mark_preempting)
        self._guarded(lambda: run.finish(exit_code=code))
        self._guarded(wandb.teardown)

    def _open(self, state: TrainerState) -> None:
        identity = Identity.of(self._job, state)
        import wandb

        saved: Any = state.stateful_callbacks
        saved[KEPT] = {"args": {}, "attributes": msgspec.to_builtins(identity)}
        mode = None if "WANDB_MODE" in os.environ or logged_in() else "offline"
        try:
            self._run = self._begin(identity, mode)
        except Exception as error:
            if mode == "offline":
                raise
            self._say(f"{first_line(error)}; goes on offline")
            wandb.teardown()  # it would hold the run's id
            self._run = self._begin(identity, "offline")
        run = self._run
        run.define_metric(STEP)
        run.define_metric("*", step_metric=STEP)
        if run.settings.mode == "offline":
            for entry in state.log_history:  # what a killed process had logged may not have reached the disk
                self._log(int(entry["step"]), entry)
            self._say("offline; `harness track sync` sends it")
        elif run.url:
            self._say(run.url)

    def _begin(self, identity: Identity, mode: str | None) -> Any:
        import wandb

        job = self._job
        run = wandb.init(
            project=job.settings.track.project,
            id=identity.id,
            name=identity.name,
            group=job.settings.name,
            job_type=job.settings.stage,
            resume="allow",
            mode=mode,  # type: ignore[arg-type]
            dir=os.environ.get("WANDB_DIR") or str(job.session.home.absolute()),
            settings=wandb.Settings(**silent(init_timeout=PATIENCE, finish_timeout=PATIENCE)),
        )
        run.config.update(sent(job), allow_val_change=True)
        return run

    def _guarded(self, act: Callable[[], Any]) -> None:
        try:
            act()
        except Exception as error:  # noqa: BLE001 - a tracker never costs a training
            if not self._broken:
                self._say(f"{first_line(error)}; the workspace has all curves")
            self._broken = True

    def _say(self, text: str) -> None:
        print(f"wandb: {text}", file=sys.stderr, flush=True)


def sent(job: Job) -> dict[str, Json]:
    """What the tracker is told of a training: its settings, without places on this machine and secrets, and digests."""
    facts = job.metadata()
    told: dict[str, Json] = Privacy().said(
        {name: facts[name] for name in ("training", "stage", "settings", "config_digest")}
    )
    return {**told, "data": list(job.data.values()), "parents": list(job.parents.values())}


def first_line(error: Exception) -> str:
    """An error in a line."""
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"
