"""Describe a model plugin, benchmark, metric or run."""

from __future__ import annotations

import inspect
from pathlib import Path

import click

from harness.cli.output import config_option, emit_json, json_option, remarks, scores_table
from harness.cli.plain import plain
from harness.errors import UnknownName, UsageError
from harness.host import Listing
from harness.protocols import Benchmark, Metric
from harness.report.document import run_document
from harness.session import Session, open_session
from harness.types import Json

KINDS = ("model", "benchmark", "metric", "checkpoint store", "engine", "tracker", "check")


@click.command("describe")
@click.argument("name")
@config_option
@json_option
def command(name: str, config: Path | None, as_json: bool) -> None:
    """Describe NAME: whatever the catalog has under it, or a run by its id."""
    with open_session(config=config) as session:
        found = [(kind, session.catalog.find(kind, name)) for kind in KINDS if _has(session, kind, name)]
        # The name of a score means the metrics that give it, and METRIC:REF the metric.
        found = found or [
            ("metric", listing)
            for listing in session.catalog.all("metric").values()
            if name in listing.entry.provides or name.startswith(f"{listing.entry.name}:")
        ]
        if not found:
            _describe_run(session, name, as_json)
            return
        documents = [_describe(session, kind, listing) for kind, listing in found]
    if as_json:
        emit_json(documents)
        return
    for document in documents:
        for key, value in document.items():
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            click.echo(f"{key + ':':<15}{plain(text).replace(chr(10), chr(10) + ' ' * 15)}")


def _has(session: Session, kind: str, name: str) -> bool:
    return name in session.catalog.all(kind) or (kind, name) in session.catalog.collisions


def _describe(session: Session, kind: str, listing: Listing) -> dict[str, Json]:
    document: dict[str, Json] = {
        "name": listing.entry.name,
        "kind": kind,
        "summary": listing.entry.summary,
        "plugin": f"{listing.plugin.name} ({listing.plugin.origin})",
        "target": listing.entry.target,
    }
    if kind == "benchmark":
        benchmark: Benchmark = listing.load()
        info = benchmark.info
        configured = session.settings.source(listing.entry.name)
        document |= {
            "version": info.version,
            "profiles": list(info.profiles),
            "protocols": list(info.protocols),
            "metrics": list(info.metrics),
            "split": info.split,
            "data": str(configured) if configured else "not configured",
        }
    elif kind == "metric":
        factory = listing.factory()
        document["documentation"] = inspect.getdoc(factory) or ""
        try:
            metric: Metric = listing.load()
        except UsageError:  # one that is told what to be, as METRIC:REF
            return document
        directions = {True: "higher is better", False: "lower is better", None: "neither direction is better"}
        document["scores"] = [
            f"{name} ({info.unit}, {directions[info.higher_is_better]}"
            + (f", needs {' and '.join(info.needs)}" if info.needs else "") + ")"
            for name, info in metric.info.items()
        ]  # fmt: skip
    elif kind == "model":
        document["documentation"] = inspect.cleandoc(type(listing.load()).__doc__ or "").partition("\n\n")[0]
    return document


def _describe_run(session: Session, name: str, as_json: bool) -> None:
    try:
        run = session.store.get(name)
    except UnknownName as error:
        known = {other for kind in KINDS for other in session.catalog.all(kind)}
        raise UnknownName("name", name, known, "see `harness list` and `harness list runs`") from error
    protocols = session.store.protocols(run) or [""]
    documents = [run_document(session.store, run, protocol) for protocol in protocols]
    if as_json:
        emit_json({"runs": documents, "facts": run.facts})
        return
    for document in documents:
        scores_table(document)
        remarks(document)
