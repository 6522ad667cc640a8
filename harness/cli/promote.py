"""Move an alias to a checkpoint that passed its gate."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output import config_option, emit_json, json_option
from harness.cli.plain import plain
from harness.errors import UsageError
from harness.promotion import Move
from harness.session import open_session


@click.command("promote")
@click.argument("reference", metavar="NAME:REF")
@click.option("--to", "alias", required=True, help="The alias that moves, such as production.")
@click.option("--policy", help="The policy that it must have passed; the one called like the alias, or the only one.")
@click.option("--force", is_flag=True, help="Move it whatever a policy says; needs --reason.")
@click.option("--reason", help="Why it is forced; kept in the alias's history.")
@config_option
@json_option
def command(
    reference: str, alias: str, policy: str | None, force: bool, reason: str | None, config: Path | None, as_json: bool
) -> None:
    """Move an alias to a version of a checkpoint, on a passing verdict of that very version and policy.

    Ends with 1 where the verdict is that it fails, 3 where it cannot be told. The move is refused where the policy has
    changed since, or where somebody else moved the alias meanwhile.

    \b
    harness promote NAME:v3 --to production
    """
    name, _, ref = reference.partition(":")
    if not ref:
        raise UsageError(f"{reference!r} names no version: write {reference}:v3, or {reference}:latest")
    if force != (reason is not None):
        raise click.UsageError("--force and --reason go together")
    with open_session(config=config) as session:
        move = session.promoter.promote(name, ref, alias, policy, reason)
    tell(move, as_json)


def tell(move: Move, as_json: bool) -> None:
    """What was moved, and why."""
    before, after = move.before and str(move.before), str(move.after)
    if as_json:
        document = {"alias": move.alias, "before": before, "after": after, "digest": move.after.digest,
                    "reason": move.reason}  # fmt: skip
        emit_json(document)
    elif before == after:
        click.echo(f"{after} is {move.alias} already")
    else:
        click.echo(plain(f"{move.alias}: {before or 'new'} → {after} ({move.reason})"))
