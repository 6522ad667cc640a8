"""Check what works on this machine, and say what to do about what does not."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output import config_option, emit_json, json_option
from harness.cli.plain import plain
from harness.errors import HarnessError
from harness.host import Listing, say
from harness.protocols import Check, CheckResult
from harness.session import Session, open_session

MARKS = {"ok": "✓", "absent": "–", "wrong": "✗"}


@click.command("doctor")
@config_option
@json_option
def command(config: Path | None, as_json: bool) -> None:
    """Check what works on this machine. Ends with 2 where something that is needed does not."""
    with open_session(config=config) as session:
        results = {**_configuration(session), **_plugins(session)}
        for name, listing in session.catalog.all("check").items():
            results[name] = _run(listing)
    if as_json:
        emit_json({
            name: {"state": _state(item), "detail": item.detail, "hint": item.hint} for name, item in results.items()
        })  # fmt: skip
    else:
        for name, item in results.items():
            click.echo(f"{MARKS[_state(item)]} {name:<12} {plain(item.detail)}")
            if item.hint and not item.ok:
                click.echo(f"  {'':<12} → {plain(item.hint)}")
    healthy = all(_state(item) != "wrong" for item in results.values())
    click.get_current_context().exit(0 if healthy else 2)


def _state(result: CheckResult) -> str:
    return "ok" if result.ok else "wrong" if result.required else "absent"


def _configuration(session: Session) -> dict[str, CheckResult]:
    try:
        file = session.settings.file
    except HarnessError as error:
        return {"settings": CheckResult(False, str(error), "mend the file, or name another with --config", True)}
    return {"settings": CheckResult(True, str(file) if file else "none found; the built-in defaults hold")}


def _plugins(session: Session) -> dict[str, CheckResult]:
    catalog = session.catalog
    results: dict[str, CheckResult] = {}
    for plugin in catalog.broken:
        hint = f"upgrade or uninstall {plugin.distribution}"
        results[f"plugin {plugin.name}"] = CheckResult(False, f"{plugin.origin}: {plugin.error}", hint, True)
    for (kind, name), message in catalog.collisions.items():
        results[f"{kind} {name}"] = CheckResult(False, message, "", True)
    counts = ", ".join(f"{len(catalog.all(kind))} {kind}s" for kind in ("model", "benchmark", "metric"))
    healthy = len(catalog.plugins) - len(catalog.broken)
    results["plugins"] = CheckResult(True, f"{healthy} of {len(catalog.plugins)} work, with {counts}")
    return results


def _run(listing: Listing) -> CheckResult:
    """A check that raises is itself what is wrong."""
    try:
        check: Check = listing.load()
        return check.run()
    except HarnessError as error:
        return CheckResult(False, str(error), "", True)
    except Exception as error:  # noqa: BLE001 - a check is foreign code
        return CheckResult(
            False, f"the check itself failed: {say(error)}", f"report it to {listing.plugin.origin}", True
        )
