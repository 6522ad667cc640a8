"""Runs to scored runs: which metrics can be computed here, what is stored already, what must be scored anew."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.config import Settings
from harness.errors import PluginError
from harness.host import Catalog, say
from harness.metrics import MetricChoice
from harness.plan import Task, choose_task
from harness.report.document import run_document
from harness.scoring import Pairs, Scored, metric_digest, score, unmet_needs
from harness.store import COMPLETE, Run, RunStore
from harness.types import RESULTS, DataSource, Json, Output, Pair, Sample

OFFICIAL = "official"
"""The scoring rules of a benchmark's own script, as every benchmark that has them calls them."""


class Scorer:
    """Scores the runs of a workspace. What the user should know goes to the `remark` of each call."""

    def __init__(self, store: RunStore, catalog: Catalog, settings: Settings) -> None:
        self._store = store
        self._catalog = catalog
        self._settings = settings

    def able(self, task: Task, remark: Callable[[str], None]) -> tuple[Task, dict[str, str]]:
        """The task without those default scores that cannot be computed here, and why those asked for cannot be.

        Both are said before anything runs.
        """
        unmet = unmet_needs(task.metrics, self._catalog)
        for reason in dict.fromkeys(unmet.values()):
            missing = ", ".join(score for score, why in unmet.items() if why == reason)
            remark(f"{task.name} will go without {missing}: {reason}")
        metrics = tuple(
            choice
            if choice.asked or unmet.keys().isdisjoint(choice.scores)
            else replace(choice, scores=tuple(name for name in choice.scores if name not in unmet))
            for choice in task.metrics
        )
        kept = {name for choice in metrics for name in choice.scores}
        able = replace(task, metrics=tuple(choice for choice in metrics if choice.scores))
        return able, {name: reason for name, reason in unmet.items() if name in kept}

    def rescore(
        self, run: Run, protocol: str | None, metrics: Sequence[str], remark: Callable[[str], None]
    ) -> dict[str, Json]:
        """Score a stored run anew; needs neither its model nor its data. Scores that aren't asked for stay stored.

        Raises:
            UnknownName: there is no such run, or its benchmark knows no such protocol or metric.
        """
        task, unmet = self.able(self.task_of(run, protocol, metrics), remark)
        return run_document(self._store, run, task.protocol, self._score(run, task, unmet))

    def task_of(self, run: Run, protocol: str | None, metrics: Sequence[str]) -> Task:
        """A run's benchmark as it is scored: by the arguments, else as configured. Its data is not needed.

        Raises:
            UnknownName: the benchmark knows no such protocol or metric.
        """
        nowhere, profile = DataSource(path=Path()), run.identity["benchmark"]["profile"]
        if profile == RESULTS:
            return self.task_of_results(run.benchmark, nowhere, protocol, metrics)
        return choose_task(
            run.benchmark, self._catalog, self._settings, data=nowhere, profile=profile, protocol=protocol,
            metrics=metrics,
        )  # fmt: skip

    def task_of_results(
        self, benchmark: str, data: DataSource | None, protocol: str | None, metrics: Sequence[str]
    ) -> Task:
        """The benchmark as an official results file is scored: no profile, and the official rules if there are such."""
        task = choose_task(benchmark, self._catalog, self._settings, data=data, protocol=protocol, metrics=metrics)
        protocols = task.benchmark.info.protocols
        chosen = task.protocol if protocol else OFFICIAL if OFFICIAL in protocols else protocols[0]
        return replace(task, profile=RESULTS, protocol=chosen)

    def document(
        self, run: Run, task: Task, unmet: Mapping[str, str], pairs: Callable[[], Pairs] | None = None
    ) -> dict[str, Json]:
        """The scores that the task wants: the stored ones where they are there, else new ones.

        Args:
            pairs: gives the answered samples, where they are at hand already.
        """
        made_by, stored = self._store.made_by(run, task.protocol), self._store.scored(run, task.protocol)
        current = {name: made_by.get(name) for name in (*stored.scores, *stored.inapplicable)}
        lacking = [
            choice
            for choice in task.metrics
            if run.status != COMPLETE or {current.get(name) for name in choice.scores} != {metric_digest(choice)}
        ]
        if lacking:
            new = self._score(run, replace(task, metrics=tuple(lacking)), unmet, pairs() if pairs else None)
            old = stored.only(set(current).difference(_names(lacking)))
            nothing = (*old.inapplicable, *new.inapplicable)
            stored = Scored({**old.scores, **new.scores}, {}, new.unscored, nothing)
        return run_document(self._store, run, task.protocol, stored.only(_names(task.metrics)))

    def _score(self, run: Run, task: Task, unmet: Mapping[str, str], pairs: Pairs | None = None) -> Scored:
        """Score the run's stored answers, or `pairs` where they are at hand already, and store the scores.

        What is given back is what was made now: another process may take it from the workspace at any time.
        """
        limit, failures = run.identity["limit"], sum(count for count, _ in self._store.failures(run).values())
        part = f"only the first {limit} samples were evaluated" if limit is not None else ""
        if not part and failures:
            part = f"only {run.n - failures} of {run.n} samples were answered"
        chosen = StoredPairs(self._store, run, task) if pairs is None else pairs
        made_by = {name: metric_digest(choice) for choice in task.metrics for name in choice.scores}
        known = {name: reason for name, reason in unmet.items() if name in made_by}
        scored = score(chosen, task.metrics, task.protocol, unmet=known, part=part)
        configured = _names(self.task_of(run, task.protocol, ()).metrics)
        return self._store.keep_scores(run, task.protocol, scored, made_by, configured).only(made_by)

    def sample_scores(self, run: Run, protocol: str) -> Iterator[dict[str, Json]]:
        """The answered samples of a scored run: id, answer, and their own values of the scores that have such."""
        columns = self._store.per_sample(run, protocol)
        answered = (item for _, item in self._store.predictions(run) if isinstance(item.result, Output))
        for row, item in enumerate(answered):
            assert isinstance(item.result, Output)
            values = {name: column[row].item() for name, column in columns.items()}
            scores = {name: value if math.isfinite(value) else None for name, value in values.items()}
            yield {"id": item.sample_id, "answer": item.result.text, "scores": scores}


@dataclass(frozen=True, slots=True)
class StoredPairs:
    """A run's answered samples, read from the workspace anew at every iteration."""

    store: RunStore
    run: Run
    task: Task

    def __len__(self) -> int:
        return self.store.asked(self.run) - len(self.store.failed(self.run))

    def __iter__(self) -> Iterator[Pair]:
        for sample, prediction in self.store.predictions(self.run):
            if isinstance(prediction.result, Output):
                yield Pair(sample, parsed(self.task, sample, prediction.result.text), prediction.result)


def parsed(task: Task, sample: Sample, text: str) -> str:
    """The answer in what a model said; an official results file holds answers already.

    Raises:
        PluginError: the benchmark can't parse it.
    """
    if task.profile == RESULTS:
        return text
    try:
        return task.benchmark.parse(text, task.profile)
    except Exception as error:
        where = f"benchmark {task.name!r} could not parse the answer to sample {sample.id!r}"
        raise PluginError(f"{where}: {say(error)}") from error


def _names(metrics: Iterable[MetricChoice]) -> list[str]:
    """The scores that are wanted of metrics, in their order."""
    return [name for choice in metrics for name in choice.scores]
