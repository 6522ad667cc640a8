"""Write a report of stored runs or trainings: an HTML page, Markdown or JSON."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import click
import msgspec

from harness.cli.output import config_option, say
from harness.cli.progress import EVERY, Terminal
from harness.errors import StoreError, UnknownName
from harness.pairing import runs_meant
from harness.plan import Task
from harness.report.browser import make_browser
from harness.report.comment import render_markdown
from harness.report.content import Board, Report, report_document
from harness.report.gather import Reporter
from harness.report.page import render_page
from harness.report.pipeline import PipelineReport, render_pipeline
from harness.report.sweep import SweepReport, render_sweep
from harness.report.text import count, plural
from harness.session import Session, open_session
from harness.store import COMPLETE, Run
from harness.trainings import Training

FORMATS = {"html": ("html", "htm"), "md": ("md", "markdown"), "json": ("json",)}
DEFAULT = Path("report.html")
MEGABYTES = 14.0
"""A page with its thumbnails, unless told otherwise."""
OWN = 150_000
"""Bytes of a page besides its samples, about."""


@click.command("report")
@click.argument("names", nargs=-1, metavar="RUN…")
@click.option("--training", "trained", multiple=True, metavar="ID",
              help="A training, by its id or the id's beginning; several are laid over each other.")  # fmt: skip
@click.option("--sweep", "sweeps", multiple=True, metavar="NAME",
              help="A sweep instead, by its name: `harness list sweeps` shows them. HTML only.")  # fmt: skip
@click.option("--pipeline", "pipelines", multiple=True, metavar="NAME",
              help="A pipeline instead, by its name: `harness list pipelines` shows them. HTML only.")  # fmt: skip
@click.option("--out", type=click.Path(path_type=Path),
              help="The file to write; `-` is stdout.  [default: report.html, and stdout for md and json]")  # fmt: skip
@click.option(
    "--format", "kind", type=click.Choice(tuple(FORMATS)), help="By default what --out's name says, else html."
)
@click.option("--protocol", help="Named scoring rules, where the runs were scored by several.")
@click.option("--data", type=click.Path(path_type=Path), help="Where the pictures are, if the data has moved.")
@click.option("--pictures/--no-pictures", default=True, help="Whether the page has thumbnails.")
@click.option("--megabytes", type=click.FloatRange(1), default=MEGABYTES, show_default=True,
              help="The page's size, about; thumbnails and traces are made smaller and fewer to fit.")  # fmt: skip
@config_option
def command(
    names: tuple[str, ...], trained: tuple[str, ...], sweeps: tuple[str, ...], pipelines: tuple[str, ...],
    out: Path | None, kind: str | None, protocol: str | None, data: Path | None, pictures: bool, megabytes: float,
    config: Path | None,
) -> None:  # fmt: skip
    """Write a report of one or more stored runs: one HTML page that needs no network, Markdown, or JSON.

    RUN is a run's id or its beginning, as `harness list runs` shows it, or a model, whose newest complete run of each
    benchmark is meant. Runs on the same data are put side by side. Where a training of this workspace made a run's
    checkpoint, its curves are shown; a training's id in the place of a run shows that training alone.

    A sweep or a pipeline is one HTML page of its own; `harness sweep --json` and `harness pipeline --json` have JSON.
    """
    kind = kind or _kind(out)
    if sweeps or pipelines:
        if names or trained or len(sweeps + pipelines) > 1 or kind != "html":
            raise click.UsageError(
                "--sweep NAME and --pipeline NAME are each one HTML page about that alone; `harness sweep --json` and "
                "`harness pipeline --json` have JSON"
            )
        if sweeps:
            _report_sweep(sweeps[0], out or DEFAULT, config)
        else:
            _report_pipeline(pipelines[0], out or DEFAULT, config)
        return
    if not names and not trained:
        raise click.UsageError(
            "name a run, a model or a training; `harness list runs` and `harness list trainings` show them"
        )
    with open_session(config=config) as session:
        trainings: list[Training] = []
        runs: list[Run] = []
        for name in names:
            found = _meant(session, name)
            if isinstance(found, Training):
                trainings.append(found)
            else:
                runs += [_scored(session, run, protocol) for run in found]
        trainings += [session.trainings.get(name) for name in trained]
        reporter = Reporter(
            session.store, session.comparer, session.verdicts, session.trainings, session.benchmark,
            session.settings.source, say,
        )  # fmt: skip
        report = reporter.report(runs, protocol, trainings)
        if kind == "json":
            content = msgspec.json.format(msgspec.json.encode(report_document(report)), indent=2).decode() + "\n"
        elif kind == "md":
            content = render_markdown(report)
        else:
            content = _page(reporter, report, data, pictures, int(megabytes * 1_000_000))
    what = [plural(len(report.runs), "run")] if report.runs else []
    what += [plural(len(report.courses), "training")] if report.courses else []
    _put(out or (DEFAULT if kind == "html" else Path("-")), content, ", ".join(what))


def _report_sweep(name: str, target: Path, config: Path | None) -> None:
    with open_session(config=config) as session:
        called = [work for work in session.work.all("sweep") if name in (work.name, work.document["name"])]
        work = called[0] if called else session.work.get("sweep", name)  # which says what there is
        if len(called) > 1:
            others = ", ".join(other.name for other in called[1:])
            say(f"{name}: {len(called)} sweeps are called that; this is the newest, {work.name}; the others: {others}")
        items = session.work.items(work)
        content = render_sweep(SweepReport(work, items))
    _put(target, content, plural(len(items), "trial"))


def _report_pipeline(name: str, target: Path, config: Path | None) -> None:
    with open_session(config=config) as session:
        work = session.work.get("pipeline", name)
        report = PipelineReport(work, session.work.items(work))
        content = render_pipeline(report)
    _put(target, content, plural(len(report.stages), "stage"))


def _put(target: Path, content: str, what: str) -> None:
    """Writes a page where it is wanted."""
    if str(target) == "-":
        sys.stdout.write(content)
        return
    _write(target, content)
    say(f"{target}: {what}, {len(content.encode()) / 1e6:.1f} MB")


def _kind(out: Path | None) -> str:
    """The format that the file's name says."""
    ending = "" if out is None else out.suffix.lstrip(".").lower()
    return next((kind for kind, endings in FORMATS.items() if ending in endings), "html")


