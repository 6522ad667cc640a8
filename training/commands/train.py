"""Train a checkpoint as a config says, and publish it to the registry."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from harness import Json, open_session
from training.processes import is_first
from training.recipe import Made, carry_out, read_stage


@click.command("train")
@click.argument("configs", metavar="CONFIG...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(configs: Sequence[Path], as_json: bool) -> None:
    """Train the checkpoints that the configs describe, one after another, and publish them.

    The same command after an interruption goes on where it stopped; after completion it only says what it made.
    """
    stages = [read_stage(config) for config in configs]
    with open_session() as session:
        for settings, run in stages:
            made = carry_out(settings, run, session)
            if not is_first():
                continue
            if as_json:
                click.echo(msgspec.json.encode(document(made)))
            else:
                click.echo(sentence(made))


def document(made: Made) -> dict[str, Json]:
    """What `--json` says of a version."""
    version = made.version
    return {
        "checkpoint": str(version),
        "digest": version.digest,
        "new": made.fresh,
        "size": version.size,
        "scores": version.metadata.get("scores", {}),
    }


def sentence(made: Made) -> str:
    """What is said of a version on a terminal."""
    version = made.version
    found = version.metadata.get("scores", {})
    scores = ", ".join(f"{name} {score['value']:.3f}" for name, score in found.items())
    said = "published" if made.fresh else "there already:"
    return (
        f"{said} {version} ({version.size / 1e6:.1f} MB)"
        + (f"; {scores}" if scores else "")
        + f"\n`harness checkpoints pull {version} --out DIR` writes its files to a folder"
    )
