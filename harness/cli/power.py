"""Say how many samples a difference takes to be seen, from the runs that are stored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from harness.cli.compare import Number
from harness.cli.output import config_option, emit_json, json_option, number, say, table
from harness.cli.plain import plain
from harness.compare import COVERAGE
from harness.errors import Incomplete
from harness.pairing import choose_pairs, runs_meant, unlike, whole
from harness.power import POWER, Sizing, Spread, require_aim, size_for
from harness.session import Session, open_session
from harness.store import COMPLETE, Run
from harness.types import Json


@click.command("power")
@click.option("--bench", "benchmark", required=True, help="The benchmark.")
@click.option("--effect", type=Number(0), required=True,
              help="The difference to detect, in the score's unit: 0.01 is a point of a fraction.")  # fmt: skip
@click.option("--run", "runs", multiple=True, metavar="RUN",
              help="A run or model whose variance is taken; twice for two, instead of the newest.")  # fmt: skip
@click.option("--metric", "metrics", multiple=True,
              help="A score or metric, instead of the benchmark's main figure; may be repeated.")  # fmt: skip
@click.option("--protocol", help="Named scoring rules, instead of the configured ones.")
@click.option("--power", type=Number(0, 1), default=POWER, show_default=True, help="How often it should be detected.")
@click.option("--confidence", type=Number(0, 1), default=0.95, show_default=True, help="Of the two-sided test.")
@click.option("--correlation", type=Number(-1, 1), default=0.0, show_default=True,
              help="Of two runs' errors, where only one run is known; 0 gives an upper bound.")  # fmt: skip
@config_option
@json_option
def command(
    benchmark: str, effect: float, runs: tuple[str, ...], metrics: tuple[str, ...], protocol: str | None, power: float,
    confidence: float, correlation: float, config: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Say how many samples and groups of them (such as pictures) detect a difference, as `harness compare` tests it.

    The variance is that of the difference between two stored runs, since most of what makes questions hard is the
    same for both; of a single run it is bounded from above.

    \b
    harness power --bench NAME --effect 0.01
    """
    if len(runs) > 2:
        raise click.UsageError("--run names one run, or two")
    require_aim(power, confidence)
    with open_session(config=config) as session:
        session.catalog.find("benchmark", benchmark)
        chosen = _chosen(session, benchmark, runs)
        spreads = _spreads(session, chosen, protocol, metrics, correlation)
    documents = []
    for name, spread in spreads.items():
        sizing = size_for(spread, effect, power, confidence)
        documents.append(_document(f"{benchmark}.{name}", chosen, spread, sizing, correlation))
        if not as_json:
            _print(documents[-1])
    if as_json:
        emit_json({"power": documents})


def _chosen(session: Session, benchmark: str, named: Sequence[str]) -> list[Run]:
    """The runs that are named, or the newest and the newest before it that can be paired with it.

    Those of all samples go before those that a limit cut short.
    """
    if named:
        found = [runs_meant(text, session.store, session.catalog, session.checkpoints) for text in named]
        return [*choose_pairs(found[0], found[-1], [benchmark])[0]][: len(named)]
    runs = [run for run in session.store.runs() if run.benchmark == benchmark and run.status == COMPLETE]
    if not runs:
        raise Incomplete(f"there is no complete run of {benchmark!r} yet; evaluate two models on it first")
    runs = [run for run in runs if whole(run)] or runs
    image = runs[0].identity["model"]["image"]
    others = (run for run in runs[1:] if not unlike(run, runs[0]) and run.identity["model"]["image"] == image)
    return [*reversed([runs[0], *list(others)[:1]])]


def _spreads(
    session: Session, runs: Sequence[Run], protocol: str | None, metrics: Sequence[str], correlation: float
) -> dict[str, Spread]:
    """Score -> how uncertain its difference is; that of the main figure where none is asked for."""
    found: dict[str, Callable[[], Spread]]
    if len(runs) == 2:
        comparison = session.comparer.compare(runs[0], runs[1], say, protocol=protocol, metrics=metrics)
        missing = comparison.uncompared
        found = {name: partial(Spread.of_pair, item.paired) for name, item in comparison.scores.items()}
    else:
        scored = session.comparer.score(runs[0], say, protocol=protocol, metrics=metrics)
        missing = scored.unscored
        found = {
            name: partial(Spread.of_one, item, scored.per_sample.get(name), correlation)
            for name, item in scored.scores.items()
        }
    names = list(found) if metrics else [name for name in found if name != COVERAGE][:1]
    if not names or (metrics and missing):
        reasons = "; ".join(f"no {name}: {reason}" for name, reason in missing.items())
        raise Incomplete(reasons or f"there is nothing to measure in run {runs[0].id}; name other runs with --run")
    return {name: found[name]() for name in names}


def _document(name: str, runs: Sequence[Run], spread: Spread, sizing: Sizing, correlation: float) -> dict[str, Json]:
    return {
        "score": name,
        "runs": [{"run": run.id, "model": run.model} for run in runs],
        "correlation": correlation if len(runs) == 1 else None,
        **asdict(spread),
        **asdict(sizing),
    }


def _print(document: Mapping[str, Json]) -> None:
    rows = [
        ("these runs", document["n"], document["clusters"], document["power_now"]),
        ("needed", document["needed_n"], document["needed_clusters"], document["power"]),
    ]
    if (alone := document["needed_alone"]) is not None:
        rows.append(("needed, one sample a group", alone, alone, document["power"]))
    cells = [(what, f"{n:,}", f"{clusters:,}", number(power)) for what, n, clusters, power in rows]
    columns = ("size", "samples", "groups", "power")
    sought = f"a difference of {document['effect']:g} at {100 * document['confidence']:g}% confidence"
    click.echo(plain(f"{document['score']}: {sought}"))
    table(columns, cells, numbers=columns[1:])
    click.echo(f"Standard error of the difference: {document['stderr']:.4g}, from")
    for run in document["runs"]:
        click.echo(plain(f"  {run['run']}  {run['model']}"))
    if (correlation := document["correlation"]) is not None:
        click.echo(f"That is of one run alone: two runs' errors are taken to correlate by {correlation:g}.")
    if (effect := document["design_effect"]) is not None:
        click.echo(f"Grouping makes its variance {effect:.2f} times that of independent samples.")
    click.echo(f"As many samples show a difference of {document['detectable']:.4g} with power {document['power']:g}.")