def _meant(session: Session, name: str) -> list[Run] | Training:
    """The runs that are meant, or the training where no run is.

    Raises:
        UnknownName: neither is there.
    """
    try:
        return _newest(session, name)
    except UnknownName:
        found = [training for training in session.trainings.all() if training.id.startswith(name)]
        if len(found) != 1:
            raise
        return found[0]


def _newest(session: Session, name: str) -> list[Run]:
    """The run, or the newest of a model on each benchmark; whole ones before limited ones."""
    found: dict[str, Run] = {}
    meant = runs_meant(name, session.store, session.catalog, session.checkpoints)
    for run in sorted(meant, key=lambda run: run.identity["limit"] is not None):
        found.setdefault(run.benchmark, run)
    return list(found.values())


def _scored(session: Session, run: Run, protocol: str | None) -> Run:
    """The run; a complete one without scores, or without those that are asked for, is scored first."""
    stored = session.store.protocols(run)
    if run.status == COMPLETE and (not stored or (protocol is not None and protocol not in stored)):
        session.rescore(run.id, protocol, listener=Terminal())
    return run


def _page(reporter: Reporter, report: Report, data: Path | None, pictures: bool, size: int) -> str:
    def open_task(board: Board) -> Task:
        return reporter.task(board, data)

    room = max(0, size - OWN) // max(1, len(report.boards))
    made = []
    for board in report.boards:
        browser = make_browser(reporter.store, board, open_task if pictures else None, room, advance=_count_pictures())
        for remark in browser.remarks:
            say(f"{board.benchmark}: {remark}")
        made.append(browser)
    return render_page(report, made)


def _count_pictures() -> Callable[[int], None]:
    """Tells now and then how many pictures were read."""
    done, last = 0, time.monotonic()

    def advance(pictures: int) -> None:
        nonlocal done, last
        done += pictures
        if time.monotonic() - last > EVERY:
            last = time.monotonic()
            say(f"{count(done)} pictures read")

    return advance


def _write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); name another file with --out") from error
