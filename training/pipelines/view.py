"""What is shown of a pipeline while it is carried out."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich import box
from rich.console import Console, Group
from rich.live import Live as RichLive
from rich.table import Table
from rich.text import Text

from training.jobs.task import tail
from training.pipelines import progress
from training.pipelines.progress import GOOD, Progress
from training.pipelines.running import Watcher

EVERY_SECONDS: Final = 60.0
"""Between two lines about the same stage where there is no terminal."""
SIGNS: Final = {
    progress.WAITING: ("·", "dim"),
    progress.RUNNING: ("▶", "cyan"),
    progress.AWAITED: ("◌", "cyan"),
    progress.REUSED: ("↻", "green"),
    progress.DONE: ("✓", "green"),
    progress.GATE_FAILED: ("✗", "red"),
    progress.INCOMPLETE: ("?", "yellow"),
    progress.FAILED: ("✗", "red"),
    progress.STOPPED: ("–", "dim"),
    progress.INTERRUPTED: ("‖", "yellow"),
    progress.LEFT_OUT: (" ", "dim"),
}


class Lines(Watcher):
    """A line for what changes, and one now and then for what goes on."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._stages: Mapping[str, Progress] = {}
        self._told: dict[str, float] = {}

    @contextmanager
    def watching(self, stages: Mapping[str, Progress]) -> Iterator[None]:
        """The block lasts as long as the pipeline goes on."""
        self._stages = stages
        yield

    def changed(self, stage: Progress) -> None:
        """See `Watcher`."""
        self._told[stage.name] = time.monotonic()
        for line in told(stage):
            self._say(line)

    def tick(self) -> None:
        """See `Watcher`."""
        now = time.monotonic()
        for stage in self._stages.values():
            if stage.state == progress.RUNNING and now - self._told.get(stage.name, now) > EVERY_SECONDS:
                self._told[stage.name] = now
                self._say(f"{stage.name}: {duration(stage.seconds)}: {stage.line()}")


class Live(Watcher):
    """A table that is drawn anew; what failed stays above it."""

    def __init__(self, console: Console) -> None:
        self._live = RichLive(console=console, auto_refresh=False, transient=True)
        self._stages: Mapping[str, Progress] = {}
        self._drawn = 0.0

    @contextmanager
    def watching(self, stages: Mapping[str, Progress]) -> Iterator[None]:
        """The block lasts as long as the pipeline goes on."""
        self._stages = stages
        with self._live:
            yield

    def changed(self, stage: Progress) -> None:
        """See `Watcher`."""
        if stage.state in progress.CODES:
            self._live.console.print(Group(*(Text(line) for line in told(stage))))
        self._draw()

    def tick(self) -> None:
        """See `Watcher`."""
        if time.monotonic() - self._drawn > 0.5:
            self._draw()

    def _draw(self) -> None:
        self._drawn = time.monotonic()
        self._live.update(table(self._stages), refresh=True)


def told(stage: Progress) -> list[str]:
    """What is said when a stage is in another state; of a failure with the end of its log."""
    if stage.state in GOOD:
        took = "" if stage.seconds is None else f" in {duration(stage.seconds)}"
        said = "reused (nothing changed)" if stage.state == progress.REUSED else f"done{took}"
        if stage.state == progress.REUSED and stage.why != "nothing changed":
            said = f"reused ({stage.why})"
        return [": ".join(filter(None, (stage.name, said, stage.line())))]
    lines = [f"{stage.name}: {stage.state}" + (f": {stage.why}" if stage.why else "")]
    if stage.state in progress.CODES and stage.log is not None:
        lines += [f"  │ {line}" for line in tail(stage.log) if not stage.result]  # what it said is told already
        lines.append(f"  its whole output is in {stage.log}")
    return lines


def table(stages: Mapping[str, Progress]) -> Table:
    """The stages as they are."""
    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, header_style="dim", expand=True)
    drawn.add_column("stage", no_wrap=True)
    drawn.add_column("state", no_wrap=True)
    drawn.add_column("time", justify="right", no_wrap=True)
    drawn.add_column("", no_wrap=True, ratio=1, overflow="ellipsis")
    for stage in stages.values():
        drawn.add_row(Text(stage.name), marked(stage.state), duration(stage.seconds), Text(stage.line()))
    return drawn


def marked(state: str) -> Text:
    """A state with its mark, in its colour."""
    sign, style = SIGNS[state]
    return Text(f"{sign} {state}", style=style)


def duration(seconds: float | None) -> str:
    """A time as people say it: 12.3 s, 4 min 05 s, 2 h 07 min."""
    if seconds is None:
        return ""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
