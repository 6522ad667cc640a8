"""Say what memory and time a config needs, without training."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console

from harness import Json, UsageError, open_session
from training.recipe import read_stage
from training.settings import TrainerSettings

WIDTH = 80


@click.command("estimate")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--set", "changes", metavar="KEY=VALUE", multiple=True, help="Change a setting: --set batch=4")
@click.option("--processes", type=click.IntRange(min=1), default=1, show_default=True, help="Devices under FSDP.")
@click.option("--throughput", metavar="RATE", help="Of all devices together: '12 samples/s' or '3000 tokens/s'.")
@click.option("--measure", "measured", is_flag=True, help="Do a few real steps here, for the time they take.")
@click.option("--offline", is_flag=True, help="Do not ask the hub; use what is known of a model's architecture.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(
    config: Path,
    changes: Sequence[str],
    processes: int,
    throughput: str | None,
    measured: bool,
    offline: bool,
    as_json: bool,
) -> None:
    """Say what memory a config needs, by part, on which GPUs it fits, and how long it takes.

    Its steps are done as they would be, on tensors without values. Nothing is trained and no weights are read.
    """
    settings, run = read_stage(config, changes)
    if not isinstance(settings, TrainerSettings):
        raise UsageError(f"{config}: the stage {settings.stage} computes no gradients, and needs no estimate")
    if measured and throughput is not None:
        raise UsageError("give --throughput or --measure, not both")
    # PyTorch takes seconds to import, which a wrong config should not cost.
    from training.estimate.assembling import StandIns, assemble
    from training.estimate.estimating import estimate
    from training.estimate.report import document, show, time_document
    from training.estimate.timing import Throughput, measure

    rate = None if throughput is None else Throughput.parse(throughput)
    with open_session() as session, tempfile.TemporaryDirectory() as folder:
        stand_ins = StandIns(Path(folder), offline=offline)
        found, _ = estimate(settings, run, session, stand_ins)
        time: dict[str, Json] | None = None
        if rate is not None:
            time = time_document(settings, found, rate, processes)
        elif measured:
            real = assemble(settings, run, session, stand_ins, real=True)
            time = time_document(settings, found, measure(real), processes)
    told = document(settings, found, processes=processes, time=time)
    if as_json:
        click.echo(msgspec.json.encode(told))
    else:
        show(Console(width=None if sys.stdout.isatty() else WIDTH, soft_wrap=False), told)
