"""A workspace, its settings and the Catalog, together: what commands, training code and notebooks work with."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from harness.checkpoints import EmbeddedStore
from harness.config import Settings, load_settings
from harness.database import Database
from harness.environment import environment
from harness.errors import HarnessError, Incomplete, PluginError
from harness.host import Catalog, build_catalog, say
from harness.plan import Plan, Task, choose_model, choose_task, make_plan
from harness.protocols import CheckpointStore, Engine, Tracker
from harness.report.document import run_document
from harness.results import Results, read_results
from harness.runner import LocalEngine, execute
from harness.scoring import metrics_digest, score, unmet_needs
from harness.store import COMPLETE, Run, RunStore
from harness.types import RESULTS, DataSource, Json, Output, Pair, Prediction, Sample

BATCH = 16
OFFICIAL = "official"
"""The scoring rules of a benchmark's own script, as every benchmark that has them calls them."""
STORED_AT_ONCE = 10_000
"""Answers of a results file in one transaction."""


class Listener:
    """Who watches an evaluation. This one does not."""

    def say(self, text: str) -> None:
        """Something that the user should know."""

    @contextmanager
    def run(self, plan: Plan, done: int) -> Iterator[Listener]:
        """A run goes on from `done` answered samples; the block lasts as long as it does."""
        yield self

    def advance(self, samples: int) -> None:
        """So many samples more are answered and stored."""


@dataclass(frozen=True, slots=True)
class Options:
    """How an evaluation runs; what is None is left to the settings."""

    data: Path | None = None
    split: str | None = None
    profile: str | None = None
    protocol: str | None = None
    metrics: tuple[str, ...] = ()
    limit: int | None = None
    batch: int = BATCH
    seed: int = 0
    device: str | None = None
    engine: str | None = None
    retry_failures: bool = False


