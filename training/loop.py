# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""The Hugging Face Trainer, driven: arguments from settings, going on, saving, evaluating, and the finished folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils.logging import disable_progress_bar

from harness import Incomplete, LiveEvaluation
from training.callbacks.evaluating import Evaluation, ask, prepare_evaluation
from training.callbacks.finite import Diverged, Finite
from training.callbacks.preemption import Preemption
from training.callbacks.progress import Progress
from training.callbacks.publishing import Publishing
from training.callbacks.telemetry import Telemetry
from training.job import Job
from training.processes import is_first, shared
from training.recipe import Result
from training.scale import come_together, plainly, scale_arguments
from training.settings import TrainerSettings
from training.tracking import tracked

POINTS = 50
"""Of a curve, unless the settings say otherwise."""


def trainer_arguments(settings: TrainerSettings, folder: Path, device: str = "auto") -> dict[str, Any]:
    """The settings in the words of TrainingArguments and its kin; `device` is the workspace's."""
    return {
        **scale_arguments(settings.scale, device),
        "output_dir": str(folder),
        "max_steps": settings.steps,
        "per_device_train_batch_size": settings.batch,
        "gradient_accumulation_steps": settings.accumulate,
        "learning_rate": settings.learning_rate,
        "lr_scheduler_type": settings.schedule,
        "warmup_steps": settings.warmup,
        "weight_decay": settings.weight_decay,
        "max_grad_norm": settings.clip,
        "remove_unused_columns": False,
        "logging_steps": settings.track.every or max(1, settings.steps // POINTS),
        "logging_nan_inf_filter": False,
        "save_steps": settings.save.every,
        "save_total_limit": settings.save.keep,
        "seed": settings.seed,
        "report_to": "none",  # trackers are told by training.tracking
        "disable_tqdm": True,
    }


def fit(trainer: Trainer, processor: Any, job: Job, finish: Callable[[Trainer, Path], None]) -> Result:
    """Trains, from the newest whole trainer checkpoint if there is one, and leaves the finished checkpoint's folder.

    Args:
        finish: writes the trained model and its processor into a folder.

    Raises:
        Incomplete: the loss ceased to be a number; the last good checkpoint is named.
    """
    settings: TrainerSettings = job.settings
    finished, unfinished, told = (job.folder / name for name in ("checkpoint", "checkpoint.part", "scores.json"))
    if finished.exists():
        return Result(finished, scores=json.loads(told.read_text(encoding="utf-8")))
    disable_progress_bar()  # one bar is enough
    live = _equip(trainer, processor, job)
    folder = Path(str(trainer.args.output_dir))
    newest = shared(lambda: newest_complete(folder)) if settings.save.resume == "auto" else None
    preemption = Preemption(settings.save.grace)
    trainer.add_callback(preemption)

    def learn() -> None:
        try:
            trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
        except Diverged as error:
            raise Incomplete(f"{error}; {_last_good(folder)}") from error
        finally:
            preemption.close()
        come_together(trainer)

    def conclude() -> dict[str, float]:
        if trainer.state.best_model_checkpoint:
            trainer._load_best_model()
        scores = {} if live is None or trainer.model is None else plainly(trainer.model, partial(ask, live, processor))
        values = {name: score.value for name, score in scores.items()}
        shutil.rmtree(unfinished, ignore_errors=True)
        finish(trainer, unfinished)
        told.write_text(json.dumps(values), encoding="utf-8")
        unfinished.rename(finished)
        return values

    with tracked(trainer, job) as tell:
        learn()
        scores = shared(conclude)
        tell(scores)
    return Result(finished, scores=scores)


def _equip(trainer: Trainer, processor: Any, job: Job) -> LiveEvaluation | None:
    settings: TrainerSettings = job.settings
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    live = None
    if settings.evaluate is not None:
        assert trainer.model is not None
        live = prepare_evaluation(settings.evaluate, job.session, trainer.model)
        trainer.add_callback(Evaluation(settings.evaluate, live, trainer, processor))
    trainer.add_callback(Finite())
    trainer.add_callback(Telemetry(trainer, job))
    if is_first():
        trainer.add_callback(Progress(settings.name))
    if settings.save.publish:
        trainer.add_callback(Publishing(job))
    return live


def newest_complete(folder: Path) -> Path | None:
    """The trainer checkpoint with the most steps whose state, which is written last, is whole."""
    found = []
    for path in folder.glob("checkpoint-*"):
        try:
            state = json.loads((path / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(path)
            continue
        found.append((int(state["global_step"]), path))
    return max(found)[1] if found else None


def _last_good(folder: Path) -> str:
    newest = newest_complete(folder)
    return "nothing was saved before" if newest is None else f"the last good checkpoint is {newest}"
