"""Carry out a pipeline: trainings, evaluations, gates and more, each after what it depends on."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness import Session, UsageError, open_session
from training.jobs.targets import TARGETS
from training.pipelines.checking import check
from training.pipelines.deciding import Choice
from training.pipelines.planning import plan
from training.pipelines.progress import Progress, exit_code
from training.pipelines.reading import Pipeline, read_pipeline
from training.pipelines.running import Driver
from training.pipelines.starting import Starter
from training.pipelines.view import Lines, Live, duration, marked

WIDTH = 100


@click.command("pipeline")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--set", "changes", metavar="NAME=VALUE", multiple=True, help="Change a parameter: --set limit=100")
@click.option(
    "--engine", type=click.Choice(list(TARGETS)), default="local", show_default=True, help="Where stages run."
)
@click.option("--address", help="With --engine ray: the cluster's, such as http://127.0.0.1:8265.")
@click.option("--queue", help="With --engine wandb: the queue of W&B Launch.")
@click.option(
    "--parallel", type=click.IntRange(min=1), help="Stages at once; by default as the file says, or a core's each."
)
@click.option("--from", "start", metavar="STAGE", help="Only this stage and what depends on it.")
@click.option("--only", metavar="STAGE", multiple=True, help="Only this stage; may be repeated.")
@click.option("--force", "forced", metavar="STAGE", multiple=True, help="Carry this stage out though nothing changed.")
@click.option("--dry-run", is_flag=True, help="Say what would be carried out, and why; start nothing.")
@click.option("--report", type=click.Path(path_type=Path), help="Also write a report: one HTML page.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
@click.pass_context
def command(
    context: click.Context, file: Path, changes: Sequence[str], engine: str, address: str | None, queue: str | None,
    parallel: int | None, start: str | None, only: Sequence[str], forced: Sequence[str], dry_run: bool,
    report: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Carry out the stages of a pipeline, each once for the same settings and inputs.

    The same command after an interruption goes on where it stopped; after completion it says what there is. Ends with
    1 where a gate failed, and only that; with 3 where something is incomplete; with 2 where a stage failed.

    \b
    harness pipeline training/configs/pipelines/vlm.yaml
    harness pipeline training/configs/pipelines/vlm.yaml --set limit=100 --dry-run
    """
    options = _options(engine, address, queue)
    if report is not None and report.is_dir():
        raise UsageError(f"--report {report}: is a folder; name a file")
    if report is not None and not report.parent.is_dir():
        raise UsageError(f"--report {report}: there is no folder {report.parent}; make it, or name another file")
    pipeline = read_pipeline(file, changes)
    with open_session() as session:
        check(pipeline, session)
        choice = Choice.of(pipeline, start, only, forced)
        if dry_run:
            _plan(pipeline, session, choice, as_json=as_json)
            return
        stages = _carry_out(pipeline, session, choice, Starter(session, engine, options), parallel)
        if as_json:
            documents = [stage.document(session.home.absolute()) for stage in stages.values()]
            click.echo(msgspec.json.encode({"pipeline": pipeline.name, "stages": documents}))
        else:
            _print(stages)
    if report is not None:
        _report(context, pipeline.name, report)
    context.exit(exit_code(stages.values()))


def _options(engine: str, address: str | None, queue: str | None) -> dict[str, str]:
    """What the place needs beside its name."""
    if address is not None and engine != "ray":
        raise click.UsageError("--address is a Ray cluster's: add --engine ray")
    if (queue is not None) != (engine == "wandb"):
        raise click.UsageError("--engine wandb and --queue go together: name a queue of W&B Launch")
    return {name: value for name, value in (("address", address), ("queue", queue)) if value is not None}


def _carry_out(
    pipeline: Pipeline, session: Session, choice: Choice, starter: Starter, parallel: int | None
) -> Mapping[str, Progress]:
    parallel = parallel or pipeline.settings.parallel
    cores = os.cpu_count() or 1
    watcher = Live(Console(stderr=True)) if sys.stderr.isatty() else Lines(_say)
    driver = Driver(
        pipeline, session, starter, choice, parallel=parallel or cores, watcher=watcher,
        cores=cores if starter.engine == "local" and parallel is None else None,
    )  # fmt: skip
    try:
        with watcher.watching(driver.stages):
            driver.run()
    finally:
        starter.close()
    return driver.stages


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _print(stages: Mapping[str, Progress]) -> None:
    """What became of each stage."""
    is_terminal = sys.stdout.isatty()
    table = Table("stage", "state", box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    table.add_column("took", justify="right", no_wrap=True)
    table.add_column("made", overflow="fold")
    for stage in stages.values():
        state = marked(stage.state) if is_terminal else Text(stage.state)
        table.add_row(Text(stage.name), state, duration(stage.seconds), Text(stage.line()))
    Console(width=None if is_terminal else WIDTH, highlight=False).print(table)


def _plan(pipeline: Pipeline, session: Session, choice: Choice, *, as_json: bool) -> None:
    planned = plan(pipeline, session, choice)
    if as_json:
        click.echo(msgspec.json.encode({"pipeline": pipeline.name, "stages": planned}))
        return
    table = Table("stage", "what", "why", box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim")
    for stage in planned:
        table.add_row(*map(Text, (stage["stage"], stage["action"], stage["why"])))
    console = Console(width=None if sys.stdout.isatty() else WIDTH, highlight=False)
    console.print(table)
    for stage in planned:
        if stage["command"]:
            console.print(Text(f"{stage['stage']}: {stage['command']}", style="dim"), soft_wrap=True)


def _report(context: click.Context, name: str, path: Path) -> None:
    """By the host's own command: what it draws with is not promised to others."""
    group: Any = context.find_root().command
    context.invoke(group.get_command(context, "report"), pipelines=(name,), out=path)
