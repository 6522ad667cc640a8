"""Objects that captions mention and pictures lack: CHAIR (Rohrbach et al., 2018)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from harness import Json, Measured, MetricInfo, Pair, UnknownName
from plugins.metrics.chair_words import Mentions
from plugins.metrics.means import mean

Floats = NDArray[np.float64]

PROTOCOLS = ("official", "corrected")
LESS = MetricInfo("fraction", higher_is_better=False)


class Chair:
    """What captions say of COCO's objects against the objects that are there.

    chair_s: captions that mention an absent object / captions. hallucination_rate is the same.
    chair_i: mentions of absent objects / mentions of objects, repetitions counted.
    chair_recall: present objects that are mentioned / present objects, over all captions together.

    A sample's fact `objects` names what is there; the list of synonyms is shared by all as `synonyms`. Samples
    without them are left out. Where no caption mentions an object there is no chair_i, where no object is there no
    chair_recall.

    Protocols:
        official: the original's words, slips included: "bus" is never found.
        corrected: without these slips; see `Mentions`.
    """

    @property
    def info(self) -> Mapping[str, MetricInfo]:
        return {
            "chair_s": LESS,
            "chair_i": LESS,
            "chair_recall": MetricInfo("fraction", higher_is_better=True),
            "hallucination_rate": LESS,
        }

    def compute(self, pairs: Iterable[Pair], protocol: str) -> Mapping[str, Measured]:
        if protocol not in PROTOCOLS:
            raise UnknownName("protocol", protocol, PROTOCOLS)
        counts = _counts(pairs, corrected=protocol == "corrected")
        absent, mentions = counts[:, 0], counts[:, 1]
        sentences = mean(np.where(np.isnan(mentions), np.nan, absent > 0))
        return {
            "chair_s": sentences,
            "chair_i": _ratio_of_sums(counts[:, :2]),
            "chair_recall": _ratio_of_sums(counts[:, 2:]),
            "hallucination_rate": sentences,
        }


def _counts(pairs: Iterable[Pair], *, corrected: bool) -> Floats:
    """[n, 4] mentions of absent objects, of any; present objects that are mentioned, all. NaN where unknown."""
    rows: list[tuple[float, float, float, float]] = []
    shared: Mapping[str, Json] | None = None
    for pair in pairs:
        if pair.sample.shared is not shared:
            shared = pair.sample.shared
            mentions = Mentions(shared.get("synonyms", ()), corrected=corrected)
        objects = pair.sample.facts.get("objects")
        if objects is None or "synonyms" not in shared:
            rows.append((np.nan, np.nan, np.nan, np.nan))
            continue
        said = mentions.find(pair.answer)
        present = set(objects)
        rows.append(
            (sum(name not in present for name in said), len(said), len(present.intersection(said)), len(present))
        )
    return np.array(rows, np.float64).reshape(-1, 4)


def _ratio_of_sums(counts: Floats) -> Measured:
    """Of [n, 2] parts and wholes."""
    statistics = np.nan_to_num(counts)
    value = float(_ratio(statistics.sum(axis=0)))
    return Measured(None if np.isnan(value) else value, _ratio(statistics), statistics, _ratio)


def _ratio(sums: Floats) -> Floats:
    """[..., 2] parts and wholes -> [...] shares, NaN of nothing."""
    part, whole = sums[..., 0], sums[..., 1]
    return np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole > 0)
