"""Run a job: here, on Ray or through W&B Launch, or put it into a queue."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import msgspec

from harness import ConfigError, Json, Session, UsageError, open_session
from training.explain import explain
from training.jobs.agent import Agent
from training.jobs.carrying import INCOMPLETE, LOOK_SECONDS
from training.jobs.dry_run import plan, refuse
from training.jobs.order import Order
from training.jobs.planning import LOCAL, RAY, WANDB, Loss, losses, pinned, target_of
from training.jobs.queues import Queue, document, item_of, open_launch, submit
from training.jobs.settings import JobSettings, read_job


@click.command("launch")
@click.argument("job", metavar="JOB", type=click.Path(path_type=Path))
@click.option("--on", type=click.Choice((LOCAL, RAY, WANDB)), help="Where; by default as the job's `resource` says.")
@click.option("--address", help="With ray: the cluster's, such as http://127.0.0.1:8265.")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change a key: --set parameters.steps=5")
@click.option(
    "--queue", metavar="QUEUE", help="Leave it to `harness agent`; with wandb: W&B's queue, `harness` by default."
)
@click.option("--allow-loss", "allowed", metavar="KEY", multiple=True, help="Do without a key that cannot be kept.")
@click.option("--explain", "explained", is_flag=True, help="Print every key and what it means; run nothing.")
@click.option("--dry-run", is_flag=True, help="Print what would be sent and what would be lost; run nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    job: Path,
    on: str | None,
    address: str | None,
    changes: Sequence[str],
    queue: str | None,
    allowed: Sequence[str],
    explained: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Run the job that a file describes, and end as it ends.

    What it says goes to stderr and into a log. The same command after an interruption goes on with the same job; beside
    another that is at it, it waits for that one and ends like it.
    """
    settings = read_job(job, changes)
    if explained:
        click.echo(msgspec.json.encode(settings.model_dump(mode="json")) if as_json else explain(settings), nl=as_json)
        return 0
    with open_session() as session:
        inside = None if queue is None or on == WANDB else Queue.named(session, queue)
        on = on or (inside and inside.on) or target_of(settings)
        options = {**(inside.options if inside is not None and inside.on == on else {}), **_options(on, address, queue)}
        with _naming(job):
            order = Order.new(pinned(settings, session), on, options)
            found = losses(order.job, on)
        if dry_run:
            with _naming(job):
                told = plan(session, order, found)
            _show(told, as_json=as_json)
        else:
            _tell_losses(found)
        refuse(found, allowed)
        if dry_run:
            return 0
        if inside is not None:
            item = submit(session, inside.work, order)
            _print(document(session, item), f"{item.name} waits in {queue}; `harness agent --queue {queue}`", as_json)
            return 0
        with _naming(job):
            return _run(session, settings, order, as_json=as_json)


@contextmanager
def _naming(file: Path) -> Iterator[None]:
    """Puts the job's file before what is wrong with the job."""
    try:
        yield
    except UsageError as error:
        raise ConfigError(str(error), file) from error


def _options(on: str, address: str | None, queue: str | None) -> dict[str, Any]:
    if address is not None and on != RAY:
        raise UsageError(f"--address: is a Ray cluster's; the job runs on {on}")
    if on == WANDB:
        return {} if queue is None else {"queue": queue}
    return {} if address is None else {"address": address}


def _run(session: Session, settings: JobSettings, order: Order, *, as_json: bool) -> int:
    work, item = open_launch(session, settings, order)
    agent = Agent(session, work, names={item.name}, said=lambda name, text: _pass_on(text), tell=_tell)
    ended = agent.run()
    kept = item_of(session, work, item.name)
    if not ended and kept.status == "running":
        _tell(f"{item.name}: {kept.carrier} carries it out already; waits for it")
        while not ended and kept.status == "running":
            time.sleep(LOOK_SECONDS)
            ended = agent.run()
            kept = item_of(session, work, item.name)
    if not ended:
        why = kept.reason or kept.status
        _print(document(session, kept), f"{item.name}: {agent.left().get(item.name, why)}", as_json)
        return (
            int((kept.result or {}).get("exit_code", INCOMPLETE)) if kept.status in ("done", "failed") else INCOMPLETE
        )
    (end,) = ended
    if end.error is not None:
        raise end.error
    told = document(session, end.item)
    _print(told, f"{item.name}: {end.item.reason or 'done'}; all that it said is in {told['log']}", as_json)
    return end.code


def _show(told: Mapping[str, Json], *, as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.encode(told))
        return
    click.echo(f"on: {told['on']}")
    click.echo(msgspec.json.format(msgspec.json.encode(told["sent"]), indent=2))
    for loss in told["lost"]:
        click.echo(f"{'LOST' if loss['matters'] else 'lost'}  {loss['key']}: {loss['instead']}")


def _print(told: Mapping[str, Json], sentence: str, as_json: bool) -> None:
    click.echo(msgspec.json.encode(told) if as_json else sentence)


def _tell_losses(found: Sequence[Loss]) -> None:
    for loss in found:
        _tell(f"{loss.key}: {loss.instead}")


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _pass_on(text: bytes) -> None:
    sys.stderr.flush()
    sys.stderr.buffer.write(text)
    sys.stderr.flush()
