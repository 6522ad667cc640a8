"""Make the data that benchmarks and training read."""

from __future__ import annotations

import sys
from pathlib import Path

import click
import msgspec

from harness import StoreError
from training.microworld import WorldSummary, build


@click.group("data")
def command() -> None:
    """Make the data that benchmarks and training read."""


@command.command("synth")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to make.")
@click.option("--images", type=int, default=2000, show_default=True, help="Training pictures.")
@click.option("--evaluation-images", type=int, help="Evaluation pictures; by default a quarter, at most 500.")
@click.option("--seed", type=int, default=0, show_default=True, help="The same seed makes the same world anywhere.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def synth(out: Path, images: int, evaluation_images: int | None, seed: int, as_json: bool) -> None:
    """Draw a small world of objects and write it in the benchmarks' official layouts.

    A folder that holds this very world already is left as it is.
    """
    with click.progressbar(length=1, label="drawing", file=sys.stderr, hidden=not sys.stderr.isatty()) as bar:

        def progress(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        try:
            summary = build(out, images, evaluation_images, seed, progress)
        except OSError as error:
            raise StoreError(f"{out}: cannot be written ({error.strerror}); name another folder with --out") from error
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(summary, enc_hook=str), indent=2))
    else:
        click.echo(_sentence(summary))


def _sentence(summary: WorldSummary) -> str:
    pictures = ", ".join(f"{count} {split}" for split, count in summary.images.items())
    if summary.reused:
        return f"{summary.path}: this world is there already ({pictures} pictures)"
    return (
        f"{summary.path}: {pictures} pictures in {summary.seconds:.1f} s "
        f"({summary.images_per_second:.0f} pictures a second)"
    )
