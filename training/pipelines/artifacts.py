"""What stages made: read from what their processes said, published, and looked at again before it is used again."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from harness import HarnessError, Json, Session, UnknownName, UsageError, Version
from training.deploy.folder import is_deployed
from training.jobs.task import last_line, result_of
from training.pipelines.identity import Artifact
from training.pipelines.settings import Gate, Job, Stage

KEPT: Final = ("run", "model", "benchmark", "limit", "n", "coverage", "failures", "scores", "unscored", "inapplicable")
"""What is published of a run: what it found; neither where its data lay nor how long it took."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A stage's process that ended well.

    Attributes:
        log: where its output is.
        folder: of the stage; `outputs` in it holds what a command made, by output.
        inputs: what it took, by name.
        facts: what a version says of how it was made.
    """

    log: Path
    folder: Path
    inputs: Mapping[str, Artifact]
    facts: Mapping[str, Json]


def collect(stage: Stage, ended: Ended, session: Session) -> dict[str, Json]:
    """Publishes what a stage made, and tells of it: `outputs`, `scores`, `said`, and what it rests on.

    Raises:
        HarnessError: its process did not say, or did not make, what the file promises.
    """
    document = result_of(ended.log) or {}
    if stage.job is not None:
        said: object = document if stage.job.command else document.get("result")
        document = said if isinstance(said, dict) else {}
    elif not document:
        raise HarnessError(f"the command ended well and said no result; its output is in {ended.log}")
    told: dict[str, Json] = {"scores": list(_scores(stage.kind, document)), **_told(stage.kind, document)}
    told["outputs"] = {
        key: asdict(_output(stage, key, document, ended, told["scores"], session)) for key in stage.outputs
    }
    return told


def failure(stage: Stage, code: int, log: Path) -> tuple[str, dict[str, Json]]:
    """Why a stage's process ended badly, in a line, and what it said all the same."""
    document = result_of(log) or {}
    if stage.gate is None or "findings" not in document:
        return ": ".join(filter(None, (f"exit code {code}", last_line(log)))), {}
    told: dict[str, Json] = {"outputs": {}, "scores": list(_scores(stage.kind, document)), **_told("gate", document)}
    lacking = [
        f"{row['name']} {'is not there' if row['value'] is None else format(row['value'], '.3f')}, "
        f"needed {row['needed']}" + ("" if row["status"] == document["verdict"] else f": {row['status']}")
        for row in told["scores"]
        if row["status"] not in ("pass", "skipped")
    ]
    return f"{document['verdict']}: {'; '.join(lacking)}", told


def stands(stage: Stage, result: Mapping[str, Json], session: Session) -> str | None:
    """Why what a stage made is not there any more as it was; None where it is."""
    for output in result["outputs"].values():
        name, _, ref = output["reference"].partition(":")
        try:
            version = session.checkpoints.get(name, ref)
        except UnknownName:
            return f"{output['reference']} was deleted"
        if version.digest != output["digest"]:
            return f"{output['reference']} is another one now"
    if stage.gate is not None and not _compares_with_the_same(stage.gate, result, session):
        return "what it was compared with is another one now"
    if stage.promote is not None:
        return _promoted(result, session)
    if stage.deploy is not None and not is_deployed(Path(result["folder"]), result["digest"]):
        return f"{result['folder']} is not as it was written"
    return None


def _scores(kind: str, document: Mapping[str, Any]) -> Iterator[dict[str, Json]]:
    """The main score of each benchmark, a row each; of a sweep the best trial's."""
    if kind == "train":
        seen = set()
        for name, score in document["stages"][-1]["scores"].items():
            benchmark = name.partition(".")[0]
            if benchmark not in seen and not name.endswith(".coverage"):
                seen.add(benchmark)
                yield {"name": name, **{part: score[part] for part in ("value", "low", "high")}}
    elif kind == "evaluate":
        for run in document["runs"]:
            for metric, score in list(run["scores"].items())[:1]:
                row = {part: score[part] for part in ("value", "low", "high")}
                yield {"name": f"{run['benchmark']['name']}.{metric}", "model": run["model"]["ref"], **row}
    elif kind == "sweep" and document["best"] is not None:
        best = document["best"]
        yield {"name": document["metric"]["name"], **{part: best.get(part) for part in ("value", "low", "high")}}
    elif kind == "gate":
        for finding in document["findings"]:
            row = {"value": finding["measured"], "low": finding["low"], "high": finding["high"]}
            yield {"name": finding["score"], "needed": finding["needed"], "status": finding["status"], **row}


