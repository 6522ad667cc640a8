"""Processes that train together: which one speaks, and how all come to know the same.

torchrun and `accelerate launch` start one process a device and say in the environment how many there are. All of them
run the same code. The first alone publishes, evaluates, writes to the workspace and prints.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from harness import HarnessError

WORLD = int(os.environ.get("WORLD_SIZE", "1"))
"""Processes that train together."""
T = TypeVar("T")
PATIENCE = timedelta(hours=12)
"""A process that dies ends the others through the launcher; this only has to outlast an evaluation by the first."""


def is_first() -> bool:
    """Whether this process is the one that speaks."""
    return int(os.environ.get("RANK", "0")) == 0


def on_cpu(device: str) -> bool:
    """Whether a workspace's `device` means the CPU here; "auto" is an accelerator where there is one."""
    import torch

    return device == "cpu" or (device == "auto" and not torch.accelerator.is_available())


def join(device: str = "auto") -> None:
    """Meets the other processes, once; nothing where there are none."""
    if WORLD == 1:
        return
    import torch
    from torch import distributed

    if distributed.is_initialized():
        return
    atexit.register(_leave)
    if on_cpu(device):
        distributed.init_process_group("gloo", timeout=PATIENCE)
        return
    torch.accelerator.set_device_index(int(os.environ.get("LOCAL_RANK", "0")))
    distributed.init_process_group(timeout=PATIENCE)  # gloo for what is on the CPU, and the accelerator's own


def _leave() -> None:
    # A thread of gloo that still holds a tensor when the interpreter is gone aborts the process. The groups end their
    # threads when they are freed, and what trained, which is garbage by now, refers to them.
    from torch import distributed

    distributed.destroy_process_group()
    gc.collect()


def shared(work: Callable[[], T]) -> T:
    """What the first process makes of `work`, which the others wait for. All call it at the same point.

    Its error ends all: raised in the first, a silent exit with the same code in the others.
    """
    if WORLD == 1:
        return work()
    from torch import distributed

    join()
    told: list[Any] = [None, 0]
    if is_first():
        try:
            told[0] = work()
        except Exception as error:
            code = error.exit_code if isinstance(error, HarnessError) else HarnessError.exit_code
            distributed.broadcast_object_list([None, code], src=0)
            raise
    distributed.broadcast_object_list(told, src=0)
    if told[1]:
        raise SystemExit(told[1])
    made: T = told[0]
    return made


def any_process(flag: bool) -> bool:
    """Whether it is true in some process. All call it at the same point."""
    if WORLD == 1:
        return flag
    import torch
    from torch import distributed

    join()
    flags = torch.tensor(int(flag))  # on the CPU, by gloo: a GPU's queue of work goes on meanwhile
    distributed.all_reduce(flags, distributed.ReduceOp.MAX)
    return bool(flags)


def meet() -> None:
    """All processes come to this point before one goes on."""
    any_process(False)
