"""How far an evaluation is, on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from harness.cli.output import say
from harness.plan import Plan
from harness.session import Listener

EVERY = 10.0
"""Seconds between two lines of progress where there is no terminal."""


class Terminal(Listener):
    """Progress on stderr: a bar on a terminal, a line now and then elsewhere."""

    def say(self, text: str) -> None:
        say(text)

    @contextmanager
    def run(self, plan: Plan, done: int) -> Iterator[Listener]:
        title = f"{plan.model.text} on {plan.task.name}"
        if done:
            say(f"{title}: going on after {done} of {plan.n} samples")
        if not sys.stderr.isatty():
            yield _Lines(title, plan.n, done)
            return
        from rich import progress
        from rich.console import Console

        with progress.Progress(
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=None),
            progress.MofNCompleteColumn(),
            progress.TextColumn("{task.fields[rate]}"),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        ) as bar:
            yield _Bar(bar, bar.add_task(title, total=plan.n, completed=done, rate=""))


class _Bar(Listener):
    def __init__(self, bar: Any, task: Any) -> None:
        self._bar, self._task = bar, task
        self._begin, self._since = time.monotonic(), 0

    def advance(self, samples: int) -> None:
        self._since += samples
        rate = f"{self._since / (time.monotonic() - self._begin):.0f}/s"
        self._bar.update(self._task, advance=samples, rate=rate)


class _Lines(Listener):
    def __init__(self, title: str, total: int, done: int) -> None:
        self._title, self._total, self._done = title, total, done
        self._begin = self._last = time.monotonic()
        self._since = 0

    def advance(self, samples: int) -> None:
        self._done += samples
        self._since += samples
        now = time.monotonic()
        if now - self._last < EVERY and self._done < self._total:
            return
        self._last = now
        rate = self._since / (now - self._begin)
        left = (self._total - self._done) / rate
        say(f"{self._title}: {self._done} of {self._total} samples, {rate:.0f}/s, {left:.0f} s left")
