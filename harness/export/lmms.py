"""A run as lmms-eval logs one: a file of samples and a file of results, in the model's folder."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import msgspec

from harness.export.staging import make_folder, staged
from harness.export.table import Record, Table
from harness.types import RESULTS, Json, Sample

LENGTH = 120
"""Characters of the folder's name, at most."""


def write_lmms(table: Table, folder: Path) -> tuple[Path, Path]:
    """Write `MODEL/DATE_samples_BENCHMARK.jsonl` and `MODEL/DATE_results.json` into a folder.

    Such a log knows no failures, and a failure is no answer: samples that failed are left out of it.

    Returns:
        The two files.

    Raises:
        StoreError: they cannot be written.
    """
    place = folder / _file_name(table.run.model)[:LENGTH]
    files = (
        place / f"{_date(table)}_samples_{_file_name(table.run.benchmark)}.jsonl",
        place / f"{_date(table)}_results.json",
    )
    make_folder(place)
    with staged(*files) as (samples, results):
        for record in table.records():
            if record.output is not None:
                samples.write(msgspec.json.encode(_line(table, record)) + b"\n")
        results.write(msgspec.json.format(msgspec.json.encode(_results(table)), indent=2) + b"\n")
    return files


def _date(table: Table) -> str:
    return datetime.fromisoformat(table.run.finished or table.run.created).strftime("%Y%m%d_%H%M%S")


def _file_name(text: str) -> str:
    """The text with `__` for what a file's name had better not hold."""
    return re.sub(r"[^\w.,=@+-]+", "__", text)


def _line(table: Table, record: Record) -> dict[str, Json]:
    """A sample with its answer, and its own scores by their names."""
    sample, output = record.sample, record.output
    assert output is not None
    doc = {
        "id": sample.id,
        "question": sample.question,
        "answers": sample.references,
        "group": sample.group,
        "facts": sample.facts,
    }
    arguments = _arguments(table, sample)
    return {
        **record.scores,
        "doc_id": record.prediction.position,
        "doc": doc,
        "target": _target(sample),
        "arguments": arguments,
        "input": arguments[0],
        "resps": [[output.text]],
        "filtered_resps": [output.text if record.parsed is None else record.parsed],
        "token_counts": [
            {
                "input_tokens": output.usage.prompt_tokens + output.usage.visual_tokens,
                "output_tokens": output.usage.generated_tokens,
            }
        ],
        "doc_hash": hashlib.sha256(msgspec.json.encode(doc)).hexdigest(),
    }


def _arguments(table: Table, sample: Sample) -> list[Json]:
    """The prompt and the generation settings; the bare question where no model was asked, or they are not known."""
    if table.task is None or table.task.profile == RESULTS:
        return [sample.question]
    request = table.task.request(sample)
    return [request.prompt, msgspec.to_builtins(request.generation)]


def _target(sample: Sample) -> str:
    """The one reference that there is, or all of them as JSON."""
    if len(sample.references) == 1:
        return sample.references[0]
    return msgspec.json.encode(sample.references).decode()


def _results(table: Table) -> dict[str, Json]:
    """The scores with their clustered errors, what was run, and, under `harness`, the run's document as it is."""
    run, document = table.run, table.document
    name, identity = run.benchmark, run.identity
    plugin, _, ref = run.model.partition(":")
    higher = dict(_directions(table))
    config = {
        "task": name,
        "dataset_path": document["benchmark"]["data"],
        "output_type": "generate_until",
        "num_fewshot": 0,
        "metric_list": [{"metric": score, "higher_is_better": better} for score, better in higher.items()],
        "metadata": document["benchmark"],
    }
    return {
        "results": {name: {"alias": name, **dict(_figures(table))}},
        "group_subtasks": {name: []},
        "configs": {name: config},
        "versions": {name: document["benchmark"]["version"]},
        "n-shot": {name: 0},
        "higher_is_better": {name: higher},
        "n-samples": {name: {"original": None if document["limit"] else run.n, "effective": table.answered}},
        "config": {
            "model": plugin,
            "model_args": ref,
            "batch_size": identity.get("batch"),
            "device": run.facts.get("device"),
            "limit": document["limit"],
            "random_seed": identity.get("seed"),
        },
        "git_hash": run.facts.get("git"),
        "date": _date(table),
        "model_source": plugin,
        "model_name": run.model,
        "model_name_sanitized": _file_name(run.model)[:LENGTH],
        "total_evaluation_time_seconds": str(run.seconds),
        "harness": document,
    }


def _figures(table: Table) -> Iterator[tuple[str, Json]]:
    for name, score in table.document["scores"].items():
        error = "N/A" if score["stderr"] is None else score["stderr"]
        yield f"{name},none", score["value"]
        yield f"{name}_stderr,none", error
        yield f"{name}_stderr_clustered,none", error


def _directions(table: Table) -> Iterator[tuple[str, bool | None]]:
    """The scores, and whether more of each is better."""
    for choice in () if table.task is None else table.task.metrics:
        for name, info in choice.listing.load(**choice.options).info.items():
            if name in table.document["scores"]:
                yield name, info.higher_is_better
