"""The finished checkpoint: the folder that `from_pretrained` loads, its card, and what was measured of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from transformers import Trainer

from harness import Score, StoreError
from training.callbacks.publishing import facts
from training.card import licence, write_card
from training.failures import reason
from training.job import Job
from training.recipe import Result, documents


def finished(job: Job) -> Result | None:
    """What an earlier attempt finished but did not publish, where it was evaluated as it would be now."""
    folder = job.folder / "checkpoint"
    if not folder.exists():
        return None
    told = json.loads((job.folder / "result.json").read_text(encoding="utf-8"))
    if told["evaluate"] != _evaluate(job):
        return None
    scores = {name: Score(**score) for name, score in told["scores"].items()}
    return Result(folder, scores=scores, facts=told["facts"])


def export(
    trainer: Trainer, job: Job, finish: Callable[[Trainer, Path], None], step: int, scores: Mapping[str, Score]
) -> Result:
    """Writes the finished checkpoint, which is there whole or not at all.

    Args:
        finish: writes the trained model and its processor into a folder.
        step: after which the model was as it is.
        scores: of the model, `benchmark.metric` -> score.

    Raises:
        StoreError: it cannot be written.
    """
    folder, part = job.folder / "checkpoint", job.folder / "checkpoint.part"
    known = {**facts(trainer.state), "steps": trainer.state.max_steps, "step": step, "license": licence(job)}
    known.pop("scores")
    told: dict[str, Any] = {"facts": known, "scores": documents(scores), "evaluate": _evaluate(job)}
    shutil.rmtree(part, ignore_errors=True)
    try:
        finish(trainer, part)
        write_card(part, job, scores, known)
        (job.folder / "result.json").write_text(json.dumps(told), encoding="utf-8")
        shutil.rmtree(folder, ignore_errors=True)  # the same model, with other scores
        part.rename(folder)
    except (OSError, RuntimeError, SafetensorError) as error:  # torch's and safetensors' own, where a disk is full
        shutil.rmtree(part, ignore_errors=True)
        raise StoreError(
            f"{folder}: the finished checkpoint cannot be written ({reason(error)}); free some space and run the same "
            "command again: it goes on from the last step"
        ) from error
    return Result(folder, scores=scores, facts=known)


def _evaluate(job: Job) -> Any:
    evaluate = job.settings.evaluate
    return None if evaluate is None else evaluate.model_dump(mode="json")
