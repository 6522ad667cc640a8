"""What can go wrong while training, in words that say what to do."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import torch
from transformers import Trainer

from harness import HarnessError, Incomplete, StoreError
from training.callbacks.finite import Diverged
from training.job import Job
from training.resuming import last_good, remove, unfinished


@contextmanager
def explained(trainer: Trainer, job: Job, folder: Path) -> Iterator[None]:
    """For the block that trains and saves into a folder; a checkpoint that could not be saved is removed.

    Raises:
        Incomplete: the loss ceased to be a number, or the device's memory is too small.
        StoreError: a checkpoint could not be saved or published. Those before it are as they were.
    """
    try:
        yield
    except (Diverged, StoreError) as error:
        raise type(error)(f"{error}; {_good(job, folder)}") from error
    except HarnessError:
        raise
    except Exception as error:
        where = f"step {trainer.state.global_step + 1}"
        if is_out_of_memory(error):
            raise Incomplete(f"{where}: {_smaller(job, error)}; {_good(job, folder)}") from error
        broken = unfinished(folder)
        if not broken:
            raise
        size = shutil.disk_usage(folder).free
        for path in broken:
            remove(path)
        raise StoreError(
            f"{broken[0]}: cannot be saved ({reason(error)}; {size / 1e6:,.0f} MB were free there); free some space, "
            f"or keep fewer with `save.keep`, and run the same command again; {_good(job, folder)}"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device's or the machine's memory was too small. torch has no class of its own for the latter."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)


def reason(error: BaseException) -> str:
    """An error in one line, such as what the operating system said."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _smaller(job: Job, error: BaseException) -> str:
    settings = job.settings
    ways = [f"lower `batch` and raise `accumulate` (now {settings.accumulate}) as much"]
    if not settings.scale.gradient_checkpointing:
        ways.append("set `scale.gradient_checkpointing: true`")
    if settings.scale.precision == "float32":
        ways.append("set `scale.precision: bfloat16`")
    return f"the memory is too small for `batch: {settings.batch}` ({reason(error)}); {', '.join(ways)}"


def _good(job: Job, folder: Path) -> str:
    with suppress(HarnessError):  # the registry may be what gave out
        return last_good(job, folder)
    return f"whole checkpoints are in {folder}"
