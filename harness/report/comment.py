"""A report as Markdown: what fits into a pull request's comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.report.content import Board, Duel, Report, ScoredRun
from harness.report.courses import Course, panels
from harness.report.markdown import escape, table
from harness.report.summary import course_headline, covered, headline, judged, state, title, told, warnings
from harness.report.text import DASH, count, interval, number, p_value, quantity, signed, span
from harness.report.verdict import markdown
from harness.types import Json


def render_markdown(report: Report) -> str:
    """The report without its samples."""
    parts = [f"# {escape(title(report))}"]
    parts += [markdown(verdict).strip() for verdict in report.verdicts]
    for board in report.boards:
        parts += _board(board)
    if report.courses:
        parts += _training(report.courses)
    return "\n\n".join(parts) + "\n"


def _board(board: Board) -> list[str]:
    about = board.runs[0].document["benchmark"]
    data = f"Data {escape(str(about['data']))} (`{board.data_digest[:12]}`)"
    parts = [
        f"## {escape(board.benchmark)}",
        escape(headline(board)),
        f"{data}, prompts {escape(about['profile'])}, scoring rules {escape(board.protocol or DASH)}.",
        _runs(board),
    ]
    remarks = [f"- {item.letter}: {escape(warning)}" for item in board.runs for warning in warnings(board, item)]
    if remarks:
        parts.append("\n".join(remarks))
    if board.scores:
        parts += ["### Scores", _scores(board)]
    for duel in board.duels:
        parts += [f"### {duel.second} less {duel.first}", _differences(board, duel)]
    return parts + _breakdowns(board)


def _runs(board: Board) -> str:
    rows = [
        (item.letter, escape(_model(item)), state(item), covered(item),
         number(item.document["usage"]["visual_tokens_mean"]), f"`{item.run.id}`")
        for item in board.runs
    ]  # fmt: skip
    return table(("", "model", "state", ">answered", ">visual tokens", "run"), rows)


def _model(item: ScoredRun) -> str:
    model = item.document["model"]
    return " ".join(filter(None, [model["ref"], model["version"]]))


def _scores(board: Board) -> str:
    rows = [
        (escape(name), item.letter, *_figures(score), escape(score.get("note", "")))
        for name in board.scores
        for item in board.runs
        if (score := board.score(item.letter, name)) is not None
    ]
    return table(("score", "run", ">value", ">95% interval", ">n", ">clusters", "note"), rows)


def _figures(score: Mapping[str, Json]) -> tuple[str, str, str, str]:
    return number(score["value"]), interval(score), count(score["n"]), count(score["clusters"])


def _differences(board: Board, duel: Duel) -> str:
    if duel.comparison is None:
        return f"Not compared: {escape(duel.reason)}"
    rows = []
    for name, item in duel.comparison.scores.items():
        found = item.paired
        changed = DASH if item.flips is None else f"{count(item.flips.better)} / {count(item.flips.worse)}"
        p = p_value(item.p_holm).replace("<", "&lt;")
        rows.append(
            (escape(name), signed(found.difference), span(item.interval()), p, changed, count(found.n), judged(item))
        )
    columns = ("score", ">difference", ">95% interval", ">p", ">better / worse", ">n", f"{duel.second} is")
    return table(columns, rows)


def _breakdowns(board: Board) -> list[str]:
    """The main figure by kind of sample."""
    if board.main is None:
        return []
    rows = [
        (escape(breakdown), escape(key), item.letter, *_figures(part))
        for item in board.runs
        for breakdown, parts in (board.score(item.letter, board.main) or {}).get("by", {}).items()
        for key, part in parts.items()
    ]
    rows.sort(key=lambda row: row[:2])
    columns = ("breakdown", "kind", "run", ">value", ">95% interval", ">n", ">clusters")
    return [f"### {escape(board.main)} by kind of sample", table(columns, rows)] if rows else []


def _training(courses: Sequence[Course]) -> list[str]:
    """How checkpoints were trained: the ends and extremes of each curve."""
    rows = [
        (course.letter, escape(course.training.version or course.training.name), escape(course.training.stage),
         course.training.status, f"{count(course.training.step)} of {count(course.training.steps)}", _best(course),
         ", ".join(escape(name) for name, _ in course.ancestors()) or DASH, f"`{course.training.id[:12]}`")
        for course in courses
    ]  # fmt: skip
    parts = [
        "## Training",
        escape(course_headline(courses)),
        table(("", "made", "stage", "state", ">steps", "best", "started from", "training"), rows),
    ]
    remarks = [f"- {course.letter}: {escape(remark)}" for course in courses for remark in told(course)]
    if remarks:
        parts.append("\n".join(remarks))
    curves = [
        (escape(panel.name), course.letter, *(_point(point) for point in (curve.points[0], curve.points[-1])),
         *(_point(point) for point in (curve.least, curve.greatest)), count(curve.logged))
        for found in panels(courses).values()
        for panel in found
        for course, curve in panel.lines
    ]  # fmt: skip
    if curves:
        parts.append(table(("curve", "training", ">first", ">last", ">least", ">greatest", ">points"), curves))
    return parts


def _best(course: Course) -> str:
    best = course.best
    return DASH if best is None else f"{escape(best.score)} {quantity(best.value)} at {count(best.step)}"


def _point(point: tuple[int, float]) -> str:
    return f"{quantity(point[1])} at {count(point[0])}"
