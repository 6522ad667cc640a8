"""`evaluate:REF`: any metric of the evaluate library, without a line of code.

    evaluate:NAME            the module that evaluate knows by this name (a Space of evaluate-metric on the hub)
    evaluate:org/name        somebody's Space on the hub
    evaluate:./dir           a folder with a script of its name, ./dir/dir.py, or the script itself

The script is code that runs. It and what it downloads are kept where evaluate keeps them (HF_HOME); predictions are
not written down.
"""

from __future__ import annotations

import contextlib
import hashlib
import math
import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import evaluate
import numpy as np
from datasets import Features, Value
from huggingface_hub import snapshot_download
from numpy.typing import NDArray

from harness import DataError, Json, Measured, MetricInfo, Pair, PluginError, UnknownName, UsageError
from plugins.metrics.means import mean

PARTS = 20
HUB_OWNER = "evaluate-metric"
SEED = 0
"""What a module that draws at random is seeded with, so that scoring twice gives the same."""

FloatArray = NDArray[np.float64]
Scalar = str | int | float


class EvaluateModule:
    """A metric of the evaluate library as a metric of the harness.

    Answers are its predictions. Its references are all references of a sample where its features take several, else
    the first; where they take numbers, answers and references must be numbers.

    The score is the figure of the module's result that `key` names; without it the one that is called like the module
    or is the only number. It is called like the module, with `_key` behind it where `key` names another figure. A
    figure that is a list with a number a sample is its mean, with the interval of a mean. For any other the interval
    comes from computing it again without each of some parts of the samples, whole groups together. Since a module may
    be any formula, the score of a part of a benchmark does not count as comparable with that of the whole.

    Args:
        ref: what stands behind `evaluate:`.
        key: which figure of the result.
        higher_is_better: as far as you know it; evaluate does not tell.
        config: the module's configuration, where it has several.
        revision: of a module on the hub: branch, tag or commit.
        compute: further arguments of the module's `compute`.
        parts: how many; 0 leaves the interval out, for a module that takes long.

    Raises:
        UsageError: the reference or an option cannot be used.
        PluginError: the module cannot be found or loaded.
    """

    def __init__(
        self,
        ref: str,
        *,
        key: str | None = None,
        higher_is_better: bool | None = None,
        config: str | None = None,
        revision: str | None = None,
        compute: Mapping[str, Json] | None = None,
        parts: int = PARTS,
    ) -> None:
        if parts < 0 or parts == 1:
            raise UsageError(f"evaluate:{ref}: parts: {parts} must be at least 2, or 0 for no interval")
        script = _local(ref, revision) if ref.startswith((".", "/", "~")) else _hub(ref, revision)
        self._ref, self._key, self._parts, self._arguments = ref, key, parts, dict(compute or {})
        self._module_name = script.stem
        self._name = script.stem if key in {None, script.stem} else re.sub(r"[^\w-]", "_", f"{script.stem}_{key}")
        self._info = MetricInfo("points", higher_is_better, corpus=True)
        self.fingerprint = hashlib.sha256(script.read_bytes()).hexdigest()
        with self._foreign("cannot be loaded"):
            self._module: Any = evaluate.load(str(script), config, keep_in_memory=True, seed=SEED)
        self._form = _form(ref, self._module.features)

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {self._name: self._info}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        """See `Metric`.

        Raises:
            DataError: a sample has nothing that the module could take; names it.
            PluginError: the module raises, or gives something that is no score.
            UsageError: `key` is missing or wrong.
        """
        inputs, groups = [], []
        for pair in pairs:
            inputs.append(self._form.read(pair))
            groups.append(pair.sample.group)
        if not inputs:
            return {self._name: Measured(None)}
        figure = self._figure(inputs)
        if not isinstance(figure, float):
            return {self._name: mean(figure)}
        if not math.isfinite(figure):
            raise PluginError(f"evaluate:{self._ref}: its compute gave {figure}, which is no score")
        return {self._name: Measured(figure, replicates=self._replicates(inputs, groups))}

    def _replicates(self, inputs: Sequence[tuple[Scalar, Any]], groups: Sequence[str]) -> FloatArray | None:
        """[b] figures without each part; None where there are too few groups."""
        numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
        count = min(self._parts, len(numbers))
        if count < 2:
            return None
        part_of = np.random.default_rng(SEED).permutation(len(numbers)) % count
        parts = [part_of[numbers[group]] for group in groups]
        without = ([item for item, other in zip(inputs, parts, strict=True) if other != part] for part in range(count))
        return np.array([self._figure(rest) for rest in without], np.float64)

    def _figure(self, inputs: Sequence[tuple[Scalar, Any]]) -> float | FloatArray:
        """The chosen figure of the module's result, or [n] its values a sample."""
        predictions, references = map(list, zip(*inputs, strict=True))
        with self._foreign("its compute failed"):
            result = self._module.compute(predictions=predictions, references=references, **self._arguments)
        if _is_number(result):  # as some modules of evaluate's own do
            result = {self._module_name: result}
        if not isinstance(result, Mapping):
            raise PluginError(f"evaluate:{self._ref}: its compute gave a {type(result).__name__}, not a dictionary")
        figures = {str(key): value.tolist() if hasattr(value, "tolist") else value for key, value in result.items()}
        key = self._key or self._only_key(figures)
        if key not in figures:
            raise UnknownName(f"figure of evaluate:{self._ref}", key, figures)
        value = figures[key]
        if _is_number(value):
            return float(value)
        if isinstance(value, list | tuple) and len(value) == len(inputs) and all(map(_is_number, value)):
            return np.array(value, np.float64)
        raise PluginError(
            f"evaluate:{self._ref}: {key!r} is neither a number nor a list with a number for each of "
            f"{len(inputs)} samples: {_brief(value)}"
        )

    def _only_key(self, figures: Mapping[str, Any]) -> str:
        if self._module_name in figures:
            return self._module_name
        numbers = [key for key, value in figures.items() if _is_number(value)]
        if len(numbers) == 1:
            return numbers[0]
        ref, given = self._ref, ", ".join(numbers or figures) or "nothing"
        raise UsageError(f"evaluate:{ref}: it gives {given}; choose one figure: {{'evaluate:{ref}': {{key: …}}}}")

    @contextlib.contextmanager
    def _foreign(self, what: str) -> Iterator[None]:
        """Foreign code runs: it may raise anything, and what it prints must not get among our results."""
        try:
            with contextlib.redirect_stdout(sys.stderr):
                yield
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
            raise PluginError(f"evaluate:{self._ref}: {what} ({reason})") from error


