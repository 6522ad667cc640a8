"""What is looked at before anything starts: every mistake at once, each with its line."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from importlib import metadata
from typing import Any, Final

import msgspec

from harness import ConfigError, HarnessError, Session, UnknownName, UsageError, names_secret
from training.jobs.secrets import looks_secret
from training.pipelines.commands import changes
from training.pipelines.contents import Contents, named_file, read_any
from training.pipelines.examining import Question, examine
from training.pipelines.graph import cycle
from training.pipelines.placeholders import DEPENDENCY, SECTIONS, fill, found, texts
from training.pipelines.reading import Kept, Made, Pipeline
from training.pipelines.settings import Evaluate, Gate, Job, Promote

EXAMINED: Final = "examined.json"
"""The file in which it is remembered what the files of a pipeline make, as they were at the last look."""
EVALUATION: Final = "evaluation"
TYPES: Final = {"evaluate": EVALUATION, "sweep": EVALUATION, "gate": EVALUATION}
"""Kind of stage -> the type of what it publishes; a training makes what its config says, a job anything."""
SILENT: Final = ("promote", "deploy")
"""Kinds of stages that publish nothing."""


def check(pipeline: Pipeline, session: Session) -> None:
    """Looks at all that can be wrong with a pipeline before it is carried out.

    Raises:
        ConfigError: something is; one line a mistake.
    """
    # Each step takes for granted what the one before it has looked at.
    for step in (
        _secrets,
        _stages,
        _inputs,
        _placeholders,
        _ring,
        _outputs,
        _types,
        _registry,
        _names,
        _files,
        _configs,
    ):
        _raise(step(pipeline, session))


def _raise(errors: Iterable[ConfigError]) -> None:
    several = list(errors)
    if len(several) == 1:
        raise several[0]
    if several:
        raise ConfigError("\n".join(map(str, several)))


def _secrets(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    """The file and its parameters are stored, logged and reported: a secret is for the environment to hold."""
    hint = "let the program take it from the environment, where stages have it too"
    for name in pipeline.settings.parameters:
        if names_secret(name):
            yield pipeline.error(f"{name}: is named like a secret, which no pipeline holds; {hint}", "parameters", name)
    for at, text in texts(pipeline.settings.model_dump()):
        if looks_secret(text):
            yield pipeline.error(f"{'.'.join(map(str, at))}: holds a secret; {hint}", *at)


def _stages(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    for name, stage in pipeline.stages.items():
        for index, other in enumerate(stage.depends_on):
            if other not in pipeline.stages:
                yield pipeline.error(
                    f"depends_on: {UnknownName('stage', other, pipeline.stages)}", "stages", name, "depends_on", index
                )


def _inputs(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    for name in pipeline.stages:
        try:
            pipeline.sources(name)
        except ConfigError as error:
            yield error


def _placeholders(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    for name, stage in pipeline.stages.items():
        known = _known(pipeline, name)
        for at, placeholder in found(stage.model_dump(), ("stages", name)):
            if placeholder not in known:
                named = placeholder.partition(".")[0] in SECTIONS
                hint = "" if named else "a brace that stands for itself is doubled"
                yield pipeline.error(str(UnknownName("placeholder", placeholder, known, hint)), *at)


def _known(pipeline: Pipeline, name: str) -> dict[str, str]:
    """The placeholders of a stage, each with something that could stand in its place."""
    stage = pipeline.stages[name]
    known = {f"inputs.{key}": _example(pipeline, source) for key, source in pipeline.sources(name).items()}
    if f"inputs.{DEPENDENCY}" in known:
        known[DEPENDENCY] = known.pop(f"inputs.{DEPENDENCY}")
    if isinstance(stage.action, Job):
        known |= {f"outputs.{key}": "." for key in stage.outputs}
    return known


def _example(pipeline: Pipeline, source: Made | Kept) -> str:
    if isinstance(source, Kept):
        return str(source)
    return f"{pipeline.stages[source.stage].outputs[source.output].name}:v0"


def _ring(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    if ring := cycle(pipeline.graph):
        yield pipeline.error(
            f"stages wait for each other: {' → '.join(ring)} (each for the next); one of them must not depend on the "
            "next",
            "stages", ring[0], "depends_on",
        )  # fmt: skip


def _outputs(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    types: dict[str, str] = {}
    for name, stage in pipeline.stages.items():
        for index, (key, output) in enumerate(stage.outputs.items()):
            at = ("stages", name, "outputs", key)
            if stage.kind in SILENT:
                yield pipeline.error(f"{key}: a stage that does {stage.kind} publishes nothing", *at)
            elif index and not isinstance(stage.action, Job):
                yield pipeline.error(f"{key}: a stage that does {stage.kind} publishes one thing", *at)
            elif (needed := TYPES.get(stage.kind, output.type)) != output.type:
                yield pipeline.error(f"{key}: is of type {needed}, not {output.type}: {stage.kind} makes that", *at)
            if types.setdefault(output.name, output.type) != output.type:
                yield pipeline.error(
                    f"{key}: {output.name} is a {types[output.name]} in another stage, not a {output.type}", *at
                )


def _types(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    """Where a model is needed, nothing else is given."""
    for name, stage in pipeline.stages.items():
        if not isinstance(stage.action, Evaluate | Gate | Promote) and stage.kind != "deploy":
            continue
        sources = pipeline.sources(name)
        for at, placeholder in found(getattr(stage.action, "model", ()), ("stages", name, stage.kind, "model")):
            source = sources[placeholder.rpartition(".")[2]]
            if isinstance(source, Made):
                made = pipeline.stages[source.stage].outputs[source.output].type
                if made != "model":
                    yield pipeline.error(f"model: {source.stage}.{source.output} is a {made}; a model is needed", *at)


def _registry(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    """What is taken from the registry is there, and what is published goes under names of its type."""
    for name, stage in pipeline.stages.items():
        for key, source in pipeline.sources(name).items():
            if isinstance(source, Kept):
                try:
                    session.checkpoints.get(source.name, source.ref)
                except UnknownName as error:
                    made = [
                        f"{other}.{output}"
                        for other, candidate in pipeline.stages.items()
                        for output, published in candidate.outputs.items()
                        if published.name == source.name
                    ]
                    hint = f"; write {' or '.join(made)} for what the pipeline makes" if made else ""
                    yield pipeline.error(f"{key}: {error}{hint}", "stages", name, "inputs", key)
        for key, output in stage.outputs.items():
            try:
                kept = session.checkpoints.get(output.name, "latest").type
            except UnknownName:
                continue
            if kept != output.type:
                yield pipeline.error(
                    f"{key}: {output.name} holds versions of type {kept!r}, not {output.type!r}; give it another name",
                    "stages", name, "outputs", key,
                )  # fmt: skip


def _names(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    """Benchmarks, suites, policies and model plugins exist."""
    settings = session.settings
    for name, stage in pipeline.stages.items():
        action, kind = stage.action, stage.kind
        at = ("stages", name, kind)
        if isinstance(action, Evaluate):
            for benchmark in action.benchmarks:
                if benchmark not in settings.benchmarks:
                    yield from _tried(pipeline, lambda b=benchmark: session.benchmark(b), *at, "benchmarks")
            if action.suite is not None:
                yield from _tried(pipeline, lambda a=action: settings.suite(a.suite), *at, "suite")
        policy = getattr(action, "policy", None)
        if policy is not None:
            yield from _tried(pipeline, lambda p=policy: settings.gate(p), *at, "policy")
        if isinstance(action, Evaluate | Gate):
            for model in (action.model,) if isinstance(action.model, str) else action.model:
                plugin = fill(model, _known(pipeline, name)).partition(":")[0]
                yield from _tried(pipeline, lambda m=model, p=plugin: _find_model(session, m, p), *at, "model")


def _find_model(session: Session, model: str, plugin: str) -> None:
    try:
        session.catalog.find("model", plugin)
    except UnknownName as error:
        if not model.startswith("{"):
            raise
        raise UsageError(
            f"{model} is {plugin}, as the registry calls it, and no model plugin has that name; name the one that "
            f"loads it: hf:registry/{model} for what `transformers` loads, or PLUGIN:{model} (known: "
            f"{', '.join(sorted(session.catalog.all('model')))})"
        ) from error


def _tried(pipeline: Pipeline, look: Any, *at: Any) -> Iterator[ConfigError]:
    try:
        look()
    except HarnessError as error:
        yield pipeline.error(f"{at[-1]}: {error}", *at)


def _files(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    """What stages read is there."""
    for name, stage in pipeline.stages.items():
        for index, path in enumerate(stage.job.reads if stage.job is not None else ()):
            if not path.exists():
                yield pipeline.error(f"reads: there is no {path}", "stages", name, "job", "reads", index)


def _configs(pipeline: Pipeline, session: Session) -> Iterator[ConfigError]:
    """The files of trainings, sweeps and jobs are good, and trainings make what the stages publish."""
    asked: dict[str, tuple[str, Question]] = {}
    contents = Contents(session)
    for name, stage in pipeline.stages.items():
        named = named_file(pipeline, stage)
        if named is None:
            continue
        path, settings = named
        changed = changes(fill(settings, _known(pipeline, name)))
        try:
            content = read_any(path, changed)
        except HarnessError as error:
            yield pipeline.error(f"{stage.kind}: {error}", "stages", name, stage.kind)
            continue
        key = _key([stage.kind, content, contents.named(content, path.parent) if stage.sweep else {}])
        asked[name] = (key, (stage.kind, str(path), changed))
    for name, answer in _examined(pipeline, asked, session).items():
        yield from _compared(pipeline, name, answer)


def _examined(
    pipeline: Pipeline, asked: Mapping[str, tuple[str, Question]], session: Session
) -> dict[str, Mapping[str, Any]]:
    """What is known of each stage's file; good ones are looked at once, since that takes seconds."""
    kept = session.home / "pipelines" / pipeline.name / EXAMINED
    try:
        known: dict[str, Mapping[str, Any]] = json.loads(kept.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        known = {}
    new = [name for name, (key, _) in asked.items() if key not in known]
    answers = {
        asked[name][0]: answer for name, answer in zip(new, examine([asked[name][1] for name in new]), strict=True)
    }
    found = {name: {**known, **answers}[key] for name, (key, _) in asked.items()}
    if new:
        good = {key: found[name] for name, (key, _) in asked.items() if "error" not in found[name]}
        kept.parent.mkdir(parents=True, exist_ok=True)
        part = kept.with_name(f"{EXAMINED}.{os.getpid()}")
        part.write_text(json.dumps(good), encoding="utf-8")
        part.replace(kept)
    return found


def _compared(pipeline: Pipeline, name: str, answer: Mapping[str, Any]) -> Iterator[ConfigError]:
    kind = pipeline.stages[name].kind
    if "error" in answer:
        yield pipeline.error(f"{kind}: {answer['error']}", "stages", name, kind)
    if "makes" not in answer:
        return
    for key, output in pipeline.stages[name].outputs.items():
        at = ("stages", name, "outputs", key)
        if output.type != answer["makes"]:
            yield pipeline.error(f"{key}: the training makes a {answer['makes']}, not a {output.type}", *at)
        if output.name != answer["name"]:
            yield pipeline.error(
                f"{key}: the training publishes {answer['name']}, not {output.name}; give it `set: {{name: "
                f"{output.name}}}`, or the output its name",
                *at,
            )


def _key(content: Any) -> str:
    recipe = [metadata.version("vlm-harness"), content]
    return hashlib.sha256(msgspec.json.encode(recipe, order="sorted")).hexdigest()[:32]
