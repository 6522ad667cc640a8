"""SPICE (Anderson et al., 2016, https://arxiv.org/abs/1607.08822), by the program that pycocoevalcap brings.

It needs Java, and models that are not part of pycocoevalcap.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
from pycocoevalcap.spice import spice

from harness import HarnessError, Measured, MetricInfo, MissingExtra, Pair
from plugins.checks.spice import Spice as SpiceCheck
from plugins.metrics.captions import POINTS, captions
from plugins.metrics.java import java


class Spice:
    """SPICE: F of the objects, attributes and relations in an answer against those in all its references together.

    A mean over pictures, as pycocoevalcap computes it: undefined where any picture's is.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {"spice": replace(POINTS, needs=("java", "spice_models"))}

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        read, labels = captions(pairs)
        if not read.groups:
            return {"spice": Measured(None)}
        java()
        check = SpiceCheck().run()  # first, because pycocoevalcap downloads what it does not find
        if not check.ok:
            raise MissingExtra(f"SPICE cannot be computed here: {check.detail}; {check.hint}")
        references = {n: others for n, (_, *others) in enumerate(read.groups)}
        answers = {n: [answer] for n, (answer, *_) in enumerate(read.groups)}
        try:
            with _stdout_as_stderr():
                value, by_category = spice.Spice().compute_score(references, answers)
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            raise HarnessError(f"{spice.SPICE_JAR}: failed ({error}); what it said before tells why") from error
        per_picture = np.array([categories["All"]["f"] for categories in by_category])
        return {"spice": Measured(float(value), per_picture, labels=labels)}


@contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    """What programs write to stdout goes to stderr: they inherit it, and say there how long they took."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