def _local(ref: str, revision: str | None) -> Path:
    """The script of a folder, or the script itself."""
    if revision is not None:
        raise UsageError(f"evaluate:{ref}: revision is for modules on the hub")
    path = Path(os.path.normpath(Path(ref).expanduser().absolute()))
    script = path / f"{path.name}.py" if path.is_dir() else path
    if not script.is_file():
        raise UsageError(f"evaluate:{ref}: there is no {script}; name a folder with a script of its name, or a script")
    if script.suffix != ".py" or not re.fullmatch(r"[\w-]+", script.stem):
        raise UsageError(f"evaluate:{ref}: {script.name} cannot be imported; letters, digits, _ and - end in .py")
    return script


def _hub(ref: str, revision: str | None) -> Path:
    """The script of a Space, with those that it imports, in the hub's cache."""
    repository = ref if "/" in ref else f"{HUB_OWNER}/{ref}"
    name = repository.rpartition("/")[2]
    try:
        folder = snapshot_download(repository, repo_type="space", revision=revision, allow_patterns="*.py")
    except Exception as error:
        raise PluginError(
            f"evaluate:{ref}: the Space {repository} is not on the hub, or out of reach "
            f"({_brief(error)}); check the name, or name a local copy: evaluate:./{name}"
        ) from error
    script = Path(folder) / f"{name}.py"
    if not script.is_file():
        raise PluginError(f"evaluate:{ref}: the Space {repository} has no {script.name}, so it is no metric")
    return script


@dataclass(frozen=True, slots=True)
class Form:
    """What a module takes of a pair.

    Attributes:
        ref: the module, for messages.
        answer, reference: the types of their values.
        several: whether it takes all references.
    """

    ref: str
    answer: type[Scalar]
    reference: type[Scalar]
    several: bool

    def read(self, pair: Pair) -> tuple[Scalar, Any]:
        """Its prediction and its references, or the first of them."""
        sample = pair.sample
        if not (self.several or sample.references):
            raise DataError(f"evaluate:{self.ref}: sample {sample.id!r} has no reference; the module needs one")
        answer = self._convert(self.answer, pair.answer, "answer", sample.id)
        wanted = sample.references if self.several else sample.references[:1]
        references = [self._convert(self.reference, text, "reference", sample.id) for text in wanted]
        return answer, references if self.several else references[0]

    def _convert(self, kind: type[Scalar], text: str, what: str, sample: str) -> Scalar:
        try:
            return kind(text)
        except ValueError:
            name = "whole number" if kind is int else "number"
            raise DataError(
                f"evaluate:{self.ref}: the {what} of sample {sample!r} is no {name}, which the module takes: "
                f"{_brief(text)}"
            ) from None


def _form(ref: str, features: Features | Sequence[Features]) -> Form:
    """The first of a module's features that pairs have, one with several references before others."""
    choices: Sequence[Any] = features if isinstance(features, list) else [features]
    forms = []
    for choice in choices:
        if set(choice) == {"predictions", "references"}:
            answer, one = _scalar(choice["predictions"])
            reference, single = _scalar(choice["references"])
            if answer and reference and one:
                forms.append(Form(ref, answer, reference, several=not single))
    if not forms:
        raise UsageError(
            f"evaluate:{ref}: takes {_brief(choices[0])}; only modules for one text or number as prediction, "
            "and one or several as references, can score a benchmark"
        )
    return max(forms, key=lambda form: form.several)


def _scalar(feature: Any) -> tuple[type[Scalar] | None, bool]:
    """The type of a feature's values, and whether there is but one; None for other features."""
    if isinstance(feature, list) and len(feature) == 1:
        inner = feature[0]
    else:
        inner = getattr(feature, "feature", feature)
    if not isinstance(inner, Value):
        return None, False
    kinds: Mapping[str, type[Scalar]] = {"string": str, "large_string": str}
    kind = kinds.get(inner.dtype)
    if kind is None and re.match("u?int|float", inner.dtype):
        kind = float if inner.dtype.startswith("float") else int
    return kind, inner is feature


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _brief(value: Any) -> str:
    """What a message can hold of it."""
    text = " ".join((str(value) if isinstance(value, Exception) else repr(value)).split())
    return text if len(text) <= 200 else f"{text[:200]}…"
