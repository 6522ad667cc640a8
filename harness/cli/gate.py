"""Decide by a policy whether a checkpoint may ship."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click
import msgspec

from harness.cli.output import config_option, emit_json, json_option, say, table
from harness.errors import StoreError
from harness.report.verdict import bounds, figure, junit, markdown, named
from harness.session import open_session
from harness.verdict import FAIL, PASS, Verdict

EXIT_CODES = {PASS: 0, FAIL: 1}
"""Anything else cannot be told, which is no pass: 3."""


@click.command("gate")
@click.argument("runs", nargs=-1, required=True, metavar="RUN…")
@click.option("--policy", required=True, help="A policy of benchmarks.yaml, under `gates`.")
@click.option("--baseline", help="A model reference, or runs separated by commas, instead of the policy's baseline.")
@click.option("--junit", "junit_file", type=click.Path(path_type=Path), help="Write the verdict there as JUnit XML.")
@click.option("--markdown", "markdown_file", type=click.Path(path_type=Path), help="Write it there as Markdown.")
@click.option("--out", "json_file", type=click.Path(path_type=Path), help="Write it there as JSON.")
@config_option
@json_option
def command(
    runs: tuple[str, ...], policy: str, baseline: str | None, junit_file: Path | None, markdown_file: Path | None,
    json_file: Path | None, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Judge runs by a policy. RUN is a run's id, or a model whose newest complete runs are meant.

    Ends with 0 where all that is required holds, 1 where something does not, 3 where it cannot be told at this sample
    size or samples are missing. The verdict is stored: `harness promote` asks for it.

    \b
    harness gate PLUGIN:v3 --policy production
    harness gate 0a1b 2c3d --policy production --baseline PLUGIN:v2 --junit gate.xml
    """
    with open_session(config=config) as session:
        verdict = session.gate.judge(policy, runs, baseline, say)
        session.verdicts.keep(verdict)
        session.tell_verdict(verdict, say)
    for file, text in (
        (junit_file, junit(verdict)),
        (markdown_file, markdown(verdict)),
        (json_file, msgspec.json.format(msgspec.json.encode(verdict.document()), indent=2).decode() + "\n"),
    ):
        if file is not None:
            _write(file, text)
    if as_json:
        emit_json(verdict.document())
    else:
        verdict_table(verdict)
    click.get_current_context().exit(exit_code([verdict]))


def verdict_table(verdict: Verdict) -> None:
    """Each requirement with what was measured; then the verdict."""
    rows = [(item.score, figure(item), bounds(item), item.needed, item.status) for item in verdict.findings]
    against = f" against {named(verdict.baseline)}" if verdict.baseline else ""
    table(("requirement", "measured", "interval", "needed", "verdict"), rows, numbers=("measured", "interval"),
          title=f"{verdict.policy}: {named(verdict.model)}{against}")  # fmt: skip
    for note in verdict.notes:
        say(note)
    for item in verdict.findings:
        if item.reason:
            say(f"{item.score}: {item.status}: {item.reason}")
    click.echo(f"{verdict.verdict} (verdict {verdict.id})")


def exit_code(verdicts: Sequence[Verdict]) -> int:
    """0 where all pass, 1 where one fails and none is without a decision, else 3."""
    return max((EXIT_CODES.get(verdict.verdict, 3) for verdict in verdicts), default=3)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise StoreError(f"{path}: cannot be written ({error.strerror}); name another file") from error
