"""Which metrics give the scores that are wanted, with which options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from harness.errors import ConfigError, UnknownName, UsageError
from harness.host import Catalog, Listing
from harness.protocols import Metric
from harness.types import Json


@dataclass(frozen=True)
class MetricChoice:
    """A metric and which of its scores are wanted, in order.

    Attributes:
        asked: whether somebody asked for them; a benchmark's defaults are left out where what they need is not there.
    """

    listing: Listing
    scores: tuple[str, ...]
    options: Mapping[str, Json]
    asked: bool = True

    @cached_property
    def metric(self) -> Metric:
        """The metric itself, made once: it may read large files."""
        made: Metric = self.listing.load(**self.options)
        return made

    def __getstate__(self) -> dict[str, Json]:
        """All but the metric, which another process makes for itself."""
        return {name: value for name, value in vars(self).items() if name != "metric"}


def narrow_metrics(
    names: Sequence[str], configured: Sequence[MetricChoice], catalog: Catalog, defaults: Sequence[str]
) -> tuple[MetricChoice, ...]:
    """The metrics that give the named scores: those that are configured, with their options, before others."""
    wanted: dict[int, list[str]] = {}
    others: list[str] = []
    for name in names:
        givers = [
            place for place, choice in enumerate(configured) if name in (choice.listing.entry.name, *choice.scores)
        ]
        if givers:
            choice = configured[givers[0]]
            whole = name == choice.listing.entry.name and name not in choice.scores
            wanted.setdefault(givers[0], []).extend(choice.scores if whole else [name])
        else:
            others.append(name)
    narrowed = tuple(
        replace(configured[place], scores=tuple(dict.fromkeys(scores)), asked=True) for place, scores in wanted.items()
    )
    return narrowed + (choose_metrics(catalog, defaults, others) if others else ())


def choose_metrics(
    catalog: Catalog, defaults: Sequence[str], wanted: Sequence[str | Mapping[str, Mapping[str, Json]]] | None
) -> tuple[MetricChoice, ...]:
    """The metrics that give the wanted scores; all scores of the defaults where nothing is wanted.

    A score that several metrics give is taken from the one among the benchmark's defaults. `METRIC:REF` is a metric
    that is told what to be: its option `ref` is what stands behind the colon.

    Raises:
        UnknownName: no metric gives such a score.
        UsageError: several metrics give it and none is a default, or two that are chosen give it.
    """
    if wanted is None:
        chosen = [catalog.find("metric", name) for name in defaults]
        return tuple(MetricChoice(listing, _gives(listing), {}, asked=False) for listing in chosen)
    found: dict[str, tuple[Listing, list[str], dict[str, Json]]] = {}
    for item in wanted:
        if not isinstance(item, str) and len(item) != 1:
            raise ConfigError(f"metrics: {dict(item)} must be one score with its options, as {{name: {{key: value}}}}")
        name, options = (item, {}) if isinstance(item, str) else next(iter(item.items()))
        key, listing, gives, told = _giver(catalog, defaults, name, options)
        _, scores, merged = found.setdefault(key, (listing, [], {}))
        scores += gives
        merged.update(told)
    owners: dict[str, str] = {}
    for key, (_, scores, _) in found.items():
        for score in scores:
            if owners.setdefault(score, key) != key:
                raise UsageError(
                    f"the score {score!r} is given by {owners[score]!r} and by {key!r}; choose one of them"
                )
    return tuple(MetricChoice(listing, tuple(dict.fromkeys(scores)), told) for listing, scores, told in found.values())


def _giver(
    catalog: Catalog, defaults: Sequence[str], name: str, options: Mapping[str, Json]
) -> tuple[str, Listing, Sequence[str], Mapping[str, Json]]:
    """What gives a wanted score: a key of its own, the metric, the scores that are meant, and its options."""
    metric, colon, ref = name.partition(":")
    if colon:
        told = {**options, "ref": ref}
        listing = catalog.find("metric", metric)
        return name, listing, tuple(listing.load(**told).info), told
    listings = catalog.all("metric")
    givers = [giver for giver, listing in listings.items() if name in (giver, *_gives(listing))]
    if not givers:
        known = {score for listing in listings.values() for score in _gives(listing)}
        raise UnknownName("metric", name, known)
    preferred = [giver for giver in givers if giver in defaults] or givers
    if len(preferred) > 1:
        raise UsageError(f"the score {name!r} is given by several metrics; write one of: {', '.join(preferred)}")
    listing = listings[preferred[0]]
    return preferred[0], listing, _gives(listing) if name == preferred[0] else (name,), options


def _gives(listing: Listing) -> tuple[str, ...]:
    return listing.entry.provides or (listing.entry.name,)
