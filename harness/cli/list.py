"""List what there is: models, benchmarks, metrics, plugins, runs, trainings, sweeps, pipelines, checkpoints."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from harness.cli.output import config_option, emit_json, json_option, number, say, table
from harness.errors import near
from harness.host import Catalog, build_catalog
from harness.types import Json

if TYPE_CHECKING:  # what opens a workspace is imported when one is opened
    from harness.session import Session
    from harness.work import Work

CATALOG = {"models": "model", "benchmarks": "benchmark", "metrics": "metric"}
STORED = ("runs", "trainings", "sweeps", "pipelines", "checkpoints")
KINDS = (*CATALOG, "plugins", *STORED)


def _known(context: click.Context, parameter: click.Parameter, kind: str | None) -> str | None:
    if kind is not None and kind not in KINDS:
        matches = near(kind, KINDS)
        tail = f"did you mean {matches[0]!r}?" if matches else f"known: {', '.join(KINDS)}"
        raise click.BadParameter(f"there is no kind {kind!r} ({tail})")
    return kind


def _beginning(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    return [kind for kind in KINDS if kind.startswith(begun)]


@click.command("list")
@click.argument("kind", required=False, metavar="[KIND]", callback=_known, shell_complete=_beginning)
@config_option
@json_option
def command(kind: str | None, config: Path | None, as_json: bool) -> None:
    """List models, benchmarks and metrics, or one KIND of thing.

    KIND is one of these, or plugins, runs, trainings, sweeps, pipelines or checkpoints.
    """
    catalog = build_catalog() if kind not in STORED else None
    if catalog is None:
        document = {str(kind): _stored(str(kind), config)}
    elif kind == "plugins":
        document = {kind: _plugins(catalog)}
    else:
        document = {name: _entries(catalog, name) for name in ([kind] if kind else CATALOG)}
    if as_json:
        emit_json(document)
    else:
        for name, rows in document.items():
            _print(name, rows)
    if catalog is not None:
        for plugin in catalog.broken:
            say(f"plugin {plugin.name!r} of {plugin.origin} is broken: {plugin.error}")
        for message in catalog.collisions.values():
            say(message)


def _entries(catalog: Catalog, kind: str) -> list[dict[str, Json]]:
    return [
        {"name": name, "summary": listing.entry.summary, "plugin": listing.plugin.name,
         "distribution": listing.plugin.origin, "extra": listing.entry.extra, "scores": list(listing.entry.provides)}
        for name, listing in catalog.all(CATALOG[kind]).items()
    ]  # fmt: skip


def _plugins(catalog: Catalog) -> list[dict[str, Json]]:
    return [
        {"name": plugin.name, "target": plugin.target, "distribution": plugin.origin, "error": plugin.error or None}
        for plugin in catalog.plugins
    ]


def _stored(kind: str, config: Path | None) -> list[dict[str, Json]]:
    # The catalog is listed in a blink, because what opens a workspace is not imported for it.
    from harness.session import open_session

    with open_session(config=config) as session:
        if kind == "runs":
            return [
                {"run": run.id, "model": run.model, "version": run.version, "benchmark": run.benchmark, "n": run.n,
                 "done": session.store.asked(run) - len(session.store.failed(run)), "status": run.status,
                 "created": run.created}
                for run in session.store.runs()
            ]  # fmt: skip
        if kind == "trainings":
            losses = session.trainings.last("loss")
            return [
                {"training": item.id, "name": item.name, "stage": item.stage, "step": item.step, "steps": item.steps,
                 "status": item.status, "reason": item.reason, "loss": _finite(losses.get(item.id)),
                 "version": item.version, "created": item.created, "heard": item.heard, "finished": item.finished}
                for item in session.trainings.all()
            ]  # fmt: skip
        if kind == "sweeps":
            return [_sweep(session, work) for work in session.work.all("sweep")]
        if kind == "pipelines":
            return [_pipeline(session, work) for work in session.work.all("pipeline")]
        return [
            {"name": name, "version": f"v{version.number}", "type": version.type, "aliases": list(version.aliases),
             "created": version.created, "size": version.size, "digest": version.digest}
            for name in session.checkpoints.names()
            for version in session.checkpoints.versions(name)
        ]  # fmt: skip


def _sweep(session: Session, work: Work) -> dict[str, Json]:
    metric, counts = work.document["metric"], session.work.counts(work)
    values = [
        item.result["value"] for item in session.work.items(work)
        if metric is not None and item.status == "done" and item.result and item.result.get("value") is not None
    ]  # fmt: skip
    best = None if not values else max(values) if metric["goal"] == "maximize" else min(values)
    return {"sweep": work.name, "method": work.document["method"], "metric": metric, "best": best,
            "trials": sum(counts.values()), "counts": counts, "created": work.created}  # fmt: skip


def _pipeline(session: Session, work: Work) -> dict[str, Json]:
    from harness.report.pipeline import PipelineReport

    report = PipelineReport(work, session.work.items(work))
    states = {stage["stage"]: stage["state"] for stage in report.stages}
    return {"pipeline": work.name, "stages": states, "times": len(report.runs), "created": work.created,
            "begun": report.runs[0].created if report.runs else None}  # fmt: skip


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _print(kind: str, rows: Sequence[dict[str, Json]]) -> None:
    cells: list[tuple[str, ...]]
    columns: tuple[str, ...]
    if kind in CATALOG:
        cells = [
            (row["name"], row["summary"] + (f" (pip install '{row['extra']}')" if row["extra"] else ""))
            for row in rows
        ]  # fmt: skip
        table((CATALOG[kind], "what it is"), cells)
    elif kind == "plugins":
        cells = [(row["name"], row["distribution"], "broken" if row["error"] else "ok") for row in rows]
        table(("plugin", "from", "health"), cells)
    elif kind == "runs":
        cells = [
            (row["run"], row["model"], row["benchmark"], f"{row['done']} of {row['n']}", row["created"][:16])
            for row in rows
        ]
        table(("run", "model", "benchmark", "answered", "begun (UTC)"), cells, numbers=("answered",))
    elif kind == "sweeps":
        cells = [
            (row["sweep"], f"{row['counts'].get('done', 0)} of {row['trials']}",
             str(row["counts"].get("failed", 0)), number(row["best"]),
             row["metric"]["name"] if row["metric"] else "–", row["created"][:10])
            for row in rows
        ]  # fmt: skip
        columns = ("sweep", "done", "failed", "best", "metric", "begun")
        table(columns, cells, numbers=("done", "failed", "best", "begun"), whole=("sweep",))
    elif kind == "pipelines":
        cells = [
            (row["pipeline"], f"{sum(state in ('done', 'reused') for state in row['stages'].values())} of "
             f"{len(row['stages'])}", ", ".join(sorted(set(row["stages"].values()) - {"done", "reused"})),
             str(row["times"]), (row["begun"] or "")[:16])
            for row in rows
        ]  # fmt: skip
        table(("pipeline", "done", "others", "times", "begun (UTC)"), cells, numbers=("done", "times"))
    elif kind == "trainings":
        cells = [
            (row["training"][:8], row["name"], row["stage"], f"{row['step']} of {row['steps']}", number(row["loss"]),
             _state(row), row["created"][:10])
            for row in rows
        ]  # fmt: skip
        columns = ("training", "makes", "stage", "steps", "loss", "state", "begun")
        table(columns, cells, numbers=("steps", "loss", "begun"), whole=("training",))
    else:
        cells = [
            (f"{row['name']}:{row['version']}", row["type"], ", ".join(row["aliases"]),
             number(row["size"] / 1e6, 1) + " MB", row["created"][:16])
            for row in rows
        ]  # fmt: skip
        table(("checkpoint", "type", "aliases", "size", "made (UTC)"), cells, numbers=("size",))
    if not rows:
        say(f"there are no {kind} yet")


def _state(training: dict[str, Json]) -> str:
    """What it made, why it stopped, or when it was last heard of: a running one may be on another machine, and gone."""
    if training["status"] == "complete":
        return str(training["version"])
    if training["status"] == "running":
        return f"running, heard {training['heard'][:16]}" if training["heard"] else "running"
    return f"{training['status']}: {training['reason']}"
