"""What launching a job would send, and what would be lost of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from harness import Json, Session, UsageError
from training.jobs import launching
from training.jobs.order import Order
from training.jobs.planning import LOCAL, RAY, WANDB, Loss
from training.jobs.targets import local, ray


def plan(session: Session, order: Order, found: Sequence[Loss]) -> dict[str, Json]:
    """All that the target would be given; nothing is started, sent or copied."""
    place = session.home.absolute() / "jobs" / f"{order.job.name}-{order.id}"
    task = order.task(session, f"{order.job.name}-{order.id}-1", place / "log.txt", again=False)
    if order.on == WANDB:
        sent = launching.request(task, **order.target_options)
    else:
        sent = {LOCAL: local.request, RAY: ray.request}[order.on](task)
    lost = [{"key": loss.key, "instead": loss.instead, "matters": loss.matters} for loss in found]
    return {"on": order.on, "sent": sent, "lost": lost}


def refuse(found: Sequence[Loss], allowed: Collection[str]) -> None:
    """Raises:
    UsageError: what comes out may be another than the job says, and nobody allowed that; or something is allowed
        that is not lost.
    """
    for loss in found:
        if loss.matters and loss.key not in allowed:
            raise UsageError(
                f"{loss.key}: cannot be kept: {loss.instead}; `--allow-loss {loss.key}` does without, or choose "
                "another target with --on"
            )
    for key in allowed:
        if key not in {loss.key for loss in found}:
            raise UsageError(f"--allow-loss {key}: nothing of the kind is lost; leave it out")
