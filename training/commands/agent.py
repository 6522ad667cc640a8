"""Carry out the jobs of a queue."""

from __future__ import annotations

import sys

import click
import msgspec

from harness import Json, Session, UsageError, open_session
from training.jobs.agent import Agent, Ended, Offer
from training.jobs.carrying import INCOMPLETE, log_of
from training.jobs.needs import memory_bytes
from training.jobs.queues import Queue, document, said_last


@click.command("agent")
@click.option("--queue", metavar="QUEUE", required=True, help="The queue, as `harness queue list` names it.")
@click.option("--count", type=click.IntRange(min=1), default=1, show_default=True, help="So many jobs at once.")
@click.option("--watch", is_flag=True, help="Wait for more jobs when all are done.")
@click.option("--cpus", type=click.FloatRange(min=0), help="Cores that its jobs may need together.")
@click.option("--gpus", type=click.FloatRange(min=0), help="GPUs, likewise.")
@click.option("--memory", metavar="SIZE", help="Memory, likewise: 64GB")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    queue: str, count: int, watch: bool, cpus: float | None, gpus: float | None, memory: str | None, as_json: bool
) -> int:
    """Carry out the jobs of a queue, in order, as long as there are any.

    Several agents may work at one queue. SIGTERM and SIGINT ask its jobs to save and to end, and they wait again; a
    second one ends them at once. The jobs of an agent that is killed go on, and are taken over by the next.

    Ends with 0 where all its jobs are done, and with 3 where one failed, whatever its own exit code, or waits on.
    """
    offer = Offer(cpus, gpus, _bytes(memory))
    with open_session() as session:
        agent = Agent(session, Queue.named(session, queue).work, count=count, offer=offer, tell=_tell)
        ended = agent.run(watch=watch)
        left = agent.left()
        for name, why in left.items():
            _tell(f"{name}: waits on; {why}")
        if as_json:
            told: list[dict[str, Json]] = [document(session, end.item) for end in ended]
            click.echo(msgspec.json.encode({"jobs": told}))
        else:
            for end in ended:
                click.echo(_sentence(session, end))
            click.echo(f"{sum(end.code == 0 for end in ended)} of {len(ended)} jobs done")
        return 0 if all(end.code == 0 for end in ended) and not left else INCOMPLETE


def _sentence(session: Session, end: Ended) -> str:
    name, log = end.item.name, log_of(session, end.item)
    if end.code == 0 or end.error is not None or not log.exists():
        return f"{name}: {end.error or end.item.reason or 'done'}"
    return f"{name}: {end.item.reason}{said_last(log)}; its log is {log}"


def _bytes(memory: str | None) -> int | None:
    try:
        return None if memory is None else memory_bytes(memory)
    except ValueError as error:
        raise UsageError(f"--memory {memory}: {error}") from error


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
