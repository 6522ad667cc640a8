"""Make queues of jobs, look at them, and cancel or retry their jobs."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import Json, Session, UsageError, WorkItem, open_session
from training.jobs.cancelling import cancel as cancel_jobs
from training.jobs.carrying import log_of
from training.jobs.planning import LOCAL, RAY
from training.jobs.queues import OPEN, QUEUE, Queue, check_names, document
from training.settings import NAME

FIGURES, SHORT = 3, 24
"""Of a result are shown so many entries of so many characters."""
STATES = ("waiting", "running", "done", "failed", "cancelled")
as_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")


@click.group("queue")
def command() -> None:
    """Queues of jobs in the workspace: `harness launch --queue` fills them, `harness agent` works them off."""


@command.command("create")
@click.argument("name")
@click.option("--on", type=click.Choice((LOCAL, RAY)), help="Where its jobs run; by default as each says itself.")
@click.option("--address", help="With ray: the cluster's, such as http://127.0.0.1:8265.")
@as_json_option
def create(name: str, on: str | None, address: str | None, as_json: bool) -> None:
    """Make a queue."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{name!r}: a queue's name is made of letters, digits, '.', '_' and '-'")
    if address is not None and on != RAY:
        raise UsageError("--address: is a Ray cluster's; give --on ray with it")
    about = {"on": on, "options": {} if address is None else {"address": address}}
    with open_session() as session:
        made = session.work.open(QUEUE, name, about)
        if dict(made.document) != about:
            raise UsageError(f"{name}: is there already, on {made.document.get('on') or 'what each job says'}")
        _say(_about(session, Queue.named(session, name)), f"{name} is there", as_json)


@command.command("list")
@as_json_option
def list_queues(as_json: bool) -> None:
    """All queues, and how many jobs they have of each state."""
    with open_session() as session:
        told = [_about(session, Queue.named(session, work.name)) for work in session.work.all(QUEUE)]
    if as_json:
        click.echo(msgspec.json.encode({"queues": told}))
    elif not told:
        click.echo("there is no queue; `harness queue create NAME` makes one")
    else:
        rows = [
            [one["queue"], one["on"] or "as jobs say", *(str(one["jobs"][state]) for state in STATES)] for one in told
        ]
        _table(["queue", "on", *STATES], rows, numbers=STATES)


@command.command("show")
@click.argument("name")
@as_json_option
def show(name: str, as_json: bool) -> None:
    """The jobs of a queue."""
    with open_session() as session:
        queue = Queue.named(session, name)
        items = session.work.items(queue.work)
        if as_json:
            jobs = [document(session, item) for item in items]
            click.echo(msgspec.json.encode({**_about(session, queue), "items": jobs}))
        elif not items:
            click.echo(f"{name} is empty; `harness launch JOB --queue {name}` puts a job into it")
        else:
            rows = [
                [item.name, item.status, str(item.note.get("starts", 0)), _took(item), _end(item)] for item in items
            ]
            _table(["job", "state", "starts", "took", ""], rows, numbers=("starts", "took"))
            for item in items:
                if item.status in ("running", "failed") and (log := log_of(session, item)).exists():
                    click.echo(f"{item.name}: its log is {log}")


@command.command("cancel")
@click.argument("name")
@click.argument("jobs", nargs=-1)
@as_json_option
def cancel(name: str, jobs: Sequence[str], as_json: bool) -> None:
    """Cancel jobs that wait or run; all of the queue's where none is named.

    A job whose agent is gone is stopped here, when it has saved.
    """
    with open_session() as session:
        queue = Queue.named(session, name)
        check_names(session, queue.work, jobs)
        before = {item.name: item.status for item in session.work.items(queue.work)}
        count = cancel_jobs(session, queue.work, jobs or None, _tell)
        said = [f"{count} cancelled"]
        if any(status == "running" and (not jobs or job in jobs) for job, status in before.items()):
            said.append("what runs is stopped by its agent")
        said += [f"{job} is {before[job]} already" for job in jobs if before[job] not in OPEN]
        _say({"queue": name, "cancelled": count}, "; ".join(said), as_json)


