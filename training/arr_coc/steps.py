"""How ARR-COC's steps are made: budgets, gates and their temperature, rates; functions of the step alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from arr_coc_model import Gating

if TYPE_CHECKING:
    from training.stages.arr_coc import ArrCocStage


@dataclass(frozen=True, slots=True)
class Step:
    """How one step is made.

    Attributes:
        pictures: of each device's batch that are used.
        budget: visual tokens; None where it only aligns patches with words.
        gating: of a soft step.
        distilled: whether the model is also taught by its own pass with all tokens.
        measured: whether gains are also held against measured drops of the loss.
    """

    pictures: int
    budget: int | None
    gating: Gating | None
    distilled: bool = False
    measured: bool = False


def plan_step(settings: ArrCocStage, step: int) -> Step:
    """The step's budget and gates: a function of seed and step alone, so that resuming changes nothing."""
    if settings.alignment is not None and step < settings.alignment.first:
        return Step(settings.batch, None, None)
    random = np.random.default_rng((settings.seed, step))
    router, done = settings.router, step / settings.steps
    soft = done >= router.start and step % router.every == 0
    budgets = router.budgets if soft else settings.budgets
    budget = round(math.exp(random.uniform(math.log(budgets.low), math.log(budgets.high))))
    distilled = settings.distill is not None and step % settings.distill.every == 0
    measured = settings.gains is not None and done >= router.start and step % settings.gains.every == 0
    if not soft:
        return Step(settings.batch, budget, None, distilled, measured)
    share = (done - router.start) / (1 - router.start)
    temperature = router.hot * (router.cold / router.hot) ** share
    gating = Gating(temperature=temperature, hard=done >= router.hard, floor=router.floor)
    return Step(min(router.pictures, settings.batch), budget, gating, distilled, measured)


def learning_rate(settings: ArrCocStage, step: int) -> float:
    """The rate as a share of the highest: a warm-up and a cosine down to a twentieth, in each of the two phases.

    The language model joins when alignment is done, and needs its high rates then.
    """
    first = 0 if settings.alignment is None else min(settings.alignment.first, settings.steps)
    begin, end = (0, first) if step < first else (first, settings.steps)
    done = (step - begin) / max(1, end - begin)
    return min(1.0, (step - begin + 1) / max(1, settings.warmup)) * (0.05 + 0.475 * (1 + math.cos(math.pi * done)))
