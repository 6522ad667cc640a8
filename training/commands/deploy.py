"""Write a model that passed its gate into a folder that can be shipped."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from harness import UsageError, open_session
from training.deploy.folder import deploy


@click.command("deploy")
@click.argument("reference", metavar="NAME:REF")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="The folder to write.")
@click.option("--policy", help="The policy that it must have passed; the one called like REF, or the only one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")
def command(reference: str, out: Path, policy: str | None, as_json: bool) -> None:
    """Write a version of the registry into a folder: its files, and its card with the verdict.

    Refused without a passing verdict on this very version: ends with 1 where it failed, 2 where there is none, 3 where
    it could not be told.

    \b
    harness deploy NAME:production --out deployed
    """
    name, _, ref = reference.partition(":")
    if not ref:
        raise UsageError(f"{reference!r} names no version: write {reference}:v3, or {reference}:latest")
    with open_session() as session:
        deployed = deploy(session, name, ref, out, policy)
    if as_json:
        click.echo(msgspec.json.encode(deployed.document()))
    else:
        said = "written" if deployed.fresh else "there already"
        click.echo(f"{deployed.folder}: {deployed.version}, verdict {deployed.verdict} of {deployed.policy}: {said}")
