"""Evaluate models on benchmarks, and score them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from harness.cli import gate
from harness.cli.gate import verdict_table
from harness.cli.output import (
    config_option,
    emit_json,
    exit_code,
    json_option,
    remarks,
    results_table,
    say,
    scores_table,
)
from harness.cli.progress import Terminal
from harness.errors import HarnessError
from harness.session import BATCH, Options, Session, open_session
from harness.types import Json
from harness.verdict import Verdict


@click.command("eval")
@click.option("--model", "models", multiple=True, required=True, metavar="PLUGIN:REF[,KEY=VALUE…]",
              help="A model; may be repeated. image=none or image=shuffled gives a floor.")  # fmt: skip
@click.option("--bench", "benchmarks", multiple=True, help="A benchmark; may be repeated.")
@click.option("--suite", "suites", multiple=True, help="The benchmarks of a suite of benchmarks.yaml.")
@click.option("--data", type=click.Path(path_type=Path), help="The benchmark's data, instead of the configured one.")
@click.option("--split", help="The split of the data.")
@click.option("--profile", help="Named prompts and generation settings.")
@click.option("--protocol", help="Named scoring rules.")
@click.option(
    "--metric", "metrics", multiple=True, help="A score or metric, instead of the configured ones; may be repeated."
)
@click.option("--limit", type=click.IntRange(min=1), help="Only the first N samples.")
@click.option("--batch", type=click.IntRange(min=1), default=BATCH, show_default=True, help="Samples at a time.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of shuffled pictures and of sampling.")
@click.option("--device", help="auto, cpu, cuda, cuda:1 …")
@click.option("--engine", help="Where to run: the name of an engine; this process where none is named.")
@click.option("--gate", "policy", help="Judge each model by this policy afterwards; its exit code is the gate's.")
@click.option("--retry-failures", is_flag=True, help="Ask again about samples that failed before.")
@config_option
@json_option
def command(
    models: tuple[str, ...], benchmarks: tuple[str, ...], suites: tuple[str, ...], policy: str | None,
    config: Path | None, as_json: bool, **choices: object,
) -> None:  # fmt: skip
    """Evaluate every model on every benchmark.

    The same command after an interruption goes on where it stopped; after completion it prints the stored result.

    \b
    harness eval --model PLUGIN:latest --bench NAME
    harness eval --model PLUGIN:latest --model PLUGIN:latest,image=none --suite core
    """
    with open_session(config=config) as session:
        names = [*benchmarks, *(name for suite in suites for name in session.settings.suite(suite))]
        if not names:
            raise click.UsageError("name a benchmark with --bench, or several with --suite (see `harness list`)")
        if choices["data"] is not None and len(set(names)) > 1:
            raise click.UsageError("--data is one benchmark's data; give one --bench with it")
        if policy is not None:
            refuse_early(session, policy, names, choices["limit"])
        documents = session.evaluate(models, names, Options(**choices), Terminal())  # type: ignore[arg-type]
        verdicts, errors = ([], []) if policy is None else judge(session, documents, policy)
    for document in documents:
        remarks(document)
    if as_json:
        judged = {} if policy is None else {"verdicts": [verdict.document() for verdict in verdicts]}
        emit_json({"runs": documents, **judged})
    else:
        results_table(documents)
        if len(documents) == 1:
            scores_table(documents[0])
        for verdict in verdicts:
            verdict_table(verdict)
    if errors:
        raise errors[0]
    # Coverage is the policy's to judge, and a missing score is one that it may not ask for.
    click.get_current_context().exit(gate.exit_code(verdicts) if verdicts else exit_code(documents))


def refuse_early(session: Session, policy: str, benchmarks: Sequence[str], limit: object) -> None:
    """What the gate would refuse afterwards is said before the work."""
    named = {item.score.partition(".")[0] for item in session.settings.gate(policy).require} - {"*"}
    if limit is not None:
        raise click.UsageError("a gate judges whole runs: --limit and --gate do not go together")
    if missing := sorted(named - set(benchmarks)):
        raise click.UsageError(
            f"policy {policy!r} names {', '.join(missing)} too; add --bench {' --bench '.join(missing)}"
        )


def judge(
    session: Session, documents: Sequence[Mapping[str, Json]], policy: str
) -> tuple[list[Verdict], list[HarnessError]]:
    """The policy's verdict on each model, and why some could not be judged."""
    runs: dict[str, list[str]] = {}
    for document in documents:
        runs.setdefault(document["model"]["ref"], []).append(document["run"])
    verdicts: list[Verdict] = []
    errors: list[HarnessError] = []
    for names in runs.values():
        try:
            verdicts.append(session.gate.judge(policy, names, None, say))
        except HarnessError as error:
            errors.append(error)
        else:
            session.verdicts.keep(verdicts[-1])
            session.tell_verdict(verdicts[-1], say)
    return verdicts, errors
