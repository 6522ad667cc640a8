# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""The Hugging Face Trainer, driven: arguments from settings, going on, saving, evaluating, and the finished folder."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from transformers import Trainer
from transformers.trainer_callback import PrinterCallback, ProgressCallback
from transformers.utils.logging import disable_progress_bar

from harness import Incomplete, LiveEvaluation
from training.callbacks.evaluating import Evaluation, ask, prepare_evaluation
from training.callbacks.finite import Finite
from training.callbacks.preemption import Preemption
from training.callbacks.progress import Progress
from training.callbacks.publishing import Publishing
from training.callbacks.telemetry import Telemetry
from training.export import export, finished
from training.failures import explained
from training.job import Assembled, Job
from training.processes import WORLD, is_first, shared
from training.recipe import Result
from training.resuming import complete, starting_point
from training.scale import come_together, plainly, scale_arguments
from training.settings import TrainerSettings
from training.tracking import tracked

LOG = logging.getLogger(__name__)
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
        "seed": settings.seed,
        "report_to": "none",  # trackers are told by training.tracking
        "disable_tqdm": True,
    }


def fit(trainer: Trainer, processor: Any, job: Job, finish: Callable[[Trainer, Path], None]) -> Result:
    """Trains, from the newest whole checkpoint if there is one, and leaves the finished checkpoint's folder.

    Args:
        finish: writes the trained model and its processor into a folder.

    Raises:
        Incomplete: the loss ceased to be a number, or memory is too small; the last good checkpoint is named.
        StoreError: a checkpoint cannot be written; those before it are whole.
        Assembled: the job only plans.
    """
    if job.planning is not None:
        raise Assembled(trainer, processor)
    if (made := shared(lambda: finished(job))) is not None:
        return made
    disable_progress_bar()  # one bar is enough
    folder = Path(str(trainer.args.output_dir))
    preemption = Preemption(job.settings.save.grace, folder)
    live = _equip(trainer, processor, job, preemption)
    newest = shared(lambda: starting_point(job, folder))
    if newest is not None and is_first():
        _compare_processes(newest, job.settings)

    def learn() -> None:
        with explained(trainer, job, folder):
            try:
                trainer.train(resume_from_checkpoint=None if newest is None else str(newest))
            finally:
                preemption.restore()
        preemption.conclude()
        come_together(trainer)

    def conclude() -> Result:
        step = _take_best(trainer, folder)
        scores = {} if live is None or trainer.model is None else plainly(trainer.model, partial(ask, live, processor))
        return export(trainer, job, finish, step, scores)

    with tracked(trainer, job) as tell:
        learn()
        made = shared(conclude)
        tell({name: score.value for name, score in made.scores.items()})
    return made


def _equip(trainer: Trainer, processor: Any, job: Job, preemption: Preemption) -> LiveEvaluation | None:
    settings: TrainerSettings = job.settings
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    live = None
    if settings.evaluate is not None:
        assert trainer.model is not None
        live = prepare_evaluation(settings.evaluate, job.session, trainer.model)
        trainer.add_callback(Evaluation(settings.evaluate, live, trainer, processor))
    trainer.add_callback(Publishing(job, preemption.folder))
    trainer.add_callback(preemption)  # after what it may have to wait for
    trainer.add_callback(Finite(trainer))  # after whoever may ask for a save, before whoever is told of a loss
    trainer.add_callback(Telemetry(trainer, job))
    if is_first():
        trainer.add_callback(Progress(settings.name))
    return live


def _compare_processes(checkpoint: Path, settings: TrainerSettings) -> None:
    """Says it where another number of processes goes on: `batch` is of each, so a step has other samples then."""
    count = len(list(checkpoint.glob("rng_state*.pth")))  # each process leaves the state of its random numbers
    if count != WORLD:
        step = settings.batch * settings.accumulate * WORLD
        told = f"was trained by {count} process(es), goes on with {WORLD}: a step now has {step} samples"
        LOG.warning("%s: %s", checkpoint, told)


def _take_best(trainer: Trainer, folder: Path) -> int:
    """Loads the best checkpoint where one was chosen; the step after which the model was as it is now."""
    best = trainer.state.best_global_step
    if not best:
        return int(trainer.state.global_step)
    found = complete(folder)
    if best not in found:
        raise Incomplete(f"{folder}: the best checkpoint, that of step {best}, is not there any more; start again")
    # The folder may have been another one when it was saved.
    trainer.state.best_model_checkpoint = str(found[best])
    trainer._load_best_model()
    return int(best)
