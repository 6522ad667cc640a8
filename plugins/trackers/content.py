"""What W&B is told of a run: configuration, summary, tables and pictures, as JSON and files that no SDK has touched."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from harness import FinishedRun, Json, TrackedSample
from plugins.wandb_sdk import server

if TYPE_CHECKING:
    from PIL.Image import Image

    from plugins.trackers.wandb import Options

QUALITY: Final = 85
"""Of the pictures, JPEG."""
LONGEST: Final = {"tag": 64, "name": 128}
"""Characters that W&B takes."""
_INTERVAL: Final = ("low", "high", "stderr", "n")
_FINDING: Final = ("score", "status", "needed", "measured", "low", "high", "candidate", "baseline", "n", "reason")


class Content(msgspec.Struct, frozen=True):
    """All that a W&B run is made of.

    Attributes:
        told: the digest of what it was made from: the same run told again is recognised by it.
        server: whom it is for.
        run: id, entity, project, name, group, job type and tags.
        tables: name -> columns and rows. A cell with a picture is `{"picture": file, "caption": …}`.
        pictures: name -> such a cell.
        used: the artifact that was evaluated, `entity/project/name:vN`; None where it is not on this server.
        verdicts: policy -> what it said last.
    """

    told: str
    server: str
    run: dict[str, Any]
    config: dict[str, Any]
    summary: dict[str, Any]
    tables: dict[str, dict[str, list[Any]]]
    pictures: dict[str, Json]
    used: str | None
    verdicts: dict[str, Any] = {}

    def digest(self) -> str:
        """Of all of it."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def whole_summary(self) -> dict[str, Json]:
        """The summary, and what policies say."""
        said = {f"verdict/{policy}": verdict["verdict"] for policy, verdict in self.verdicts.items()}
        return {**self.summary, **said}

    def whole_config(self) -> dict[str, Json]:
        """The configuration, and which policies judged the run, on what."""
        named = ("id", "policy_digest", "asked_baseline", "baseline_runs", "runs", "protocols", "notes")
        verdicts = {
            policy: {name: verdict[name] for name in named if name in verdict}
            for policy, verdict in self.verdicts.items()
        }
        return {**self.config, **({"verdicts": verdicts} if verdicts else {})}

    def whole_tables(self) -> dict[str, dict[str, list[Any]]]:
        """The tables, and what policies found."""
        findings: dict[str, dict[str, list[Any]]] = {
            f"verdict/{policy}/findings": {
                "columns": list(_FINDING),
                "rows": [[finding.get(name) for name in _FINDING] for finding in verdict["findings"]],
            }
            for policy, verdict in self.verdicts.items()
        }
        return {**self.tables, **findings}

    def files(self) -> Iterator[str]:
        """The names of its pictures' files."""
        rows = (row for table in self.tables.values() for row in table["rows"])
        cells = [*self.pictures.values(), *(cell for row in rows for cell in row)]
        yield from dict.fromkeys(cell["picture"] for cell in cells if isinstance(cell, Mapping))


def fingerprint(run: FinishedRun, options: Options) -> str:
    """Changes with whatever there is to tell."""
    facts = [run.document, run.facts, run.address, msgspec.to_builtins(options), server()]
    return hashlib.sha256(msgspec.json.encode(facts, order="sorted")).hexdigest()


def content_of(run: FinishedRun, options: Options, folder: Path) -> Content:
    """Everything there is to tell; the pictures are written into the folder, each named by its content."""
    document = run.document
    benchmark, model = document["benchmark"], document["model"]
    tags = [benchmark["name"], benchmark["profile"], benchmark["protocol"], *options.tags]
    address = run.address or ""
    return Content(
        told=fingerprint(run, options),
        server=server(),
        run={
            "id": run.id,
            "entity": options.entity,
            "project": options.project,
            "name": f"{model['ref']} on {benchmark['name']}"[: LONGEST["name"]],
            "group": model["ref"][: LONGEST["name"]],
            "job_type": "evaluation",
            "tags": [tag for tag in dict.fromkeys(text[: LONGEST["tag"]] for text in tags) if tag],
        },
        config=_config(run),
        summary=_summary(document),
        tables={
            "evaluation_summary": _scores(run),
            **({"breakdowns": parts} if (parts := _parts(document))["rows"] else {}),
            **({"samples": samples} if options.samples and (samples := _samples(run, options, folder))["rows"] else {}),
        },
        pictures={
            f"maps/{name}": _picture(drawn.image, drawn.caption, folder)
            for name, drawn in (run.mean_maps() if options.heatmaps else {}).items()
        },
        used=address.removeprefix(f"{server()}/") if address.startswith(f"{server()}/") else None,
    )


