"""Finds, loads, checks and attributes plugins, and builds the Catalog of what they bring."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import metadata
from typing import Any

import pluggy

from harness import hookspecs, installed
from harness.errors import HarnessError, MissingExtra, PluginError, UnknownName, UsageError, near
from harness.hookspecs import Entry

GROUP = "harness"
DISTRIBUTION = "vlm-harness"
KINDS: Mapping[str, str] = {
    "model": "register_models",
    "benchmark": "register_benchmarks",
    "metric": "register_metrics",
    "checkpoint store": "register_checkpoint_stores",
    "engine": "register_engines",
    "tracker": "register_trackers",
    "check": "register_checks",
}


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin and where it comes from; `error` says why it is broken, and is empty where it is not."""

    name: str
    target: str
    distribution: str
    version: str
    error: str = ""

    @property
    def origin(self) -> str:
        return f"{self.distribution} {self.version}"


@dataclass(frozen=True, slots=True)
class Listing:
    """An entry of the catalog and the plugin that brought it."""

    kind: str
    entry: Entry
    plugin: Plugin

    @property
    def place(self) -> str:
        """What it is and where it comes from, as an error message names it."""
        return f"{self.kind} {self.entry.name!r} of plugin {self.plugin.name!r} ({self.plugin.origin})"

    def factory(self) -> Any:
        """The entry's target, imported.

        Raises:
            MissingExtra: an optional dependency is not installed.
            PluginError: the target cannot be imported.
        """
        module_name, _, attribute = self.entry.target.partition(":")
        try:
            return getattr(importlib.import_module(module_name), attribute)
        except ModuleNotFoundError as error:
            if self.entry.extra and error.name and not module_name.startswith(error.name):
                raise MissingExtra(f"{self.place} needs {error.name!r}: pip install '{self.entry.extra}'") from error
            raise PluginError(f"{self.place}: cannot import {self.entry.target} ({error})") from error
        except Exception as error:
            raise PluginError(f"{self.place}: cannot import {self.entry.target} ({say(error)})") from error

    def load(self, **options: Any) -> Any:
        """The entry's object: its target called with the options.

        Raises:
            MissingExtra: an optional dependency is not installed.
            PluginError: the target cannot be imported or called.
            UsageError: the options are not those of the target.
        """
        factory, place = self.factory(), self.place
        try:
            inspect.signature(factory).bind(**options)
        except TypeError as error:
            known = list(inspect.signature(factory).parameters)
            unknown = next((key for key in options if key not in known), None)
            if unknown is not None and (matches := near(unknown, known)):
                raise UsageError(f"{place}: unknown option {unknown!r} (did you mean {matches[0]!r}?)") from error
            takes = ", ".join(known) or "none"
            raise UsageError(f"{place}: options {sorted(options)} do not fit ({error}; it takes: {takes})") from error
        try:
            return factory(**options)
        except HarnessError:
            raise
        except Exception as error:
            raise PluginError(f"{place}: {self.entry.target} cannot be made ({say(error)})") from error


@dataclass(frozen=True)
class Catalog:
    """All that the plugins bring, by kind and name.

    A name that two plugins bring is nobody's: it is in `collisions` and not in `listings`.
    """

    listings: Mapping[str, Mapping[str, Listing]]
    plugins: Sequence[Plugin] = ()
    collisions: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def broken(self) -> tuple[Plugin, ...]:
        return tuple(plugin for plugin in self.plugins if plugin.error)

    def all(self, kind: str) -> Mapping[str, Listing]:
        """The listings of a kind by name, sorted."""
        return self.listings[kind]

    def find(self, kind: str, name: str) -> Listing:
        """The listing of that name.

        Raises:
            PluginError: two plugins bring it.
            UnknownName: with near names; broken plugins are mentioned, since they may have brought it.
        """
        if (kind, name) in self.collisions:
            raise PluginError(self.collisions[kind, name])
        listing = self.listings[kind].get(name)
        if listing is None:
            hint = ""
            if self.broken:
                names = ", ".join(repr(plugin.name) for plugin in self.broken)
                hint = f"broken plugins that may bring it: {names}; see `harness doctor`"
            raise UnknownName(kind, name, self.listings[kind], hint)
        return listing


def build_catalog(entry_points: Iterable[metadata.EntryPoint] | None = None) -> Catalog:
    """Load every plugin of the entry-point group, each apart from the others.

    Raises:
        PluginError: nothing is installed at all.
    """
    if entry_points is None:
        entry_points = installed.entry_points(GROUP)
        if not entry_points:
            raise PluginError(
                f"no plugins are installed, not even our own: run `make install` in the checkout, or "
                f"`pip install {DISTRIBUTION}`"
            )
    points = sorted(entry_points, key=lambda point: (point.name, point.value))
    described = [_describe(point) for point in points]
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    plugins: list[Plugin] = []
    found: list[Listing] = []
    for point, plugin in zip(points, described, strict=True):
        same = [other for other in described if other.name == plugin.name]
        if len(same) > 1:
            both = " and ".join(f"{other.target} of {other.origin}" for other in same)
            plugins.append(replace(plugin, error=f"the plugin name is taken twice: {both}; uninstall one of them"))
            continue
        try:
            found += _load(manager, point, plugin)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a plugin raises, it breaks itself alone
            plugin = replace(plugin, error=say(error))
        plugins.append(plugin)
    listings, collisions = _by_name(found)
    return Catalog(listings, tuple(plugins), collisions)


def _describe(point: metadata.EntryPoint) -> Plugin:
    distribution = point.dist
    if distribution is None:
        return Plugin(point.name, point.value, "unknown distribution", "?")
    return Plugin(point.name, point.value, *installed.described(distribution))


def _load(manager: pluggy.PluginManager, point: metadata.EntryPoint, plugin: Plugin) -> list[Listing]:
    """Import and register one plugin and ask it what it brings."""
    module = point.load()
    try:
        manager.register(module, point.name)
        manager.check_pending()
        return [
            Listing(kind, _checked(entry, hook), plugin)
            for kind, hook in KINDS.items()
            for implementation in getattr(manager.hook, hook).get_hookimpls()
            if implementation.plugin is module
            for entry in implementation.function()
        ]
    except BaseException:
        if manager.has_plugin(point.name):
            manager.unregister(name=point.name)
        raise


def _checked(entry: object, hook: str) -> Entry:
    if not isinstance(entry, Entry) or ":" not in entry.target:
        raise PluginError(
            f"{hook} returned {entry!r}; it must return a list of Entry(name, summary, 'module:attribute')"
        )
    return entry


def _by_name(found: Sequence[Listing]) -> tuple[dict[str, dict[str, Listing]], dict[tuple[str, str], str]]:
    listings: dict[str, dict[str, Listing]] = {kind: {} for kind in KINDS}
    collisions: dict[tuple[str, str], str] = {}
    for listing in sorted(found, key=lambda listing: listing.entry.name):
        kind, name = listing.kind, listing.entry.name
        first = listings[kind].setdefault(name, listing)
        if first is not listing:
            collisions[kind, name] = (
                f"the {kind} {name!r} is brought twice: by plugin {first.plugin.name!r} ({first.plugin.origin}) and "
                f"by plugin {listing.plugin.name!r} ({listing.plugin.origin}); uninstall one of them"
            )
    for kind, name in collisions:
        del listings[kind][name]
    return listings, collisions


def say(error: BaseException) -> str:
    """An exception of foreign code in one line."""
    return f"{type(error).__name__}: {error}"
