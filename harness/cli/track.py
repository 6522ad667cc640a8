"""Send trackers what they could not be told, and see what they were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
import msgspec

from harness.cli.output import config_option, emit_json, json_option, say, table
from harness.protocols import Told
from harness.session import open_session

LEFT = 3
"""The exit code where something could not be sent."""


@click.group("track")
def command() -> None:
    """Send trackers what they could not be told, and see what they were."""


@command.command("sync")
@config_option
@json_option
def sync(config: Path | None, as_json: bool) -> None:
    """Send what a tracker's server has not got yet, and make sure that all of it arrived.

    What arrived is not sent again. Ends with 3 where something is left; the same command tries again.
    """
    sent: dict[str, list[Told]] = {}
    left: dict[str, Sequence[Told]] = {}
    with open_session(config=config) as session:
        for name, outbox in session.trackers.outboxes().items():
            sent[name] = []

            def progress(told: Told, name: str = name) -> None:
                if told.sent:
                    sent[name].append(told)
                say(f"{name}: {told.kind} {told.id} ({told.what}): {'sent' if told.sent else 'left'}: {told.detail}")

            left[name] = outbox.sync(progress)
    if as_json:
        emit_json({"sent": _documents(sent), "left": _documents(left)})
    elif any(left.values()):
        count = sum(map(len, left.values()))
        say(f"{count} left; `harness track list` shows them, and `harness track sync` tries again")
    else:
        say(f"{sum(map(len, sent.values()))} sent, nothing left")
    click.get_current_context().exit(LEFT if any(left.values()) else 0)


@command.command("list")
@config_option
@json_option
def list_(config: Path | None, as_json: bool) -> None:
    """Show what trackers were to tell, and whether that arrived."""
    with open_session(config=config) as session:
        found = {name: outbox.told() for name, outbox in session.trackers.outboxes().items()}
    if as_json:
        emit_json({"told": _documents(found)})
        return
    rows = [
        (name, item.kind, item.id, item.what, "sent" if item.sent else "queued", item.detail)
        for name, items in found.items()
        for item in items
    ]
    if rows:
        table(("tracker", "kind", "id", "what", "state", "where, or why not"), rows, whole=("id", "state"))
    else:
        say("no tracker was told of anything yet")


def _documents(found: Mapping[str, Sequence[Told]]) -> list[dict[str, object]]:
    return [{"tracker": name, **msgspec.to_builtins(item)} for name, items in found.items() for item in items]
