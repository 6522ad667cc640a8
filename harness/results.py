"""Official results files: their answers matched with a benchmark's samples, exactly unless told otherwise."""

from __future__ import annotations

import gc
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from harness.encoding import DataDigest, encode_sample, storable
from harness.errors import DataError, HarnessError, PluginError, UsageError
from harness.host import say
from harness.plan import Task
from harness.protocols import ResultsReader
from harness.types import RESULTS, Failure, Json, Output, Pair, Prediction, Sample

MISSING = Failure("missing", "the results have no answer to it")
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Results:
    """A benchmark's samples and what results files answered.

    Attributes:
        samples: all of the benchmark, in its order.
        contents: what `encode_sample` makes of each.
        outputs: the answer to each sample, None where there is none.
        data_digest: that of the benchmark's samples.
        fingerprint: the hash of the answers and of what they answer.
    """

    samples: Sequence[Sample]
    contents: Sequence[bytes]
    outputs: Sequence[Output | None]
    data_digest: str
    fingerprint: str

    def identity(self, task: Task) -> dict[str, Json]:
        """What a run of these answers is known by, whatever files they were in."""
        return {
            "model": {"plugin": RESULTS, "fingerprint": self.fingerprint, "image": None},
            "benchmark": {"name": task.name, "version": task.benchmark.info.version, "profile": RESULTS},
            "data_digest": self.data_digest,
            "limit": None,
        }

    def pairs(self) -> list[Pair]:
        """The answered samples; the answers as they stand in the file."""
        both = zip(self.samples, self.outputs, strict=True)
        return [Pair(sample, output.text, output) for sample, output in both if output is not None]

    def predictions(self) -> Iterator[Prediction]:
        """One a sample, a failure where there is no answer."""
        for position, (sample, output) in enumerate(zip(self.samples, self.outputs, strict=True)):
            yield Prediction(position, sample.id, MISSING if output is None else output)


def read_results(task: Task, paths: Sequence[Path], *, allow_partial: bool, remark: Callable[[str], None]) -> Results:
    """Read results files and match them with the benchmark's samples.

    Args:
        allow_partial: take what is there: leave out samples without an answer and answers without a sample, and of
            repeated answers take the last; what was done goes to `remark`.

    Raises:
        UsageError: the benchmark has no official format for results.
        DataError: a file cannot be read, or does not answer each sample once.
    """
    given, repeated = _answers(task, paths)
    samples: list[Sample] = []
    contents: list[bytes] = []
    outputs: list[Output | None] = []
    missing: list[str] = []
    digest, fingerprint, encode = DataDigest(), hashlib.sha256(), msgspec.json.Encoder().encode
    for sample in task.samples():
        content = encode_sample(sample)
        digest.add(sample, content)
        output = given.pop(sample.id, None)
        if output is None:
            missing.append(sample.id)
        else:
            fingerprint.update(encode((sample.id, output.text, output.trace)))
        samples.append(sample)
        contents.append(content)
        outputs.append(output)
    if not samples:
        raise DataError(f"{task.data}: benchmark {task.name!r} found no samples there")
    where = ", ".join(map(str, paths))
    if len(missing) == len(samples):
        raise DataError(
            f"{where}: answers none of the {len(samples)} samples in {task.data}, such as {samples[0].id!r}"
            + (f"; it answers {_examples(given)}" if given else "")
        )
    faults = [
        f"{len(missing)} of {len(samples)} samples have no answer ({_examples(missing)})" if missing else "",
        f"{len(given)} answers are to unknown samples ({_examples(given)})" if given else "",
        f"{len(repeated)} samples are answered more than once ({_examples(repeated)})" if repeated else "",
    ]
    problem = "; ".join(filter(None, faults))
    if problem and not allow_partial:
        raise DataError(
            f"{where}: {problem}; mend the file, or score what is there with --allow-partial (of repeated answers the "
            f"last)"
        )
    if problem:
        remark(f"{where}: {problem}")
    return Results(samples, contents, outputs, digest.hexdigest(), fingerprint.hexdigest())


@contextmanager
def collector_paused() -> Iterator[None]:
    """No search for garbage inside: among millions of new objects, none of them garbage, it takes most of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _answers(task: Task, paths: Sequence[Path]) -> tuple[dict[str, Output], dict[str, None]]:
    """The answers by sample id, and the ids that come more than once."""
    reader = task.benchmark
    if not isinstance(reader, ResultsReader):
        raise UsageError(f"benchmark {task.name!r} has no format for results files; evaluate a model instead")
    given: dict[str, Output] = {}
    repeated: dict[str, None] = {}
    try:
        for sample_id, output in reader.results(paths, task.data):
            if sample_id in given:
                repeated[sample_id] = None
            given[sample_id] = _sound(output, sample_id, task)
    except HarnessError:
        raise
    except Exception as error:
        where = ", ".join(map(str, paths))
        raise PluginError(f"benchmark {task.name!r} failed to read {where}: {say(error)}") from error
    return given, repeated


def _sound(output: Output, sample_id: str, task: Task) -> Output:
    """The answer as the workspace can hold it, so that it is scored now as it will be later."""
    if type(output.text) is str and output.text.isascii():
        return output
    said: object = output.text
    if not isinstance(said, str):
        kind = type(said).__name__
        raise PluginError(f"benchmark {task.name!r}: the answer to sample {sample_id!r} is no text, but {kind}")
    text = storable(said)
    return output if text is said else msgspec.structs.replace(output, text=text)


def _examples(ids: Iterable[str]) -> str:
    known = list(ids)
    shown = ", ".join(map(repr, known[:_SHOWN]))
    return shown + (", …" if len(known) > _SHOWN else "")
