"""A pipeline as one HTML page: a picture of its stages with states and times, and what each made."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from itertools import pairwise
from typing import Final, TypeAlias

from harness.processes import is_gone
from harness.report import charts
from harness.report.page import SCRIPTS, STYLE, content_policy, environment, static
from harness.report.text import DASH, plural
from harness.types import Json
from harness.work import RUNNING, Work, WorkItem

SHOWN: Final = 10
"""Earlier times that are listed."""
WIDE, HIGH, ACROSS, DOWN, EDGE = 166.0, 66.0, 23.0, 20.0, 4.0
"""Of the picture: a stage's box, the room between boxes, and the room around all."""
SWEEPS: Final = 4
"""Passes in which stages are put near what they depend on."""
GOOD: Final = ("done", "reused")
BAD: Final = ("failed", "gate failed")
ENDED_BADLY: Final = (BAD, ("incomplete",))
"""The first of these says how a pipeline stands."""
SAID: Final = {"gate failed": "did not let the model pass", "incomplete": "is incomplete"}
MARKS: Final = {
    "done": "✓", "reused": "↻", "failed": "✗", "gate failed": "✗", "incomplete": "?", "interrupted": "‖",
    "running": "▶", "awaited": "▶",
}  # fmt: skip


Node: TypeAlias = tuple[str, str, int]
"""A stage, "" and its level; or the ends of a line and a level that it passes."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a stage stands, or where a line from it passes a level on its way to another stage."""

    name: str
    to: str
    level: int
    row: float

    @property
    def corner(self) -> tuple[float, float]:
        """The upper left corner of its box."""
        return EDGE + self.level * (WIDE + ACROSS), EDGE + self.row * (HIGH + DOWN)


@dataclass(frozen=True, slots=True)
class Box:
    """A stage in the picture: its upper left corner."""

    stage: Mapping[str, Json]
    x: float
    y: float


class PipelineReport:
    """What the page shows.

    Args:
        items: the work's: one for each time that it was carried out. Their `note`, or `result` at the end, holds
            `stages`: mappings with stage, kind, depends_on, state, why, began, ended, seconds, tries, log, said,
            outputs and scores.

    Attributes:
        run: the newest time that it was carried out; None where there is none.
    """

    def __init__(self, work: Work, items: Sequence[WorkItem]) -> None:
        self.work = work
        self.runs = list(reversed(items))
        self.run = next((item for item in self.runs if stages_of(item)), None)

    @property
    def stages(self) -> Sequence[Mapping[str, Json]]:
        return stages_of(self.run) if self.run is not None else []

    @property
    def headline(self) -> str:
        """How it stands, in a sentence."""
        bad = [stage for state in ENDED_BADLY for stage in self.stages if stage["state"] in state]
        if self.run is not None and self.run.status == RUNNING and is_gone(self.run.process or ""):
            return "Its command was killed; the same command goes on, and stages may be at work meanwhile"
        if bad:
            first = bad[0]
            resting = _resting_on(first["stage"], self._graph)
            left = sum(stage["state"] == "stopped" for stage in self.stages if stage["stage"] in resting)
            what = SAID.get(first["state"], first["state"])
            after = f"; {plural(left, 'stage')} that {'rests' if left == 1 else 'rest'} on it: not carried out"
            return f"{first['stage']} {what}: {first['why']}" + (after if left else "")
        good = [stage for stage in self.stages if stage["state"] in GOOD]
        reused = sum(stage["state"] == "reused" for stage in good)
        if len(good) < len(self.stages):
            return f"{len(good)} of {plural(len(self.stages), 'stage')} are done"
        if reused == len(good):
            return f"All {plural(len(good), 'stage')} were used again: nothing had changed"
        return f"All {plural(len(good), 'stage')} are done" + (f"; {reused} were used again" if reused else "")

    @cached_property
    def boxes(self) -> dict[str, Box]:
        """Stage -> its box."""
        named = {stage["stage"]: stage for stage in self.stages}
        return {place.name: Box(named[place.name], *place.corner) for place in self._places if not place.to}

    @property
    def edges(self) -> Iterator[tuple[str, str, str]]:
        """From which stage to which, and the line's path."""
        for before, name in _needed(self._graph):
            x, y = self.boxes[before].x + WIDE, self.boxes[before].y + HIGH / 2
            path = f"M{x:g} {y:g}"
            for place in self._places:
                if (place.name, place.to) == (before, name):
                    left, top = place.corner
                    path += f"{_curve(x, y, left, top + HIGH / 2)}H{left + WIDE:g}"
                    x, y = left + WIDE, top + HIGH / 2
            yield before, name, path + _curve(x, y, self.boxes[name].x, self.boxes[name].y + HIGH / 2)

    @property
    def _graph(self) -> dict[str, Sequence[str]]:
        return {stage["stage"]: stage["depends_on"] for stage in self.stages}

    @cached_property
    def _places(self) -> list[Place]:
        return sorted(_places(self._graph), key=lambda place: place.level)

    @property
    def size(self) -> tuple[float, float]:
        """The picture's width and height."""
        boxes = self.boxes.values()
        return max(box.x for box in boxes) + WIDE + EDGE, max(box.y for box in boxes) + HIGH + EDGE

    @property
    def timed(self) -> list[tuple[Mapping[str, Json], float, float]]:
        """Stages with how many seconds after the first they began, and how long they took; those used again from 0."""
        begun = [stage["began"] for stage in self.stages if stage["began"] and stage["state"] != "reused"]
        first = min(begun, default=0.0)
        return [
            (stage, 0.0 if stage["state"] == "reused" else stage["began"] - first, stage["seconds"])
            for stage in self.stages
            if stage["began"] is not None and stage["seconds"] is not None
        ]

    def scale(self, start: float, length: float) -> charts.Scale:
        """The axis of times."""
        last = max((began + took for _, began, took in self.timed), default=1.0)
        return charts.Scale(0.0, last or 1.0, start, length)

    @property
    def earlier(self) -> list[tuple[WorkItem, str]]:
        """Earlier times that it was carried out, with how they ended."""
        others = [item for item in self.runs if item is not self.run]
        return [(item, _ended(item)) for item in others[:SHOWN]]


