"""Carry out a sweep: many trainings, evaluations or programs, each with other parameters."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import Incomplete, Json, Session, WorkItem, open_session
from training.jobs.targets import Target, choose_target
from training.sweeps.handing import Place
from training.sweeps.identity import identified
from training.sweeps.outcome import document
from training.sweeps.reading import Sweep, check_metric, read_file, with_training
from training.sweeps.running import INTERRUPTED, Driver
from training.sweeps.trial import command_of

SHOWN: Final = 20
"""Rows of the table."""
EVERY: Final = 10.0
"""Seconds from one line of progress to the next."""
NAMED: Final = 4
"""Parts of a sweep that are named where they have changed."""
QUEUED: Final = 32
"""Trials that wait in a queue or are with its agents at once."""
ENGINES: Final = ("local", "ray", "wandb")


@click.command("sweep")
@click.argument("config", metavar="CONFIG", type=click.Path(path_type=Path))
@click.option("--workers", type=click.IntRange(min=1), help="Trials at once; by default as many as the cores carry.")
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change a key: --set run_cap=50")
@click.option("--engine", type=click.Choice(ENGINES), help="Where trials run; here, or by the agents of launch.queue.")
@click.option("--address", help="Of a Ray cluster, HOST:PORT; `local` starts one here.")
@click.option("--retry-failed", is_flag=True, help="Try again the trials that failed.")
@click.option("--dry-run", is_flag=True, help="Say which trials there are and how they are started; start none.")
@click.option("--report", type=click.Path(path_type=Path), help="Also write a report: one HTML page.")
@click.option("--trial", metavar="JSON", hidden=True, help="Carry out one trial, as an agent of W&B's asks for it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    config: Path, workers: int | None, changes: Sequence[str], engine: str | None, address: str | None,
    retry_failed: bool, dry_run: bool, report: Path | None, trial: str | None, as_json: bool,
) -> None:  # fmt: skip
    """Carry out the trials of a sweep, several at once, and rank them.

    CONFIG has the keys of a W&B sweep, and some more: constraints, include, train, evaluate, launch, seed.
    The same command after an interruption goes on where it stopped; after completion it prints what came of it.

    \b
    harness sweep training/configs/sweeps/arr_coc_ablation.yaml --workers 2 --report ablation.html
    """
    if address is not None and engine != "ray":
        raise click.UsageError("--address is a Ray cluster's: add --engine ray")
    sweep = read_file(config, changes)
    if engine is not None and sweep.settings.launch.queue is not None:
        raise click.UsageError("launch.queue: its agents carry the trials out; leave --engine out, or the queue")
    with open_session() as session:
        if trial is not None:
            from training.sweeps.wandb_trial import carry_out  # with W&B, which other engines do without

            click.get_current_context().exit(carry_out(with_training(config, sweep), session, trial))
        left_out = _left_out(sweep, config, changes) if engine == "wandb" else []
        if dry_run:
            sweep = with_training(config, sweep)
            check_metric(config, sweep, session)
            _plan(sweep, left_out, as_json=as_json)
            return
        for text in left_out:
            _say(text)
        sweep, identity, parts = identified(config, changes, session)
        place = Place.of(sweep, identity, parts, session)
        _say_which(place, session)
        if retry_failed:
            again = session.work.again(place.work)
            _say("1 trial waits again" if again == 1 else f"{again} trials wait again")
        unfinished = ""
        if engine == "wandb":
            from training.sweeps.handover import hand_over
            from training.sweeps.wandb_file import File

            unfinished = hand_over(sweep, File(config, changes), place, session, workers or _at_once(sweep), _say)
        else:
            target, at_once = _target(sweep, session, engine, address)
            Driver(sweep, place, session, target, workers or at_once, Progress(place, session)).run()
        told = document(place.work, session)
    if as_json:
        click.echo(msgspec.json.encode(told))
    else:
        _print(told)
    if report is not None:
        _report(place.work.name, report)
    if unfinished:
        raise Incomplete(unfinished)
    _check(told)


def _left_out(sweep: Sweep, config: Path, changes: Sequence[str]) -> list[str]:
    """What of the file W&B does not go by.

    Raises:
        UsageError: W&B cannot carry it out, or is not to be told of it.
    """
    from training.sweeps.wandb_file import File, configuration, not_sent

    configuration(sweep, File(config, changes))
    return not_sent(sweep)


def _at_once(sweep: Sweep) -> int:
    """Trials that the cores of this machine carry."""
    return max(1, int((os.cpu_count() or 1) / max(sweep.settings.launch.resources.resources().cpus, 1)))


def _target(sweep: Sweep, session: Session, engine: str | None, address: str | None) -> tuple[Target, int]:
    """Where trials run, and how many at once."""
    needs, queue = sweep.settings.launch.resources, sweep.settings.launch.queue
    if queue is not None:
        from training.sweeps.queued import QueuedTrials

        return QueuedTrials(session, queue), QUEUED
    if engine == "ray":
        from training.sweeps.ray_tasks import RayTasks  # with Ray, which other engines do without

        cluster = RayTasks(address)
        return cluster, cluster.room(needs.resources())
    return choose_target("local"), _at_once(sweep)


class Progress:
    """Tells on stderr how far a sweep is: a line for each trial that ended, and one now and then."""

    def __init__(self, place: Place, session: Session) -> None:
        self._metric = place.work.document["metric"]
        self._place, self._session = place, session
        self._began = self._last = time.monotonic()
        self._ended = 0

    def ended(self, item: WorkItem, status: str, result: Mapping[str, Json] | None, reason: str | None) -> None:
        """See `Watcher`."""
        self._ended += status != "waiting"
        _say(f"trial {item.name} {self._what(status, result or {}, reason)}")
        now = time.monotonic()
        if self._ended and now - self._last > EVERY:
            self._last = now
            counts = self._session.work.counts(self._place.work)
            rate = self._ended / (now - self._began) * 60
            _say(f"{counts.get('done', 0)} of {sum(counts.values())} trials done, {rate:.3g} a minute")

    def _what(self, status: str, result: Mapping[str, Json], reason: str | None) -> str:
        if status == "failed":
            return f"failed: {reason}"
        if status == "waiting":
            return "was interrupted, and waits" if reason == INTERRUPTED else f"begins again: {reason}"
        score = "" if self._metric is None else f": {self._metric['name']} {_short(result.get('value'))}"
        early = f" (stopped after {result['stopped']})" if result.get("stopped") else ""
        return f"is done{score}{early}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _say_which(place: Place, session: Session) -> None:
    """A sweep whose file or data has changed since is another one, which whoever expects the old one should know."""
    if not session.work.items(place.work) and (others := place.others(session)):
        now, before = place.work.document["parts"], others[0].document.get("parts", {})
        changed = sorted(part for part in {*now, *before} if before and now.get(part) != before.get(part))
        what = ", ".join(changed[:NAMED]) + (", …" if len(changed) > NAMED else "")
        _say(
            f"{place.work.document['name']}: {what or 'its file, its config or its data'} "
            f"{'have' if len(changed) > 1 else 'has'} changed since {others[0].name}; this is another sweep, "
            f"{place.work.name}"
        )


def _plan(sweep: Sweep, left_out: Sequence[str], *, as_json: bool) -> None:
    """What the constraints leave, what W&B is not sent, and how the first trial is started."""
    space = sweep.space
    left = None if space.allowed is None else len(space.allowed)
    told = [] if space.allowed is None else space.told()
    example = command_of(sweep.settings, sweep.example(), Path("0001.json"), sweep.fixed)
    if as_json:
        click.echo(msgspec.json.encode({
            "name": sweep.name, "method": sweep.settings.method, "points": space.size, "allowed": left,
            "constraints": [{"constraint": text, "left": count} for text, count in told],
            "included": len(sweep.settings.include), "run_cap": sweep.settings.run_cap, "command": example,
            "not_sent": list(left_out),
        }))  # fmt: skip
        return
    click.echo(
        f"{sweep.name}: {sweep.settings.method}, {'countless' if space.size is None else f'{space.size:,}'} points"
    )
    for text, count in told:
        click.echo(f"  {text}: leaves {count:,}")
    if sweep.settings.include:
        click.echo(f"  and {len(sweep.settings.include)} that are tried first")
    if sweep.settings.run_cap is not None:
        click.echo(f"  {sweep.settings.run_cap:,} trials at most")
    for text in left_out:
        click.echo(f"  {text}")
    click.echo(f"a trial: {shlex.join(example)}")


def _print(told: Mapping[str, Any]) -> None:
    """The table: best first."""
    trials, metric = told["trials"], told["metric"]
    varied = [
        name for name in (trials[0]["parameters"] if trials else ())
        if len({repr(trial["parameters"].get(name)) for trial in trials}) > 1
    ]  # fmt: skip
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    table = Table("trial", box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    bounded = any(None not in (trial.get("low"), trial.get("high")) for trial in trials)
    if metric is not None:
        table.add_column(metric["name"], justify="right", no_wrap=True)
    if metric is not None and bounded:
        table.add_column("95% interval", justify="right", no_wrap=True)
    for name in varied:
        table.add_column(_heading(name), justify="right", overflow="fold")
    table.add_column("")
    for trial in trials[:SHOWN]:
        row = [trial["trial"], *(_figures(trial)[: 1 + bounded] if metric is not None else ())]
        row += [_short(trial["parameters"].get(name)) for name in varied]
        table.add_row(*(Text(cell) for cell in (*row, _remark(trial))))
    goal = "" if metric is None else f", {metric['goal']} {metric['name']}"
    console.print(Text(f"{told['sweep']}: {len(trials)} trial{'s' * (len(trials) != 1)}{goal}", style="bold"))
    console.print(table)
    if len(trials) > SHOWN:
        console.print(f"… and {len(trials) - SHOWN} more: `harness report --sweep {told['sweep']}` shows all")


def _heading(name: str) -> str:
    """The last part of a parameter's name, broken where it is long."""
    last = name.rpartition(".")[2]
    return last if len(last) <= 12 else last.replace("_", "_\n")


def _figures(trial: Mapping[str, Any]) -> tuple[str, str]:
    value, low, high = (trial.get(part) for part in ("value", "low", "high"))
    return _short(value), "–" if low is None or high is None else f"{low:.3f} … {high:.3f}"


def _short(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def _remark(trial: Mapping[str, Any]) -> str:
    if trial["status"] == "done":
        return f"stopped after {trial['stopped']}" if trial.get("stopped") else ""
    return str(trial["status"])


def _report(name: str, path: Path) -> None:
    """By the host's own command: what it draws with is not promised to others."""
    context = click.get_current_context()
    found = context.find_root().command.get_command(context, "report")  # type: ignore[attr-defined]
    context.invoke(found, sweeps=(name,), out=path)


def _check(told: Mapping[str, Any]) -> None:
    failed = [trial for trial in told["trials"] if trial["status"] == "failed"]
    if failed:
        raise Incomplete(
            f"{len(failed)} of {len(told['trials'])} trials failed, such as {failed[0]['trial']} "
            f"({failed[0]['reason']}); their logs are kept in the workspace under sweeps/; --retry-failed tries them "
            "again"
        )