def _config(run: FinishedRun) -> dict[str, Json]:
    document, checkpoint = run.document, run.checkpoint
    return {
        "harness_run": run.id,
        "model": document["model"],
        "checkpoint": None
        if checkpoint is None
        else {
            "name": checkpoint.name,
            "version": f"v{checkpoint.number}",
            "digest": checkpoint.digest,
            "type": checkpoint.type,
            "parents": list(checkpoint.parents),
            "address": run.address,
        },
        "benchmark": document["benchmark"],
        "limit": document["limit"],
        "n": document["n"],
        "created": document["created"],
        "finished": document["finished"],
        **run.facts,
    }


def _summary(document: Mapping[str, Json]) -> dict[str, Json]:
    """Scores by their full names, with what is known of their uncertainty; coverage, failures, costs."""
    name = document["benchmark"]["name"]
    found: dict[str, Json] = {}
    for metric, score in document["scores"].items():
        found |= _figures(f"{name}.{metric}", score)
        for breakdown, parts in score.get("by", {}).items():
            for key, part in parts.items():
                found |= _figures(f"{name}.{metric}.{breakdown}.{key}", part)
    found[f"{name}.coverage"] = document["coverage"]
    found |= {f"failures/{kind}": count for kind, count in document["failures"].items()}
    found |= {f"unscored/{metric}": reason for metric, reason in document["unscored"].items()}
    return found | {f"usage/{what}": value for what, value in document["usage"].items() if value is not None}


def _figures(name: str, score: Mapping[str, Json]) -> dict[str, Json]:
    beside = {f"{name}/{what}": score[what] for what in _INTERVAL if score.get(what) is not None}
    return {name: score["value"], **beside}


def _scores(run: FinishedRun) -> dict[str, list[Any]]:
    """A row a benchmark and metric."""
    document, infos = run.document, run.infos
    columns = ("value", "low", "high", "stderr", "n", "clusters", "note")
    rows = []
    for metric, score in document["scores"].items():
        info = infos.get(metric)
        known = (info and info.unit, info and info.higher_is_better)
        figures = [score.get(column) for column in columns]
        rows.append([document["model"]["ref"], document["benchmark"]["name"], metric, *figures, *known])
    return {"columns": ["model", "benchmark", "metric", *columns, "unit", "higher_is_better"], "rows": rows}


def _parts(document: Mapping[str, Json]) -> dict[str, list[Any]]:
    """A row a key of a breakdown."""
    columns = ("value", "low", "high", "stderr", "n", "clusters")
    rows = [
        [f"{document['benchmark']['name']}.{metric}", breakdown, key, *(part.get(column) for column in columns)]
        for metric, score in document["scores"].items()
        for breakdown, parts in score.get("by", {}).items()
        for key, part in parts.items()
    ]
    return {"columns": ["score", "breakdown", "key", *columns], "rows": rows}


def _samples(run: FinishedRun, options: Options, folder: Path) -> dict[str, list[Any]]:
    """A row a sample: what was asked and answered, its pictures, and the maps of its trace over them."""
    rows = [{**_shown(sample, options, folder), **sample.cells} for sample in run.samples(options.samples)]
    columns = list(dict.fromkeys(column for row in rows for column in row))
    first = [column for column in columns if column in ("sample_id", "question", "references", "answer", "parsed")]
    drawn = [column for column in columns if column.startswith(("picture", "heatmap_"))]
    ordered = [*first, *drawn, *(column for column in columns if column not in {*first, *drawn})]
    return {"columns": ordered, "rows": [[row.get(column) for column in ordered] for row in rows]}


def _shown(sample: TrackedSample, options: Options, folder: Path) -> dict[str, Json]:
    cells: dict[str, Json] = {}
    for number, picture in enumerate(sample.pictures(options.side), start=1):
        cells["picture" if number == 1 else f"picture_{number}"] = _picture(
            picture, str(sample.cells["sample_id"]), folder
        )
    for name, drawn in (sample.heatmaps(options.side) if options.heatmaps else {}).items():
        cells[f"heatmap_{name}"] = _picture(drawn.image, f"{name}: {drawn.caption}", folder)
    return cells


def _picture(image: Image, caption: str, folder: Path) -> dict[str, Json]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY)
    content = buffer.getvalue()
    path = folder / f"{hashlib.sha256(content).hexdigest()[:32]}.jpg"
    if not path.exists():
        partial = path.with_suffix(".part")
        partial.write_bytes(content)
        partial.replace(path)
    return {"picture": path.name, "caption": caption}
