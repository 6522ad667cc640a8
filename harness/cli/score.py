"""Score a stored run anew."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output import config_option, emit_json, exit_code, json_option, remarks, scores_table
from harness.session import open_session


@click.command("score")
@click.argument("run")
@click.option("--protocol", help="Named scoring rules; the configured ones where none are named.")
@config_option
@json_option
def command(run: str, protocol: str | None, config: Path | None, as_json: bool) -> None:
    """Score the stored predictions of RUN anew. Needs no model, no device and no pictures.

    RUN is a run's id or its beginning, as `harness list runs` shows it.
    """
    with open_session(config=config) as session:
        document = session.rescore(run, protocol)
    remarks(document)
    if as_json:
        emit_json({"runs": [document]})
    else:
        scores_table(document)
    click.get_current_context().exit(exit_code([document]))
