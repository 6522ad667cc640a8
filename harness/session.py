"""A workspace, its settings and the Catalog, together: what commands, training code and notebooks work with."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
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
from harness.runner import LocalEngine, execute
from harness.scoring import metrics_digest, score, unmet_needs
from harness.store import COMPLETE, Run, RunStore
from harness.types import DataSource, Json, Output, Pair, Prediction, Sample

BATCH = 16


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
        tasks = {plan.task.name: plan.task for plan in plans}
        unmet = {name: unmet_needs(task.metrics, self.catalog) for name, task in tasks.items()}
        for name, reasons in unmet.items():
            for reason in dict.fromkeys(reasons.values()):
                missing = ", ".join(score for score, why in reasons.items() if why == reason)
                listener.say(f"{name} will go without {missing}: {reason}")
        facts = environment(self.catalog)
        documents = []
        try:
            for plan in plans:
                run = self._run(plan, engine, facts, options, listener)
                document = self._document(run, plan.task, unmet[plan.task.name])
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
                name, self.catalog, self.settings, data=data, profile=options.profile, protocol=options.protocol
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

    def rescore(self, id: str, protocol: str | None = None) -> dict[str, Json]:
        """Score a stored run anew; needs neither its model nor its data.

        Raises:
            UnknownName: there is no such run, or its benchmark knows no such protocol.
        """
        run = self.store.get(id)
        task = choose_task(
            run.benchmark, self.catalog, self.settings, data=DataSource(path=Path()),
            profile=run.identity["benchmark"]["profile"], protocol=protocol,
        )  # fmt: skip
        return self._score(run, task, unmet_needs(task.metrics, self.catalog))

    def _run(self, plan: Plan, engine: Engine, facts: Mapping[str, Json], options: Options, listener: Listener) -> Run:
        run = self.store.begin(plan, {**facts, "data": str(plan.task.data), "device": plan.device})
        done = self.store.answered(run)
        if options.retry_failures:
            done -= self.store.failed(run)
        if len(done) < run.n:
            self.store.keep_samples(run, plan)
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
            version=plan.model.spec.version,
            digest=plan.model.spec.digest,
            facts={**finished.facts, "data": str(plan.task.data)},
        )

    def _document(self, run: Run, task: Task, unmet: Mapping[str, str]) -> dict[str, Json]:
        """The stored scores where they are all there, else new ones."""
        stored = self.store.scored(run, task.protocol)
        wanted = {name for choice in task.metrics for name in choice.scores}
        same = self.store.made_by(run, task.protocol) == metrics_digest(task.metrics)
        if run.status == COMPLETE and same and wanted <= {*stored.scores, *stored.inapplicable}:
            return run_document(self.store, run, task.protocol)
        return self._score(run, task, unmet)

    def _score(self, run: Run, task: Task, unmet: Mapping[str, str]) -> dict[str, Json]:
        limit = run.identity["limit"]
        limited = f"only the first {limit} samples were evaluated" if limit is not None else ""
        pairs = StoredPairs(self.store, run, task)
        scored = score(pairs, task.metrics, task.protocol, unmet=unmet, limited=limited)
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
