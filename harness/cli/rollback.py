"""Move an alias back to the checkpoint that held it before."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output import config_option, json_option
from harness.cli.promote import tell
from harness.session import open_session


@click.command("rollback")
@click.argument("name")
@click.option("--alias", required=True, help="The alias that moves back.")
@click.option("--reason", default="", help="Why; kept in the alias's history.")
@config_option
@json_option
def command(name: str, alias: str, reason: str, config: Path | None, as_json: bool) -> None:
    """Move an alias of the checkpoint NAME back to its previous holder; again, and it goes further back.

    \b
    harness rollback NAME --alias production --reason "wrong answers about colours"
    """
    with open_session(config=config) as session:
        move = session.promoter.rollback(name, alias, reason)
    tell(move, as_json)
