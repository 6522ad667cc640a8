"""Evaluate models on benchmarks, and score them."""

from __future__ import annotations

from pathlib import Path

import click

from harness.cli.output import (
    config_option,
    emit_json,
    exit_code,
    json_option,
    remarks,
    results_table,
    scores_table,
)
from harness.cli.progress import Terminal
from harness.session import BATCH, Options, open_session


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
@click.option("--retry-failures", is_flag=True, help="Ask again about samples that failed before.")
@config_option
@json_option
def command(
    models: tuple[str, ...], benchmarks: tuple[str, ...], suites: tuple[str, ...], config: Path | None, as_json: bool,
    **choices: object,
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
        documents = session.evaluate(models, names, Options(**choices), Terminal())  # type: ignore[arg-type]
    for document in documents:
        remarks(document)
    if as_json:
        emit_json({"runs": documents})
    else:
        results_table(documents)
        if len(documents) == 1:
            scores_table(documents[0])
    click.get_current_context().exit(exit_code(documents))
