"""An estimate as a document, and as what a terminal shows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from harness import Json
from training.estimate.devices import GPUS, USABLE, Gpu
from training.estimate.estimating import Estimate, Memory
from training.estimate.ledger import PARTS
from training.estimate.timing import Measured, Throughput

GB = 10**9
MB = 10**6
SPREADS = (1, 2, 4, 8)
"""Numbers of GPUs that are tried."""
NAMES = {"kv_cache": "KV cache", "gathered": "gathered by FSDP"}


def document(settings: Any, found: Estimate, *, processes: int, time: Mapping[str, Json] | None) -> dict[str, Json]:
    """All that is known, in bytes and seconds."""
    return {
        "stage": settings.stage,
        "name": settings.name,
        "parameters": {part: {"all": size.all, "trained": size.trained} for part, size in found.sizes.items()},
        "batch": {"rows": found.rows, "tokens": found.tokens},
        "processes": processes,
        "memory": {mode: memory_document(memory, processes) for mode, memory in found.memory.items()},
        "usable_share": USABLE,
        "gpus": [gpu_document(gpu, settings, found) for gpu in GPUS],
        "time": time if time is None else dict(time),
        "notes": list(found.notes),
    }


def memory_document(memory: Memory, processes: int) -> dict[str, Json]:
    """Bytes by part on one device that has it all, and on each of several."""
    each = memory.on_each(processes)
    return {
        "parts": {part: memory.parts.get(part, 0) for part in PARTS},
        "total": memory.total,
        "each": {"parts": dict(each), "total": sum(each.values())},
    }


def gpu_document(gpu: Gpu, settings: Any, found: Estimate) -> dict[str, Json]:
    """Whether it is enough: mode -> the fewest GPUs that are, null where eight are not."""
    halved = settings.scale.precision == "bfloat16"
    return {
        "gpu": gpu.name,
        "memory": gpu.memory,
        "usable": gpu.usable,
        "bfloat16": gpu.bfloat16,
        "fewest": {mode: fewest(gpu, memory, mode) for mode, memory in found.memory.items()},
        "slow": halved and not gpu.bfloat16,
    }


def fewest(gpu: Gpu, memory: Memory, mode: str) -> int | None:
    """GPUs of that kind that are enough; answering is not spread."""
    for count in SPREADS[: 1 if mode == "inference" else None]:
        if sum(memory.on_each(count).values()) <= gpu.usable:
            return count
    return None


def time_document(settings: Any, found: Estimate, rate: Throughput | Measured, processes: int) -> dict[str, Json]:
    """Seconds of the whole training."""
    samples = settings.steps * settings.batch * settings.accumulate * processes
    if isinstance(rate, Throughput):
        tokens = found.tokens * max(1, found.rows // settings.batch)
        return {
            "samples": samples,
            "seconds": rate.seconds(samples, tokens),
            "from": f"{rate.value:g} {rate.unit}/s, as stated",
        }
    return {
        "samples": samples,
        "seconds": samples / processes / rate.rate,
        "from": f"{rate.rate:.3g} samples/s, measured on {rate.device}",
        "measured_peak": rate.peak,
    }


def show(console: Console, told: Mapping[str, Any]) -> None:
    """The document as tables, 80 columns wide."""
    sizes = told["parameters"].values()
    console.print(
        f"{told['stage']} {told['name']}: {sum(size['all'] for size in sizes):,} parameters, "
        f"{sum(size['trained'] for size in sizes):,} trained"
    )
    if told["batch"]["rows"]:
        console.print(f"a batch of {told['batch']['rows']} rows, the longest {told['batch']['tokens']} tokens")
    modes = list(told["memory"])
    many = told["processes"] > 1
    parts = [
        told["memory"][mode]["each"]["parts"] if many and mode != "inference" else told["memory"][mode]["parts"]
        for mode in modes
    ]
    unit, size = ("GB", GB) if max(sum(column.values()) for column in parts) >= GB // 10 else ("MB", MB)
    table = Table(unit, box=box.SIMPLE_HEAD)
    for mode in modes:
        table.add_column(mode, justify="right")
    for part in (*PARTS, *(["gathered"] if many else [])):
        if any(column.get(part) for column in parts):
            table.add_row(NAMES.get(part, part), *(f"{column.get(part, 0) / size:,.2f}" for column in parts))
    table.add_row("together", *(f"{sum(column.values()) / size:,.2f}" for column in parts), style="bold")
    if many:
        console.print(f"on each of {told['processes']} devices under FSDP (answering is not spread):")
    console.print(table)
    console.print(_gpus(told, modes))
    console.print(f"of a GPU's memory {told['usable_share']:.0%} can be used; the rest is CUDA's own and gaps")
    if told["time"] is not None:
        console.print(
            f"{told['time']['samples']:,} samples take {duration(told['time']['seconds'])} ({told['time']['from']})"
        )
        if told["time"].get("measured_peak"):
            console.print(f"measured peak: {told['time']['measured_peak'] / GB:,.2f} GB")
    for note in told["notes"]:
        console.print(f"note: {note}")


def _gpus(told: Mapping[str, Any], modes: list[str]) -> Table:
    table = Table("GPU", box=box.SIMPLE_HEAD)
    for column in ("usable GB", *modes):
        table.add_column(column, justify="right")
    for gpu in told["gpus"]:
        cells = [
            "no" if count is None else "fits" if count == 1 else f"{count} of them"
            for count in (gpu["fewest"][mode] for mode in modes)
        ]
        name = gpu["gpu"] + (" (no bfloat16)" if gpu["slow"] else "")
        table.add_row(name, f"{gpu['usable'] / GB:,.1f}", *cells)
    return table


def duration(seconds: float) -> str:
    """Days, hours, minutes or seconds, two of them at most."""
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for place, (unit, size) in enumerate(units):
        if seconds >= size or unit == "s":
            whole, rest = divmod(seconds, size)
            if unit in ("min", "s"):
                return f"{seconds / size:.0f} {unit}"
            smaller, small = units[place + 1]
            return f"{whole:.0f} {unit} {rest / small:.0f} {smaller}"
    raise AssertionError