def _told(kind: str, document: Mapping[str, Any]) -> dict[str, Json]:
    """What is remembered of a stage that publishes no model: what it rests on, and how it is said in a line."""
    if kind == "gate":
        baseline = document["baseline"]
        return {
            "said": f"{document['verdict']} (verdict {document['id']})",
            "model": document["model"]["digest"],
            "baseline": baseline and baseline["digest"],
        }
    if kind == "sweep":
        trials = len(document["trials"])
        best = document["best"] and f", the best is {document['best']['trial']}"
        return {"said": f"{trials} {'trial' if trials == 1 else 'trials'}{best or ''}"}
    if kind == "promote":
        return {"said": f"{document['after']} is {document['alias']}", **{key: document[key] for key in _MOVE}}
    if kind == "deploy":
        return {"said": f"{document['checkpoint']} in {document['folder']}", **{key: document[key] for key in _WRITTEN}}
    return {}


_MOVE: Final = ("alias", "after", "digest")
_WRITTEN: Final = ("folder", "digest")


def _output(
    stage: Stage, key: str, document: Mapping[str, Any], ended: Ended, scores: Sequence[Json], session: Session
) -> Artifact:
    output = stage.outputs[key]
    made = ended.folder / "outputs" / key
    if stage.train is not None:
        version = _named(document["stages"][-1]["checkpoint"], session)
    elif isinstance(stage.action, Job) and not (made.is_dir() and any(made.iterdir())):
        said = document.get("outputs")
        named = (said.get(key) if isinstance(said, dict) else None) or document.get("checkpoint")
        if not isinstance(named, str):
            raise HarnessError(
                f"made no {key}: nothing is in the folder {{outputs.{key}}}, and the last line of its "
                f"output is no JSON object that names a version under outputs: {{{key}: NAME:vN}}; see {ended.log}"
            )
        version = _named(named, session)
    else:
        if not isinstance(stage.action, Job):
            _write(made, stage.kind, document)
        version = session.checkpoints.publish(
            made, output.name, type=output.type, metadata={**ended.facts, "scores": scores},
            parents=_parents(stage, ended, document),
        )  # fmt: skip
    if (version.name, version.type) != (output.name, output.type):
        raise HarnessError(
            f"{key} is {version}, a {version.type}, and the pipeline's file says {output.name}, a {output.type}"
        )
    return Artifact(str(version), version.digest, version.type)


def _named(reference: str, session: Session) -> Version:
    name, _, ref = reference.partition(":")
    return session.checkpoints.get(name, ref)


def _parents(stage: Stage, ended: Ended, document: Mapping[str, Any]) -> list[str]:
    """What it was made from, and the models that were evaluated."""
    digests = [artifact.digest for artifact in ended.inputs.values()]
    if stage.evaluate is not None:
        digests += [run["model"]["digest"] for run in document["runs"]]
    return [digest for digest in dict.fromkeys(digests) if digest]


def _write(folder: Path, kind: str, document: Mapping[str, Any]) -> None:
    """The document of a stage as a folder that can be published."""
    if kind == "evaluate":
        runs = [{key: run[key] for key in KEPT} for run in document["runs"]]
        for run in runs:
            run["benchmark"] = {key: value for key, value in run["benchmark"].items() if key != "data"}
        document = {"runs": runs}
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / f"{kind}.json").write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=2))


def _compares_with_the_same(gate: Gate, result: Mapping[str, Json], session: Session) -> bool:
    """Whether a gate's baseline is as it was, or is the judged model itself, as after its promotion."""
    text = gate.baseline or session.settings.gate(gate.policy).baseline
    if text is None:
        return result["baseline"] is None
    try:
        now: str | None = _named(text, session).digest  # the plugin would say the same, and import PyTorch for it
    except UsageError:
        if gate.baseline is not None:  # runs, which never change
            return True
        now = session.gate.baseline_digest(gate.policy)
    return now in (result["baseline"], result["model"])


def _promoted(result: Mapping[str, Json], session: Session) -> str | None:
    name = result["after"].partition(":")[0]
    try:
        now = session.checkpoints.get(name, result["alias"]).digest
    except UnknownName:
        now = None
    return None if now == result["digest"] else f"{name}:{result['alias']} was moved"
