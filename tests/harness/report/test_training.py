"""The trainings behind checkpoints: their curves, what chose the best step, what they started from."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from harness.errors import UnknownName
from harness.report.courses import BUCKETS, Course, Curve, differing, panels, thinned
from harness.session import Session
from harness.trainings import Training
from harness.types import Version

BEST = {"score": "trivia.exact", "higher_is_better": True}
HOSTILE = "<script>document.title = 'broken'</script>"


def version(text: str, digest: str) -> Version:
    name, _, number = text.partition(":v")
    return Version(name, int(number), digest, "model", (), "2026-01-01", 1, {}, ())


def train(
    session: Session,
    id: str,
    curves: Mapping[str, Sequence[tuple[int, float]]],
    *,
    made: str | None = None,
    digest: str = "d" * 64,
    steps: int = 100,
    **facts: Any,
) -> Training:
    """A training with these curves; complete where it `made` a version."""
    store = session.trainings
    training = store.begin(id * 64, name="net", stage="sft", steps=steps, facts=facts)
    for name, points in curves.items():
        for step, value in points:
            store.log(training, step, {name: value})
    if made is not None:
        store.complete(training, version(made, digest))
    return store.get(training.id)


def falling(steps: int = 100) -> dict[str, list[tuple[int, float]]]:
    return {"loss": [(step, 100 / step) for step in range(10, steps + 1, 10)]}


def test_a_long_curve_keeps_its_extremes_and_its_ends() -> None:
    dice = random.Random(0)
    points = [(step, dice.gauss(0, 1)) for step in range(100_000)]
    points[77_777], points[12_345] = (77_777, 50.0), (12_345, -50.0)
    kept = thinned(points)
    assert len(kept) <= 2 * BUCKETS + 2
    assert set(kept) <= set(points)
    assert [step for step, _ in kept] == sorted({step for step, _ in kept})
    assert {points[0], points[-1], points[77_777], points[12_345]} <= set(kept)
    # Whatever part of the drawing one looks at, its least and greatest are there.
    width = len(points) // BUCKETS + 1
    for start in range(0, len(points) - width, width * 7):
        window = [value for _, value in points[start : start + 2 * width]]
        shown = [value for step, value in kept if start <= step < start + 2 * width]
        assert max(shown) >= sorted(window)[-width // 2]
    assert thinned(points[:200]) == tuple(points[:200])


def test_what_is_no_number_is_counted_and_not_drawn() -> None:
    curve = Curve.of("loss", [(1, 2.0), (2, math.nan), (3, 1.0), (4, math.inf)])
    assert curve.points == ((1, 2.0), (3, 1.0))
    assert (curve.logged, curve.odd, curve.odd_from) == (4, 2, 2)
    assert Curve.of("loss", [(1, math.nan)]).points == ()


@pytest.mark.parametrize(("higher", "best"), [(True, (20, 0.5)), (False, (10, 0.2))])
def test_the_best_step_is_the_first_of_the_best(made: Any, higher: bool, best: tuple[int, float]) -> None:
    scores = [(10, 0.2), (20, 0.5), (30, 0.2), (40, 0.5), (50, math.nan)]
    training = train(
        made.session, "a", {"eval_trivia.exact": scores}, best={"score": "trivia.exact", "higher_is_better": higher}
    )
    course = Course.of(made.session.trainings, training, "A")
    assert course.best is not None
    assert (course.best.step, course.best.value) == best
    assert Course.of(made.session.trainings, train(made.session, "b", {}), "B").best is None


def test_a_run_shows_the_training_that_published_its_checkpoint(made: Any, answering: Any) -> None:
    first = made.run("acme-parrot:a", answering(0.4))
    page = made.page(first)
    assert 'id="training"' not in page
    curves = {**falling(), "eval_trivia.exact": [(50, 0.3), (100, 0.2)], "temperature": [(50, 0.5), (100, 0.25)]}
    training = train(made.session, "a", curves, made="net:v3", best=BEST)
    assert first.digest == "d" * 64
    page = made.page(first)
    assert 'href="#training"' in page
    assert "net:v3" in page
    labels = re.findall(r'aria-label="([^"]* by step: [^"]*)"', page)
    assert [label.partition(" ")[0] for label in labels] == ["loss", "eval_trivia.exact", "temperature"]
    assert "A from 10 at step 10 to 1 at step 100" in labels[0]
    assert labels[1].endswith("the best checkpoint is that of step 50")
    assert "trivia.exact was best at step 50: 0.300." in page
    document = json.loads(made.report(first, "--format", "json").stdout)
    (found,) = document["trainings"]
    assert found["training"] == training.id
    assert found["runs"] == {"A": None}
    assert found["best"] == {"score": "trivia.exact", "step": 50, "value": 0.3}
    assert found["curves"]["loss"] == {
        "logged": 10, "not_finite": 0, "points": [[step, 100 / step] for step in range(10, 101, 10)],
    }  # fmt: skip
    text = made.report(first, "--format", "md").stdout
    assert "## Training" in text
    assert "| loss | A | 10 at 10 | 1 at 100 | 1 at 100 | 10 at 10 | 10 |" in text


def test_the_checkpoint_of_a_step_says_that_it_is_not_the_last(made: Any, answering: Any) -> None:
    run = made.run("acme-parrot:a", answering(0.4))
    training = train(made.session, "a", falling())
    made.session.trainings.published(training, version("net-steps:v0", "d" * 64), step=50)
    assert "the checkpoint of A is that of step 50, not the last" in made.page(run)


def test_runs_of_one_checkpoint_share_a_training_and_others_are_laid_over_it(made: Any, answering: Any) -> None:
    runs = [made.run("acme-parrot:a", answering(0.4)), made.run("acme-parrot:b", answering(0.7))]
    train(made.session, "a", falling(), made="net:v0", settings={"seed": 0, "scale": {"workers": 1, "x": 2}})
    train(made.session, "b", falling(50), settings={"seed": 1, "scale": {"workers": 1}}, steps=50)
    document = json.loads(made.report(*runs, "--training", "bbb", "--format", "json").stdout)
    first, second = document["trainings"]
    assert first["runs"] == {"A": None, "B": None}
    assert second["runs"] == {}
    page = made.page(*runs, "--training", "bbb")
    assert re.search(r'aria-label="loss by step: A from [^"]*; C from 10 at step 10 to 2 at step 50', page)
    courses = [
        Course.of(made.session.trainings, made.session.trainings.get(name), letter) for name, letter in ("aA", "bB")
    ]
    assert differing(courses) == {"scale.x": [2, None], "seed": [0, 1]}


def test_a_training_alone_is_a_page(made: Any) -> None:
    train(made.session, "a", falling())
    train(made.session, "b", {})
    by_option, by_name = made.page("--training", "aa"), made.page("aa")
    assert by_option == by_name
    assert "<title>Training of net</title>" in by_name
    assert "The loss went from 10.00 to 1.00 in 100 steps." in by_name
    assert "goes on as this page is written, or its machine is gone" in by_name
    assert "Nothing was logged." in made.page("bb")
    with pytest.raises(UnknownName, match="unknown run 'cc'"):
        made.report("cc")
    with pytest.raises(UnknownName, match="unknown training 'cc'"):
        made.report("--training", "cc")


def test_what_it_started_from_is_shown_back_to_what_was_not_trained_here(made: Any) -> None:
    train(made.session, "a", falling(), made="base:v0", digest="1" * 32, parents={"org/encoder@abc": "9" * 40})
    train(made.session, "b", falling(), made="mid:v0", digest="2" * 32, parents={"base:v0": "1" * 32})
    train(made.session, "c", falling(), parents={"mid:v0": "2" * 32})
    course = Course.of(made.session.trainings, made.session.trainings.get("c"), "A")
    assert [(name, found and found.training.id[0]) for name, found in course.ancestors()] == [
        ("mid:v0", "b"), ("base:v0", "a"), ("org/encoder@abc", None),
    ]  # fmt: skip
    page = made.page("cc")
    assert page.count('aria-label="loss by step') == 3
    assert "org/encoder@abc</bdi> <small>not trained in this workspace" in page
    assert "mid\\:v0, base\\:v0, org/encoder@abc" in made.report("cc", "--format", "md").stdout


def test_curves_are_grouped_by_what_they_tell_of_and_all_are_drawn(made: Any) -> None:
    names = ["loss", "grad_norm", "rewards/margins", "token_budget", "eval_trivia.exact", "eval_trivia.coverage",
             "eval_other.accuracy", "eval_runtime", "steps_per_second", "peak_rss_bytes", "learning_rate"]  # fmt: skip
    training = train(made.session, "a", {name: [(1, 1.0), (2, 2e9)] for name in names}, best=BEST)
    course = Course.of(made.session.trainings, training, "A")
    found = {group: [panel.name for panel in some] for group, some in panels([course]).items()}
    assert found == {
        "Learning": ["loss", "learning_rate", "grad_norm"],
        "Evaluation": ["eval_trivia.exact", "eval_other.accuracy", "eval_trivia.coverage"],
        "Also measured": ["rewards/margins", "token_budget"],
        "Speed and memory": ["eval_runtime", "peak_rss_bytes", "steps_per_second"],
    }
    (memory,) = [panel for panel in panels([course])["Speed and memory"] if panel.name == "peak_rss_bytes"]
    assert memory.unit == (1e-9, "GB")
    assert memory.values == [1e-9, 2.0]


def test_no_name_or_reason_breaks_out_of_the_page(made: Any) -> None:
    training = train(made.session, "a", {HOSTILE: [(1, 1.0), (2, 2.0)]}, settings={HOSTILE: HOSTILE})
    made.session.trainings.stop(training, "failed", HOSTILE)
    page = made.page("aa")
    assert "<script>document.title" not in page
    assert "failed after step 2" in page
