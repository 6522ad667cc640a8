"""The model card of a finished checkpoint: README.md as the hub and its readers expect it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData, hf_hub_download
from huggingface_hub.errors import HfHubHTTPError

from harness import Json, Privacy, Score, UnknownName
from training.job import Job

CARD = "README.md"
TASK = "image-text-to-text"
OTHER = "other"
SUPERVISION = {"alignment": "names and boxes of objects: patches were aligned with words (`alignment`)"}
"""Settings that let a model learn from more than prompts and answers, and what of."""

_VERSION = re.compile(r"([\w.-]+):(v\d+)")
_ON_HUB = re.compile(r"([\w.-]+/[\w.-]+)@([0-9a-f]{40})")
"""How `modelling.models.Start` names a version of the registry, and a model of the hub; all else is a folder."""

_TEMPLATE = """\
---
{front}
---

# {name}

A vision-language model, made by the stage `{stage}` of vlm-harness {version}: {steps}.
{loading}

## Results

{results}

## Made from

{parents}

## Data

{data}

{supervision}## Settings

```yaml
{settings}
```

## Intended use

Answers to questions about pictures like those of its data, for research and evaluation. It was evaluated on nothing but
what the table says; it may be wrong anywhere, and more so elsewhere. It is not meant for decisions about people.

## Licence

{licence}
"""


def write_card(folder: Path, job: Job, scores: Mapping[str, Score], facts: Mapping[str, Json]) -> None:
    """Writes the card of a finished model into its folder.

    Args:
        scores: of the model, `benchmark.metric` -> score.
        facts: its `step`, `steps` and `license`.
    """
    settings = job.settings
    given = facts["license"]
    data = ModelCardData(
        model_name=settings.name,
        license=given,
        library_name="transformers",
        pipeline_tag=TASK,
        base_model=[found[1] for name in job.parents if (found := _ON_HUB.fullmatch(name))] or None,
        tags=["vlm-harness", settings.stage],
        eval_results=[_result(name, score) for name, score in scores.items()] or None,
    )
    text = _TEMPLATE.format(
        front=data.to_yaml(),
        name=settings.name,
        stage=settings.stage,
        version=metadata.version("vlm-harness"),
        steps=_steps(facts),
        loading=_loading(folder),
        results=_results(scores, job),
        parents=_digests(job.parents, "nothing: all weights were new"),
        data=_digests(job.data, "none"),
        supervision=_supervision(job),
        settings=yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True).strip(),
        licence=_terms(given, job),
    )
    ModelCard(Privacy().said(text)).save(folder / CARD)


def licence(job: Job) -> str | None:
    """The settings', or that of what the training starts from; `other`, as the hub has it, where parts have several."""
    given: str | None = job.settings.license
    stated = set(_licences(job).values()) if given is None else {given}
    return OTHER if len(stated) > 1 else next(iter(stated), None)


def _licences(job: Job) -> dict[str, str]:
    """What the training starts from -> its licence, where it states one."""
    found = {name: _licence_of(name, job) for name in job.parents}
    return {name: stated for name, stated in found.items() if stated is not None}


def _terms(given: str | None, job: Job) -> str:
    if given is None:
        return "None is stated, neither by the settings (`license`) nor by what it was made from."
    if given != OTHER or job.settings.license is not None:
        return given
    rows = [(f"`{name}`", stated) for name, stated in _licences(job).items()]
    return f"The terms of all that it was made from hold:\n\n{_table(('name', 'licence'), rows)}"


def _licence_of(parent: str, job: Job) -> str | None:
    if found := _VERSION.fullmatch(parent):
        try:
            version = job.session.checkpoints.get(*found.groups())
        except UnknownName:
            return None
        stated = version.metadata.get("license") if version.type == "model" else None  # a dataset has its own
        return None if stated is None else str(stated)
    if found := _ON_HUB.fullmatch(parent):
        try:
            return _stated(Path(hf_hub_download(found[1], CARD, revision=found[2])))
        except (HfHubHTTPError, OSError):  # it has no card, or nobody is there to ask
            return None
    return _stated(Path(parent) / CARD)


def _stated(card: Path) -> str | None:
    try:
        stated = ModelCard.load(card, ignore_metadata_errors=True).data.license
    except (OSError, ValueError):
        return None
    return None if stated is None else str(stated)


def _result(name: str, score: Score) -> EvalResult:
    benchmark, _, metric = name.partition(".")
    return EvalResult(
        task_type=TASK, dataset_type=benchmark, dataset_name=benchmark, metric_type=metric, metric_value=score.value
    )


def _steps(facts: Mapping[str, Json]) -> str:
    step, steps = facts["step"], facts["steps"]
    return f"{steps} steps" if step == steps else f"the best of {steps} steps, that after step {step}"


def _loading(folder: Path) -> str:
    config = folder / "config.json"
    own = config.is_file() and json.loads(config.read_text(encoding="utf-8")).get("model_type") == "arr_coc"
    return "It is loaded by `from_pretrained`" + (", after `import arr_coc_model`." if own else ".")


def _results(scores: Mapping[str, Score], job: Job) -> str:
    if not scores:
        return "It was not evaluated."
    rows = [
        (f"`{name}`", f"{score.value:.4g}", _interval(score), str(score.n), score.note)
        for name, score in scores.items()
    ]
    limit = job.settings.evaluate.limit
    part = "" if limit is None else f", the first {limit} samples of each benchmark"
    split = job.settings.evaluate.split or "the split that benchmarks.yaml names"
    table = _table(("score", "value", "95% interval", "samples", "note"), rows)
    return f"{table}\n\nMeasured on the finished model: {split}{part}. Intervals are clustered by picture."


def _interval(score: Score) -> str:
    return "–" if score.low is None or score.high is None else f"{score.low:.4g} to {score.high:.4g}"


def _digests(digests: Mapping[str, str], nothing: str) -> str:
    if not digests:
        return nothing[0].upper() + nothing[1:] + "."
    return _table(("name", "digest"), ((f"`{name}`", f"`{digest}`") for name, digest in digests.items()))


def _supervision(job: Job) -> str:
    used = [f"- {text}" for name, text in SUPERVISION.items() if getattr(job.settings, name, None) is not None]
    return "\n".join(["## Supervision beside prompts and answers", "", *used, "", ""]) if used else ""


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
