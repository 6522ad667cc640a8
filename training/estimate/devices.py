"""GPUs that teams have, what of them can be used, and what is there on this machine."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil  # type: ignore[import-untyped]
import torch

MIB: Final = 2**20
USABLE: Final = 0.9
"""Of a GPU's memory. The rest goes to the CUDA context and cuBLAS's workspaces (about half a GB) and to gaps that the
caching allocator cannot fill."""


def amount(size: int) -> str:
    """Bytes as they are read."""
    return f"{size / 10**9:,.1f} GB" if size >= 10**8 else f"{size / 10**6:,.2f} MB"


@dataclass(frozen=True, slots=True)
class Gpu:
    """A model of GPU.

    Attributes:
        memory: bytes, as nvidia-smi tells them.
        bfloat16: whether its tensor cores compute in it.
    """

    name: str
    memory: int
    bfloat16: bool = True

    @property
    def usable(self) -> int:
        """Bytes that tensors may take."""
        return int(self.memory * USABLE)


GPUS: Final = (
    Gpu("T4 16 GB", 15360 * MIB, bfloat16=False),
    Gpu("L4 24 GB", 23034 * MIB),
    Gpu("A10G 24 GB", 23028 * MIB),
    Gpu("A100 40 GB", 40960 * MIB),
    Gpu("A100 80 GB", 81920 * MIB),
    Gpu("H100 80 GB", 81559 * MIB),
    Gpu("H200 141 GB", 143771 * MIB),
)


@dataclass(frozen=True, slots=True)
class Here:
    """The device that a training on this machine would use.

    Attributes:
        device: cpu or cuda.
        free: bytes that are free now.
    """

    name: str
    device: str
    free: int


def here(device: str = "auto") -> Here:
    """What there is. `device` is the workspace's."""
    if device != "cpu" and torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Here(torch.cuda.get_device_name(), "cuda", free)
    return Here("this machine's memory", "cpu", min(int(psutil.virtual_memory().available), _limit()))


def _limit() -> int:
    """What the container may still take; no limit where there is none."""
    group = Path("/sys/fs/cgroup")
    try:
        most, used = ((group / f"memory.{name}").read_text(encoding="ascii").strip() for name in ("max", "current"))
        statistics = (group / "memory.stat").read_text(encoding="ascii")
    except OSError:
        return 2**63
    if most == "max":
        return 2**63
    cached = re.search(r"^inactive_file (\d+)", statistics, re.MULTILINE)
    return int(most) - int(used) + (int(cached[1]) if cached else 0)