class Session:
    """One workspace folder with everything that works on it. Parts are made when they are first used.

    Args:
        home: the workspace's folder; that of the settings, `HARNESS_HOME` or `.harness` where None.
        config: a configuration file or its folder.
    """

    def __init__(self, home: Path | None = None, config: Path | None = None) -> None:
        self._home = home
        self._config = config

    @cached_property
    def settings(self) -> Settings:
        return load_settings(self._config)

    @cached_property
    def catalog(self) -> Catalog:
        return build_catalog()

    @cached_property
    def home(self) -> Path:
        configured = os.environ.get("HARNESS_HOME") or self.settings.workspace.home or ".harness"
        return self._home or Path(configured).expanduser()

    @cached_property
    def database(self) -> Database:
        return Database(self.home)

    @cached_property
    def store(self) -> RunStore:
        return RunStore(self.database)

    @cached_property
    def checkpoints(self) -> CheckpointStore:
        """The checkpoint store of the settings, or of `HARNESS_CHECKPOINTS`; the embedded one where they name none."""
        configured = self.settings.workspace.checkpoints
        name = os.environ.get("HARNESS_CHECKPOINTS") or configured.store
        if name is None:
            return EmbeddedStore(self.database, self.home)
        store: CheckpointStore = self.catalog.find("checkpoint store", name).load(**configured.options)
        return store

    def benchmark(self, name: str, *, split: str | None = None, data: Path | None = None) -> Task:
        """A benchmark ready to be read, by default as the settings have it.

        Raises:
            UnknownName, ConfigError: it does not exist, or nothing says where its data lies.
        """
        source = None if data is None else DataSource(path=data)
        task = choose_task(name, self.catalog, self.settings, data=source)
        return task if split is None else replace(task, data=replace(task.data, split=split))

    def evaluate(
        self,
        models: Sequence[str],
        benchmarks: Sequence[str],
        options: Options = Options(),
        listener: Listener = Listener(),  # noqa: B008 - stateless
    ) -> list[dict[str, Json]]:
        """Evaluate every model on every benchmark, go on where an earlier call stopped, and score.

        Everything is looked up, and all data read, before the first model is loaded.

        Returns:
            One document a run, as `run_document` makes it, in the order of models, then benchmarks.

        Raises:
            HarnessError: of the kind that says what is wrong; finished batches stay stored.
        """
        plans = self.plan(models, benchmarks, options)
        engine: Engine = LocalEngine()
        if options.engine is not None:
            engine = self.catalog.find("engine", options.engine).load()
        able = {
            name: self._able(task, listener) for name, task in {plan.task.name: plan.task for plan in plans}.items()
        }
        facts = environment(self.catalog)
        documents = []
        try:
            for plan in plans:
                run = self._run(plan, engine, facts, options, listener)
                document = self._document(run, *able[plan.task.name])
                self._track(document, listener)
                documents.append(document)
        finally:
            engine.close()
        return documents

    def plan(self, models: Sequence[str], benchmarks: Sequence[str], options: Options) -> list[Plan]:
        """What `evaluate` would run."""
        data = None if options.data is None else DataSource(path=options.data, split=options.split)
        tasks = [
            choose_task(
                name,
                self.catalog,
                self.settings,
                data=data,
                profile=options.profile,
                protocol=options.protocol,
                metrics=options.metrics,
            )
            for name in dict.fromkeys(benchmarks)
        ]
        if options.split is not None:
            tasks = [replace(task, data=replace(task.data, split=options.split)) for task in tasks]
        chosen = [choose_model(text, self.catalog, self.checkpoints) for text in dict.fromkeys(models)]
        device = options.device or self.settings.workspace.device
        return [
            make_plan(
                model, task, limit=options.limit, batch=options.batch, seed=options.seed, device=device,
                hash_image=self.store.hash_image,
            )
            for model in chosen
            for task in tasks
        ]  # fmt: skip

    def rescore(
        self,
        id: str,
        protocol: str | None = None,
        metrics: Sequence[str] = (),
        listener: Listener = Listener(),  # noqa: B008
    ) -> dict[str, Json]:
        """Score a stored run anew; needs neither its model nor its data.

        Raises:
            UnknownName: there is no such run, or its benchmark knows no such protocol or metric.
        """
        run = self.store.get(id)
        profile = run.identity["benchmark"]["profile"]
        if profile == RESULTS:
            task = self._task_of_results(run.benchmark, DataSource(path=Path()), protocol, metrics)
        else:
            task = choose_task(
                run.benchmark, self.catalog, self.settings, data=DataSource(path=Path()), profile=profile,
                protocol=protocol, metrics=metrics,
            )  # fmt: skip
        return self._score(run, *self._able(task, listener))

    def score_results(
        self,
        benchmark: str,
        paths: Sequence[Path],
        options: Options = Options(),
        *,
        allow_partial: bool = False,
        listener: Listener = Listener(),  # noqa: B008 - stateless
    ) -> dict[str, Json]:
        """Score official results files, and store them as a run. Needs the benchmark's annotations, not its pictures.

        The protocol is `official` where none is given and the benchmark has it. The answers are not parsed: what an
        official scorer does with them is the protocol's to say.

        Raises:
            DataError: the files do not answer each sample once (see `read_results`).
        """
        data = self.settings.source(benchmark) if options.data is None else DataSource(path=options.data)
        if data is not None and options.split is not None:
            data = replace(data, split=options.split)
        task = self._task_of_results(benchmark, data, options.protocol, options.metrics)
        task, unmet = self._able(task, listener)
        results = read_results(task, paths, allow_partial=allow_partial, remark=listener.say)
        run = self._keep(results, task, paths)
        if run.status != COMPLETE:
            self.store.keep_samples(run, results.samples)
            predictions = results.predictions()
            while chunk := list(islice(predictions, STORED_AT_ONCE)):
                self.store.add(run, chunk, 0.0)
            run = self.store.finish(run)
        document = self._document(run, task, unmet, results.pairs)
        self._track(document, listener)
        return document

    def sample_scores(self, id: str, protocol: str) -> Iterator[dict[str, Json]]:
        """The answered samples of a scored run: id, answer, and their own values of the scores that have such."""
        run = self.store.get(id)
        columns = self.store.per_sample(run, protocol)
        answered = (item for _, item in self.store.predictions(run) if isinstance(item.result, Output))
        for row, item in enumerate(answered):
            assert isinstance(item.result, Output)
            values = {name: column[row].item() for name, column in columns.items()}
            scores = {name: value if math.isfinite(value) else None for name, value in values.items()}
            yield {"id": item.sample_id, "answer": item.result.text, "scores": scores}

    def _task_of_results(
        self, benchmark: str, data: DataSource | None, protocol: str | None, metrics: Sequence[str]
    ) -> Task:
        """The benchmark as an official results file is scored: no profile, and the official rules if there are such."""
        task = choose_task(benchmark, self.catalog, self.settings, data=data, protocol=protocol, metrics=metrics)
        protocols = task.benchmark.info.protocols
        chosen = task.protocol if protocol else OFFICIAL if OFFICIAL in protocols else protocols[0]
        return replace(task, profile=RESULTS, protocol=chosen)

    def _keep(self, results: Results, task: Task, paths: Sequence[Path]) -> Run:
        """The stored run of these answers, whatever files they were in."""
        identity = {
            "model": {"plugin": RESULTS, "fingerprint": results.fingerprint, "image": None},
            "benchmark": {"name": task.name, "version": task.benchmark.info.version, "profile": RESULTS},
            "data_digest": results.data_digest,
            "limit": None,
        }
        facts = {**environment(self.catalog), "data": str(task.data), "results": [str(path) for path in paths]}
        return self.store.begin(
            identity, facts, len(results.samples), benchmark=task.name,
            model=f"{RESULTS}:{','.join(path.name for path in paths)}", version=None, digest=results.fingerprint,
        )  # fmt: skip

    def _able(self, task: Task, listener: Listener) -> tuple[Task, dict[str, str]]:
        """The task without those default scores that cannot be computed here, and why those asked for cannot be.

        Both are said before anything runs.
        """
        unmet = unmet_needs(task.metrics, self.catalog)
        for reason in dict.fromkeys(unmet.values()):
            missing = ", ".join(score for score, why in unmet.items() if why == reason)
            listener.say(f"{task.name} will go without {missing}: {reason}")
        metrics = tuple(
            choice
            if choice.asked
            else replace(choice, scores=tuple(name for name in choice.scores if name not in unmet))
            for choice in task.metrics
        )
        kept = {name for choice in metrics for name in choice.scores}
        able = replace(task, metrics=tuple(choice for choice in metrics if choice.scores))
        return able, {name: reason for name, reason in unmet.items() if name in kept}

    def _run(self, plan: Plan, engine: Engine, facts: Mapping[str, Json], options: Options, listener: Listener) -> Run:
        spec = plan.model.spec
        run = self.store.begin(
            plan.identity, {**facts, "data": str(plan.task.data), "device": plan.device}, plan.n,
            benchmark=plan.task.name, model=plan.model.text, version=spec.version, digest=spec.digest,
        )  # fmt: skip
        done = self.store.answered(run)
        if options.retry_failures:
            done -= self.store.failed(run)
        if len(done) < run.n:
            self.store.keep_samples(run, (sample for _, sample in plan.samples()))
            with listener.run(plan, len(done)) as watcher:
                last = time.monotonic()

                def sink(predictions: Sequence[Prediction]) -> None:
                    nonlocal last
                    now = time.monotonic()
                    self.store.add(run, predictions, now - last)
                    last = now
                    watcher.advance(len(predictions))

                execute(plan, engine, done.__contains__, sink)
        missing = run.n - len(self.store.answered(run))
        if missing:
            raise Incomplete(f"run {run.id}: the engine returned without {missing} of {run.n} samples; run it again")
        finished = self.store.finish(run)
        return replace(
            finished,
            model=plan.model.text,
            version=spec.version,
            digest=spec.digest,
            facts={**finished.facts, "data": str(plan.task.data)},
        )

    def _document(
        self, run: Run, task: Task, unmet: Mapping[str, str], pairs: Callable[[], Iterable[Pair]] | None = None
    ) -> dict[str, Json]:
        """The stored scores where they are all there, else new ones."""
        stored = self.store.scored(run, task.protocol)
        wanted = {name for choice in task.metrics for name in choice.scores}
        same = self.store.made_by(run, task.protocol) == metrics_digest(task.metrics)
        if run.status == COMPLETE and same and wanted <= {*stored.scores, *stored.inapplicable}:
            return run_document(self.store, run, task.protocol)
        return self._score(run, task, unmet, pairs() if pairs else None)

    def _score(
        self, run: Run, task: Task, unmet: Mapping[str, str], pairs: Iterable[Pair] | None = None
    ) -> dict[str, Json]:
        """Score the run's stored answers, or `pairs` where they are at hand already."""
        limit, failures = run.identity["limit"], sum(count for count, _ in self.store.failures(run).values())
        part = f"only the first {limit} samples were evaluated" if limit is not None else ""
        if not part and failures:
            part = f"only {run.n - failures} of {run.n} samples were answered"
        chosen = StoredPairs(self.store, run, task) if pairs is None else pairs
        scored = score(chosen, task.metrics, task.protocol, unmet=unmet, part=part)
        self.store.keep_scores(run, task.protocol, scored, metrics_digest(task.metrics))
        return run_document(self.store, run, task.protocol)

    def _track(self, document: Mapping[str, Json], listener: Listener) -> None:
        for name in self.settings.workspace.trackers:
            try:
                tracker: Tracker = self.catalog.find("tracker", name).load()
                tracker.run_finished(document)
            except Exception as error:  # noqa: BLE001 - a tracker never costs a result
                listener.say(f"tracker {name!r}: {error if isinstance(error, HarnessError) else say(error)}")


@dataclass(frozen=True, slots=True)
class StoredPairs:
    """A run's answered samples, read from the workspace anew at every iteration."""

    store: RunStore
    run: Run
    task: Task

    def __iter__(self) -> Iterator[Pair]:
        for sample, prediction in self.store.predictions(self.run):
            if isinstance(prediction.result, Output):
                yield Pair(sample, self._parse(sample, prediction.result.text), prediction.result)

    def _parse(self, sample: Sample, text: str) -> str:
        if self.task.profile == RESULTS:
            return text
        try:
            return self.task.benchmark.parse(text, self.task.profile)
        except Exception as error:
            where = f"benchmark {self.task.name!r} could not parse the answer to sample {sample.id!r}"
            raise PluginError(f"{where}: {say(error)}") from error


@contextmanager
def open_session(home: Path | None = None, config: Path | None = None) -> Iterator[Session]:
    """A session for the block; its database is closed afterwards."""
    session = Session(home, config)
    try:
        yield session
    finally:
        if "database" in session.__dict__:
            session.database.close()