def stages_of(item: WorkItem) -> Sequence[Mapping[str, Json]]:
    """The stages as that time left them, or as they are."""
    found: Sequence[Mapping[str, Json]] = (item.result or item.note or {}).get("stages", [])
    return found


def render_pipeline(report: PipelineReport) -> str:
    """The page."""
    style, script = static(STYLE), static(SCRIPTS[0])
    return environment().get_template("pipeline.html.j2").render(
        report=report, style=style, script=script, policy=content_policy([style], [script]), took=took, clock=clock,
        badge=badge, marks=MARKS, box=(WIDE, HIGH), cut=cut,
    )  # fmt: skip


def took(seconds: float | None) -> str:
    """A time as people say it."""
    if seconds is None:
        return DASH
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def clock(moment: float | None) -> str:
    """Seconds since the epoch as the page's other times are said."""
    return DASH if moment is None else datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def badge(state: str) -> str:
    """The style of a state."""
    if state in GOOD:
        return "complete"
    if state in BAD:
        return "fail"
    return "incomplete" if state in ("incomplete", "interrupted", "running", "awaited") else "other"


def cut(text: str, length: int) -> str:
    """A text that fits into a box."""
    return text if len(text) <= length else text[: length - 1] + "…"


def _ended(item: WorkItem) -> str:
    counts: dict[str, int] = {}
    for stage in stages_of(item):
        counts[stage["state"]] = counts.get(stage["state"], 0) + 1
    said = ", ".join(f"{number} {state}" for state, number in counts.items())
    return f"{said} ({item.reason})" if item.reason else said


def _curve(x: float, y: float, to_x: float, to_y: float) -> str:
    middle = (x + to_x) / 2
    return f"C{middle:g} {y:g} {middle:g} {to_y:g} {to_x:g} {to_y:g}"


def _resting_on(name: str, graph: Mapping[str, Sequence[str]]) -> set[str]:
    """What depends on a stage by any way, and the stage."""
    found = {name}
    while more := {other for other, before in graph.items() if other not in found and not found.isdisjoint(before)}:
        found |= more
    return found


def _needed(graph: Mapping[str, Sequence[str]]) -> list[tuple[str, str]]:
    """The lines that say all: those between stages that no other way connects."""
    above: dict[str, set[str]] = {}

    def all_before(name: str) -> set[str]:
        if name not in above:
            above[name] = set(graph[name]).union(*map(all_before, graph[name]))
        return above[name]

    return [
        (before, name)
        for name, direct in graph.items()
        for before in direct
        if not any(before in all_before(other) for other in direct if other != before)
    ]


def _places(graph: Mapping[str, Sequence[str]]) -> list[Place]:
    """Where stages stand, and where lines pass levels between them.

    Layers by the longest way, and in them rows near what they are connected with (Sugiyama et al. 1981).
    """
    level: dict[str, int] = {}

    def depth(name: str) -> int:
        if name not in level:
            level[name] = max((depth(other) + 1 for other in graph[name]), default=0)
        return level[name]

    layers: list[list[Node]] = [[] for _ in range(max(map(depth, graph), default=-1) + 1)]
    for name in graph:
        layers[level[name]].append((name, "", level[name]))
    beside: dict[Node, list[Node]] = {}
    for before, name in _needed(graph):
        way: list[Node] = [(before, "", level[before])]
        for between in range(level[before] + 1, level[name]):
            way.append((before, name, between))
            layers[between].append(way[-1])
        way.append((name, "", level[name]))
        for one, other in pairwise(way):
            beside.setdefault(one, []).append(other)
            beside.setdefault(other, []).append(one)
    return [Place(*node, row) for node, row in _rows(layers, beside).items()]


def _rows(layers: Sequence[list[Node]], beside: Mapping[Node, Sequence[Node]]) -> dict[Node, float]:
    """The row of each node: layers are centred, and swept forwards and backwards to come near their neighbours."""
    tall = max(map(len, layers), default=0)
    row = {node: (tall - len(layer)) / 2 + place for layer in layers for place, node in enumerate(layer)}
    for sweep in range(SWEEPS):
        forwards = sweep % 2 == 0
        for layer in layers if forwards else reversed(layers):
            wanted = dict(row)
            for node in layer:
                near = [row[other] for other in beside.get(node, ()) if (other[2] < node[2]) == forwards]
                wanted[node] = sum(near) / len(near) if near else row[node]
            layer.sort(key=wanted.__getitem__)
            for place, node in enumerate(layer):
                row[node] = (tall - len(layer)) / 2 + place
    return row
