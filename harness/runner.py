"""Plan to predictions: batches, resuming, and the embedded engine that prepares ahead on worker threads."""

from __future__ import annotations

import gc
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

from harness.errors import HarnessError, ImageError, Incomplete, PluginError
from harness.host import say
from harness.plan import Plan
from harness.protocols import Batch, Engine, LoadedModel, Preparer, Sink
from harness.types import Failure, Output, Prediction, Sample

AHEAD = 4
"""Batches that are prepared before the device wants them; bounds the memory that prefetching takes."""
HOPELESS = 5
"""Batches without a single output, one after another, after which a model counts as broken."""


def batches(plan: Plan, done: Callable[[int], bool]) -> Iterator[Batch]:
    """The plan's samples in batches of its size, without those batches that are wholly done.

    A batch is always made of the same samples, whatever was done before: batches are committed whole, and a
    resumed run is to be the unbroken one.
    """
    samples = plan.samples()
    while chunk := tuple(islice(samples, plan.batch)):
        if not all(done(position) for position, _ in chunk):
            yield chunk


def execute(plan: Plan, engine: Engine, done: Callable[[int], bool], sink: Sink) -> None:
    """Run what is not done, through an engine, into a sink that commits.

    Raises:
        Incomplete: the model failed on many batches in a row; what it answered is kept.
    """
    engine.run(plan, batches(plan, done), _Watch(sink))


class _Watch:
    """A sink that gives up on a model that has ceased to answer."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._barren = 0

    def __call__(self, predictions: Sequence[Prediction]) -> None:
        self._sink(predictions)
        failures = [item.result for item in predictions if isinstance(item.result, Failure)]
        broken = [failure for failure in failures if failure.kind != "unreadable_image"]
        self._barren = self._barren + 1 if len(broken) == len(predictions) else 0
        if self._barren == HOPELESS:
            raise Incomplete(
                f"the model gave no output in {HOPELESS} batches, one after another; the last failure: "
                f"{broken[-1].kind}: {broken[-1].message}; once that is mended, the same command with --retry-failures"
            )


@dataclass(frozen=True, slots=True)
class _Loaded:
    fingerprint: str
    device: str
    preparer: Preparer
    model: LoadedModel


class LocalEngine:
    """Runs plans in this process: preparation on worker threads, the model on the calling thread.

    A model stays loaded until a plan wants another, since several benchmarks are asked of each.

    Args:
        workers: threads that decode and tokenize; as many as there are cores, up to 8, where None.
    """

    def __init__(self, workers: int | None = None) -> None:
        self._workers = workers or min(8, os.cpu_count() or 1)
        self._loaded: _Loaded | None = None

    def run(self, plan: Plan, batches: Iterable[Batch], sink: Sink) -> None:
        """One batch after another, in order. Nothing is loaded where nothing is left to do."""
        iterator = iter(batches)
        first = next(iterator, None)
        if first is None:
            return
        loaded = self._load(plan)
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="prepare")
        waiting: deque[tuple[Batch, list[Future[Any]]]] = deque()

        def submit(batch: Batch) -> None:
            futures = [pool.submit(_prepare, plan, loaded.preparer, sample) for _, sample in batch]
            waiting.append((batch, futures))

        try:
            for batch in chain([first], islice(iterator, AHEAD - 1)):
                submit(batch)
            while waiting:
                batch, futures = waiting.popleft()
                sink(_answer(batch, [future.result() for future in futures], loaded))
                for following in islice(iterator, 1):
                    submit(following)
        finally:
            pool.shutdown(cancel_futures=True)

    def close(self) -> None:
        """Let the loaded model go."""
        if self._loaded is not None:
            self._loaded.model.close()
            self._loaded = None
            gc.collect()

    def _load(self, plan: Plan) -> _Loaded:
        spec = plan.model.spec
        if self._loaded is None or (self._loaded.fingerprint, self._loaded.device) != (spec.fingerprint, plan.device):
            self.close()
            try:
                self._loaded = _Loaded(spec.fingerprint, plan.device, spec.preparer(), spec.load(plan.device))
            except HarnessError:
                raise
            except Exception as error:
                raise PluginError(f"model {plan.model.text!r} could not be loaded: {say(error)}") from error
        return self._loaded


def _prepare(plan: Plan, preparer: Preparer, sample: Sample) -> Any | Failure:
    """A sample's own failure stays its own."""
    try:
        return preparer.prepare(plan.request(sample))
    except ImageError as error:
        return Failure("unreadable_image", str(error))
    except Exception as error:  # noqa: BLE001 - whatever a plugin raises on one sample is that sample's failure
        return Failure("prepare", say(error))


def _answer(batch: Batch, prepared: Sequence[Any | Failure], loaded: _Loaded) -> list[Prediction]:
    ready = [index for index, item in enumerate(prepared) if not isinstance(item, Failure)]
    results = dict(zip(ready, _generate([prepared[index] for index in ready], loaded), strict=True))
    return [
        Prediction(position, sample.id, results[index] if index in results else prepared[index])
        for index, (position, sample) in enumerate(batch)
    ]


def _generate(items: Sequence[Any], loaded: _Loaded) -> list[Output | Failure]:
    """The batch's results; where the batch as a whole fails, each of its items alone."""
    if not items:
        return []
    try:
        results: list[Output | Failure] | None = list(loaded.model.generate(loaded.preparer.collate(items)))
    except HarnessError:
        raise
    except Exception as error:  # noqa: BLE001 - a batch that the model cannot take is tried again in parts
        kind = "out_of_memory" if isinstance(error, MemoryError) or "out of memory" in str(error) else "generate"
        failure = Failure(kind, say(error))
        results = None
    if results is None:
        # Out of the handler, whose traceback would hold the failed batch's memory.
        if len(items) > 1:
            return [result for item in items for result in _generate([item], loaded)]
        return [failure]
    if len(results) != len(items) or not all(isinstance(result, Output | Failure) for result in results):
        raise PluginError(
            f"the model returned {len(results)} results for a batch of {len(items)}; a LoadedModel must return one "
            f"Output or Failure for each"
        )
    return results
