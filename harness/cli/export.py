"""Write a stored run for other programs: parquet, CSV, JSON lines, lmms-eval's logs, a W&B table."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import click
import msgspec

from harness.cli.output import config_option, say
from harness.errors import Incomplete, UsageError
from harness.export.lmms import write_lmms
from harness.export.parquet import write_parquet
from harness.export.staging import staged
from harness.export.table import Table, scored_table
from harness.export.text import write_csv, write_jsonl
from harness.export.wandb_table import write_wandb_table
from harness.report.text import plural
from harness.session import open_session
from harness.store import COMPLETE


@dataclass(frozen=True, slots=True)
class Format:
    """A format of one file.

    Attributes:
        ending: of its name.
        text: whether it can go to stdout.
        traces: whether it can hold the maps of traces.
        whole: whether it can hold the run's document; else that lies beside it.
    """

    ending: str
    write: Callable[[Table, BinaryIO], None]
    text: bool = False
    traces: bool = False
    whole: bool = False


FORMATS = {
    "parquet": Format(".parquet", write_parquet, traces=True, whole=True),
    "csv": Format(".csv", write_csv, text=True),
    "jsonl": Format(".jsonl", write_jsonl, text=True, traces=True),
    "wandb-table": Format(".table.json", write_wandb_table),
}
LMMS = "lmms"
STDOUT = Path("-")


@click.command("export")
@click.argument("run")
@click.option(
    "--to", "kind", type=click.Choice((*FORMATS, LMMS)), help="By default what --out's name says, else parquet."
)
@click.option("--out", type=click.Path(path_type=Path),
              help="The file, for lmms the folder; `-` is stdout, for csv and jsonl.  [default: RUN.…]")  # fmt: skip
@click.option("--protocol", help="Named scoring rules, where the run was scored by several.")
@click.option("--traces", is_flag=True, help="Write the maps of traces too, into parquet or jsonl.")
@config_option
def command(
    run: str, kind: str | None, out: Path | None, protocol: str | None, traces: bool, config: Path | None
) -> None:
    """Write a stored run for other programs, a row a sample, answered or failed.

    RUN is a run's id or its beginning, as `harness list runs` shows it. The run's own figures are in parquet's
    metadata, in lmms-eval's results, and for the other formats in a file FILE.run.json beside it.

    \b
    harness export RUN --to parquet
    harness export RUN --to csv --out - | head
    """
    kind = kind or next((name for name, item in FORMATS.items() if out and out.name.endswith(item.ending)), "parquet")
    _check(kind, out, traces)
    with open_session(config=config) as session:
        table = scored_table(session.store, session.scorer, run, protocol, say, traces=traces)
        written: tuple[Path, ...]
        if kind == LMMS:
            written = write_lmms(table, out or Path(f"{table.run.id}.lmms"))
        else:
            written = _write(table, FORMATS[kind], out or Path(table.run.id + FORMATS[kind].ending))
    failed = table.rows - table.answered
    left_out = "; these are left out" if kind == LMMS and failed else ""
    say(f"{' and '.join(map(str, written)) or 'stdout'}: {plural(table.rows, 'sample')}, {failed} failed{left_out}")
    if table.run.status != COMPLETE:
        raise Incomplete(
            f"run {table.run.id} is not complete: {table.rows} of {table.run.n} samples were asked, and are exported; "
            "the same `harness eval` goes on with it"
        )


def _check(kind: str, out: Path | None, traces: bool) -> None:
    """Refuse what a format cannot do, before anything is read."""
    able = [name for name, item in FORMATS.items() if item.traces]
    if traces and kind not in able:
        raise UsageError(
            f"{kind} has no place for the maps of traces; leave --traces away, or take {' or '.join(able)}"
        )
    able = [name for name, item in FORMATS.items() if item.text]
    if out == STDOUT and kind not in able:
        raise UsageError(f"{kind} cannot go to stdout; name a place with --out, or take {' or '.join(able)}")


def _write(table: Table, chosen: Format, target: Path) -> tuple[Path, ...]:
    """Write a table, and the run's document beside it where the format has no place for it; the files."""
    if target == STDOUT:
        chosen.write(table, sys.stdout.buffer)
        return ()
    beside = () if chosen.whole else (Path(f"{target}.run.json"),)
    with staged(*beside, target) as (*documents, file):
        chosen.write(table, file)
        for document in documents:
            document.write(msgspec.json.format(msgspec.json.encode(table.document), indent=2) + b"\n")
    return (target, *beside)
