"""What a report says first, in sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from harness.difference import Difference
from harness.report.content import Board, Duel, Report, ScoredRun
from harness.report.courses import Course
from harness.report.text import count, interval, number, p_value, percent, plural, signed, span
from harness.stats import CONFIDENCE
from harness.store import COMPLETE
from harness.trainings import FAILED, INTERRUPTED, RUNNING
from harness.types import Json

PICTURES = {"none": "was shown no pictures", "shuffled": "was shown other samples' pictures"}


def title(report: Report) -> str:
    """What the report is about."""
    if not report.runs:
        trained = list(dict.fromkeys(course.training.name for course in report.courses))
        many = plural(len(report.courses), "training")
        return f"Training of {trained[0]}" if len(report.courses) == 1 else f"{many} of {', '.join(trained)}"
    benchmarks = list(dict.fromkeys(board.benchmark for board in report.boards))
    models = {(item.run.model, item.run.version, item.run.digest): None for item in report.runs}
    refs = [model for model, _, _ in models]
    names = [model if refs.count(model) == 1 or not version else f"{model} {version}" for model, version, _ in models]
    where = benchmarks[0] if len(benchmarks) == 1 else plural(len(benchmarks), "benchmark")
    if len(names) == 1:
        return f"{names[0]} on {where}"
    if len(names) == 2:
        return f"{names[1]} against {names[0]} on {where}"
    return f"{plural(len(names), 'model')} on {where}"


def headline(board: Board) -> str:
    """The main finding of a board."""
    main = board.main
    if main is None:
        return "There are no scores yet."
    if len(board.runs) == 2 and board.duels:
        duel = board.duels[0]
        difference = None if duel.comparison is None else duel.comparison.scores.get(main)
        if difference is not None:
            return _compared(duel, main, difference)
    found = [(item, score) for item in board.runs if (score := item.document["scores"].get(main)) is not None]
    if len(found) == 1:
        return f"{main} {_measured(found[0][1])}."
    if board.rises(main) is None and main in board.infos:
        return f"{plural(len(found), 'run')} side by side."
    pick = min if board.rises(main) is False else max
    item, score = pick(found, key=lambda pair: float(pair[1]["value"]))
    word = "lowest" if pick is min else "highest"
    return f"The {word} {main} of {plural(len(found), 'run')} is {item.letter}'s, {_measured(score)}."


def judged(item: Difference) -> str:
    """What the second run is beside the first: "better", "worse", "higher", "lower", "equal".

    "unclear" where chance may well have done it: where p, corrected, is over 0.05, or there is no test.
    """
    if item.paired.difference == 0:
        return "equal"
    if item.p_holm is None or item.p_holm > 1 - CONFIDENCE:
        return "unclear"
    return item.direction or ("higher" if item.paired.difference > 0 else "lower")


def warnings(board: Board, item: ScoredRun) -> list[str]:
    """What a reader of a run's figures must know."""
    document = item.document
    found = []
    if document["status"] != COMPLETE:
        found.append(f"is not complete: {document['status']}")
    if document["limit"] is not None:
        found.append(f"answered only the first {plural(document['limit'], 'sample')} of the benchmark")
    for kind, failures in document["failures"].items():
        example = document["failure_examples"][kind]
        found.append(f"{count(failures)} of {plural(document['n'], 'sample')} failed ({kind}), such as: {example}")
    found += [f"no {name}: {reason}" for name, reason in document["unscored"].items()]
    if not document["scores"] and not document["unscored"]:
        found.append("has no scores; `harness score` makes them")
    if item.shown in PICTURES:
        found.append(PICTURES[item.shown])
    return found


def state(item: ScoredRun) -> str:
    """A run's state in a word: "complete", "limited", "incomplete" or "running"."""
    document = item.document
    if document["status"] != COMPLETE:
        return str(document["status"])
    if document["coverage"] < 1 or document["unscored"]:
        return "incomplete"
    return "limited" if document["limit"] is not None else "complete"


def covered(item: ScoredRun) -> str:
    """How many of its samples a run has answered."""
    return f"{percent(item.document['coverage'])} of {count(item.document['n'])}"


def course_headline(courses: Sequence[Course]) -> str:
    """What is to be said first of trainings: where each was best, or how far its loss fell."""
    scores = {course.best.score for course in courses if course.best is not None}
    if len(courses) > 1 and len(scores) != 1:
        return f"{plural(len(courses), 'training')} side by side."
    found = [(course, course.best) for course in courses if course.best is not None]
    if len(courses) > 1:
        figures = [f"{course.letter}'s {number(best.value)} at step {count(best.step)}" for course, best in found]
        return f"The best {next(iter(scores))} of each: {', '.join(figures)}."
    if found:
        best = found[0][1]
        return f"{best.score} was best at step {count(best.step)}: {number(best.value)}."
    loss = courses[0].curves.get("loss")
    if loss is None or not loss.points:
        return "No loss was logged."
    (_, begin), (last, end) = loss.points[0], loss.points[-1]
    return f"The loss went from {number(begin, end)} to {number(end, begin)} in {plural(last, 'step')}."


def told(course: Course) -> list[str]:
    """What a reader of a training's curves must know."""
    training, found = course.training, []
    if training.status == RUNNING:
        heard = "" if training.heard is None else f"; last heard of at {training.heard[:16].replace('T', ' ')} UTC"
        found.append(f"goes on as this page is written, or its machine is gone{heard}")
    if training.status in (FAILED, INTERRUPTED):
        found.append(f"{training.status} after step {count(training.step)}: {training.reason or 'nothing says why'}")
    for name, curve in course.curves.items():
        if curve.odd:
            found.append(f"{name} was no finite number at {plural(curve.odd, 'point')} from step {curve.odd_from} on")
    for letter, step in course.runs.items():
        if step is not None:
            found.append(f"the checkpoint of {letter} is that of step {count(step)}, not the last")
    return found


def _measured(score: Mapping[str, Json]) -> str:
    where = f"{plural(score['n'], 'sample')} in {plural(score['clusters'], 'cluster')}"
    bounds = "" if score["low"] is None else f" (95% interval {interval(score)})"
    return f"{number(score['value'])}{bounds} on {where}"


def _compared(duel: Duel, main: str, item: Difference) -> str:
    found, bounds = item.paired, item.interval()
    parts = [plural(found.n, "sample")]
    if bounds is not None:
        parts.insert(0, f"95% interval {span(bounds)}")
    if item.p_holm is not None:
        parts.insert(1, f"p\u00a0{'<' if item.p_holm < 0.001 else '='}\u00a0{p_value(item.p_holm).lstrip('<')}")
    figures = f"{signed(found.difference)} ({', '.join(parts)})"
    how = judged(item)
    if how == "equal":
        return f"{duel.second}'s {main} is {duel.first}'s: {number(found.b)} on {plural(found.n, 'sample')}."
    if how == "unclear":
        return f"{duel.second}'s {main} does not differ clearly from {duel.first}'s: {figures}."
    return f"{duel.second}'s {main} is {how} than {duel.first}'s: {figures}."