@command.command("retry")
@click.argument("name")
@click.argument("jobs", nargs=-1)
@as_json_option
def retry(name: str, jobs: Sequence[str], as_json: bool) -> None:
    """Let jobs that failed or were cancelled wait again; all of the queue's where none is named."""
    with open_session() as session:
        queue = Queue.named(session, name)
        check_names(session, queue.work, jobs)
        count = session.work.again(queue.work, jobs or None)
        _say({"queue": name, "waiting": count}, f"{count} {'waits' if count == 1 else 'wait'} again", as_json)


@command.command("rm")
@click.argument("name")
@click.option("--force", is_flag=True, help="Also while jobs wait or run; those that run are stopped.")
@as_json_option
def remove(name: str, force: bool, as_json: bool) -> None:
    """Forget a queue and its jobs; their logs stay."""
    with open_session() as session:
        queue = Queue.named(session, name)
        open_jobs = [item.name for item in session.work.items(queue.work) if item.status in OPEN]
        if open_jobs and not force:
            raise UsageError(
                f"{name}: {len(open_jobs)} jobs wait or run, such as {open_jobs[0]}; --force removes it all"
            )
        cancel_jobs(session, queue.work, None, _tell)
        session.work.remove(queue.work)
        _say({"queue": name, "removed": True}, f"{name} is removed", as_json)


def _about(session: Session, queue: Queue) -> dict[str, Json]:
    counts = session.work.counts(queue.work)
    jobs = {state: counts.get(state, 0) for state in STATES}
    return {"queue": queue.work.name, "on": queue.on, "options": dict(queue.options), "jobs": jobs}


def _say(told: dict[str, Json], sentence: str, as_json: bool) -> None:
    click.echo(msgspec.json.encode(told) if as_json else sentence)


def _tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _took(item: WorkItem) -> str:
    """How long it took, or has taken, since it was last started, whoever followed it."""
    began = item.note.get("began") or item.began
    if began is None:
        return ""
    end = datetime.now(UTC) if item.ended is None else datetime.fromisoformat(item.ended)
    seconds = (end - datetime.fromisoformat(began)).total_seconds()
    return (
        f"{seconds:.1f} s"
        if seconds < 60
        else f"{seconds / 60:.0f} min"
        if seconds < 3600
        else f"{seconds / 3600:.1f} h"
    )


def _end(item: WorkItem) -> str:
    if item.status == "running":
        return item.carrier
    return item.reason or _figures((item.result or {}).get("value"))


def _figures(value: Mapping[str, Json] | None) -> str:
    """The checkpoints, main scores or first figures of a result, which may be anything; `--json` has all of it."""
    within = [part for inner in (value or {}).values() if isinstance(inner, list) for part in inner]
    told = [said for part in within if isinstance(part, Mapping) and (said := _made(part))]
    told += [
        f"{key} {figure:.4g}" if isinstance(figure, float) else f"{key} {figure}"
        for key, figure in (value or {}).items()
        if isinstance(figure, str | int | float) and len(str(figure)) <= SHORT
    ]
    return ", ".join(told[:FIGURES])


def _made(part: Mapping[str, Json]) -> str:
    """What a stage of `harness train`, or a run of `harness eval`, gave."""
    match part:
        case {"checkpoint": str(version)}:
            return version
        case {"benchmark": {"name": str(name)}, "scores": {**scores}}:
            for figure, score in scores.items():
                if isinstance(score, Mapping) and isinstance(score.get("value"), int | float):
                    return f"{name}.{figure} {score['value']:.3f}"
    return ""


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], *, numbers: Sequence[str]) -> None:
    table = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="dim")
    for place, column in enumerate(columns):
        right = column in numbers
        table.add_column(column, justify="right" if right else "left", no_wrap=right or place == 0, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console(width=None if sys.stdout.isatty() else 80, highlight=False).print(table)
