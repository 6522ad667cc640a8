"""A workspace, its settings and the Catalog, together: what commands, training code and notebooks work with."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path

from harness.checkpoints import EmbeddedStore
from harness.compare import Comparer
from harness.config import Settings, load_settings
from harness.database import Database
from harness.encoding import encode_sample
from harness.environment import environment
from harness.errors import ConfigError, Incomplete, UsageError
from harness.gate import Gate
from harness.host import Catalog, build_catalog
from harness.live import LiveEvaluation, unnamed
from harness.plan import ModelChoice, Plan, Task, choose_model, choose_task, make_plan
from harness.promotion import Promoter
from harness.protocols import CheckpointStore, Engine, LivePlugin, Tracker
from harness.report.document import run_document
from harness.report.gather import Reporter
from harness.results import collector_paused, read_results
from harness.runner import LocalEngine, execute
from harness.scorer import Scorer
from harness.store import COMPLETE, Run, RunStore
from harness.tracking import Source, Trackers
from harness.trainings import TrainingStore
from harness.types import RESULTS, DataSource, Json, Prediction
from harness.verdict import Verdict
from harness.verdicts import VerdictStore
from harness.work import WorkStore

BATCH = 16
EMBEDDED = "embedded"
"""The name of the checkpoint store in the workspace."""
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
    def environment(self) -> dict[str, Json]:
        """Versions, plugins, source revision, hardware and command line, as a run stores them; never a secret."""
        return environment(self.catalog)

    @cached_property
    def home(self) -> Path:
        """The workspace's folder, which need not be there.

        Raises:
            ConfigError: it cannot be one, since it is a file or lies beneath one.
        """
        configured = os.environ.get("HARNESS_HOME") or self.settings.workspace.home or ".harness"
        home = self._home or Path(configured).expanduser()
        with suppress(OSError):  # what cannot be looked at is told when it is opened
            file = next((place for place in (home, *home.parents) if place.is_file()), None)
            if file is not None:
                raise ConfigError(
                    f"{home}: the workspace cannot be there: {file} is a file; set HARNESS_HOME to a folder"
                )
        return home

    @cached_property
    def database(self) -> Database:
        return Database(self.home)

    @cached_property
    def store(self) -> RunStore:
        return RunStore(self.database)

    @cached_property
    def trainings(self) -> TrainingStore:
        return TrainingStore(self.database)

    @cached_property
    def work(self) -> WorkStore:
        return WorkStore(self.database)

    @cached_property
    def scorer(self) -> Scorer:
        return Scorer(self.store, self.catalog, self.settings)

    @cached_property
    def comparer(self) -> Comparer:
        return Comparer(self.store, self.scorer)

    @cached_property
    def gate(self) -> Gate:
        return Gate(self.store, self.scorer, self.comparer, self.catalog, self.settings, self.checkpoints)

    @cached_property
    def verdicts(self) -> VerdictStore:
        return VerdictStore(self.database)

    @cached_property
    def promoter(self) -> Promoter:
        return Promoter(self.checkpoints, self.verdicts, self.gate, self.settings)

    @cached_property
    def trackers(self) -> Trackers:
        return Trackers(self.catalog, self.settings, self.home)

    @cached_property
    def checkpoints(self) -> CheckpointStore:
        """The checkpoint store of the settings, or of `HARNESS_CHECKPOINTS`; the embedded one where they name none."""
        configured = self.settings.workspace.checkpoints.store
        return self.checkpoint_store(os.environ.get("HARNESS_CHECKPOINTS") or configured or EMBEDDED)

    def checkpoint_store(self, name: str) -> CheckpointStore:
        """The checkpoint store of that name: `embedded`, or a plugin's, with the options that the settings have for it.

        Raises:
            UnknownName: there is no such store.
            UsageError: it has no such option, or the option no such value.
        """
        if name == EMBEDDED:
            return EmbeddedStore(self.database, self.home)
        configured = self.settings.workspace.checkpoints
        options = configured.options if configured.store in {None, name} else {}
        store: CheckpointStore = self.catalog.find("checkpoint store", name).load(**options)
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
            name: self.scorer.able(task, listener.say)
            for name, task in {plan.task.name: plan.task for plan in plans}.items()
        }
        facts = self.environment
        documents = []
        try:
            for plan in plans:
                run = self._run(plan, engine, facts, options, listener)
                document = self.scorer.document(run, *able[plan.task.name])
                self._track(run, document, listener)
                documents.append(document)
        finally:
            engine.close()
        return documents

    def live(
        self,
        plugin: str,
        benchmarks: Sequence[str],
        options: Options = Options(),
        listener: Listener = Listener(),  # noqa: B008 - stateless
    ) -> LiveEvaluation:
        """Benchmarks to be asked of a model in memory, as `evaluate` asks a stored one; all data is read now.

        Raises:
            UnknownName, ConfigError, DataError: a benchmark or the plugin is unknown, or the data is not there.
            UsageError: the plugin takes no model in memory.
        """
        found = self.catalog.find("model", plugin).load()
        if not isinstance(found, LivePlugin):
            raise UsageError(f"the model plugin {plugin!r} takes no model that is in memory")
        tasks = self.tasks(benchmarks, options)
        able = {task.name: self.scorer.able(task, listener.say) for task in tasks}
        plans = [self._plan(unnamed(plugin), able[task.name][0], options) for task in tasks]
        return LiveEvaluation(found, plans, {name: unmet for name, (_, unmet) in able.items()})

    def plan(self, models: Sequence[str], benchmarks: Sequence[str], options: Options) -> list[Plan]:
        """What `evaluate` would run."""
        tasks = self.tasks(benchmarks, options)
        chosen = [choose_model(text, self.catalog, self.checkpoints) for text in dict.fromkeys(models)]
        return [self._plan(model, task, options) for model in chosen for task in tasks]

    def _plan(self, model: ModelChoice, task: Task, options: Options) -> Plan:
        device = options.device or self.settings.workspace.device
        return make_plan(
            model, task, limit=options.limit, batch=options.batch, seed=options.seed, device=device,
            hash_image=self.store.hash_image,
        )  # fmt: skip

    def tasks(self, benchmarks: Sequence[str], options: Options) -> list[Task]:
        """The benchmarks with everything chosen, by the options or the settings.

        Raises:
            UnknownName, ConfigError: a benchmark, profile, protocol or metric is unknown, or nothing says where the
                data lies.
        """
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
        return tasks

    def rescore(
        self,
        id: str,
        protocol: str | None = None,
        metrics: Sequence[str] = (),
        listener: Listener = Listener(),  # noqa: B008 - stateless
    ) -> dict[str, Json]:
        """Score a stored run anew; needs neither its model nor its data.

        Raises:
            UnknownName: there is no such run, or its benchmark knows no such protocol or metric.
        """
        return self.scorer.rescore(self.store.get(id), protocol, metrics, listener.say)

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
        task = self.scorer.task_of_results(benchmark, data, options.protocol, options.metrics)
        task, unmet = self.scorer.able(task, listener.say)
        with collector_paused():
            return self._score_results(task, unmet, paths, allow_partial, listener)

    def _score_results(
        self, task: Task, unmet: Mapping[str, str], paths: Sequence[Path], allow_partial: bool, listener: Listener
    ) -> dict[str, Json]:
        results = read_results(task, paths, allow_partial=allow_partial, remark=listener.say)
        model, data = f"{RESULTS}:{','.join(path.name for path in paths)}", str(task.data)
        facts = {**self.environment, "data": data, "results": [str(path) for path in paths]}
        run = self.store.begin(
            results.identity(task), facts, len(results.samples), benchmark=task.name, model=model, version=None,
            digest=results.fingerprint,
        )  # fmt: skip
        if run.status != COMPLETE:
            self.store.keep_samples(run, zip(results.samples, results.contents, strict=True))
            predictions = results.predictions()
            while chunk := list(islice(predictions, STORED_AT_ONCE)):
                self.store.add(run, chunk, 0.0)
            run = self.store.finish(run)
        # The same answers may have been in another file, to the same samples elsewhere, when they were first scored.
        run = replace(run, model=model, facts={**run.facts, "data": data})
        document = self.scorer.document(run, task, unmet, results.pairs)
        self._track(run, document, listener)
        return document

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
            self.store.keep_samples(run, ((sample, encode_sample(sample)) for _, sample in plan.samples()))
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

    def tell_verdict(self, verdict: Verdict, remark: Callable[[str], None]) -> None:
        """Tell the trackers what a policy says of runs."""

        def tell(tracker: Tracker) -> None:
            source = self._source(remark)
            runs = [self.store.get(name) for name in verdict.runs.values()]
            rules = [verdict.protocols[run.benchmark] for run in runs]
            documents = [run_document(self.store, run, protocol) for run, protocol in zip(runs, rules, strict=True)]
            told = [source.run(run, document) for run, document in zip(runs, documents, strict=True)]
            tracker.verdict_given(source.verdict(verdict), told)

        self.trackers.tell(tell, remark)

    def _track(self, run: Run, document: Mapping[str, Json], listener: Listener) -> None:
        self.trackers.tell(
            lambda tracker: tracker.run_finished(self._source(listener.say).run(run, document)), listener.say
        )

    def _source(self, remark: Callable[[str], None]) -> Source:
        """Where trackers see runs."""
        reporter = Reporter(
            self.store, self.comparer, self.verdicts, self.trainings, self.benchmark, self.settings.source, remark
        )
        folders = (self.home, self.settings.base)
        return Source(self.store, self.scorer, lambda: self.checkpoints, reporter.task_of, folders, remark)


@contextmanager
def open_session(home: Path | None = None, config: Path | None = None) -> Iterator[Session]:
    """A session for the block; its database is closed afterwards."""
    session = Session(home, config)
    try:
        yield session
    finally:
        if "database" in session.__dict__:
            session.database.close()
