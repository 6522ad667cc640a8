"""Plugins are found, kept apart, and named in every error. Each test lays real distributions on the path."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import MissingExtra, PluginError, UnknownName, UsageError
from harness.host import build_catalog

GOOD = """
from harness import Entry, hookimpl

class Thing:
    def __init__(self, size: int = 1) -> None:
        self.size = size

@hookimpl
def register_{hook}():
    return [Entry({name!r}, "a thing", "{module}:Thing")]
"""
Install = Callable[..., None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Lay a distribution with one module and one plugin on the path."""

    def lay(distribution: str, plugin: str, source: str, version: str = "1.0") -> None:
        folder = tmp_path / distribution
        information = folder / f"{distribution}-{version}.dist-info"
        information.mkdir(parents=True)
        module = f"{distribution}_{len(sys.modules)}"  # never one that an earlier test imported
        (folder / f"{module}.py").write_text(source.replace("{module}", module))
        (information / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        (information / "entry_points.txt").write_text(f"[harness]\n{plugin} = {module}\n")
        monkeypatch.syspath_prepend(str(folder))

    return lay


def good(name: str, hook: str = "models") -> str:
    return GOOD.format(hook=hook, name=name, module="{module}")


def test_an_entry_is_attributed_and_loaded_with_options(install: Install) -> None:
    install("alpha", "first", good("thing"), "2.1")
    listing = build_catalog().find("model", "thing")
    assert listing.plugin.origin == "alpha 2.1"
    assert listing.load(size=3).size == 3
    with pytest.raises(UsageError, match=r"'thing'.*alpha 2\.1.*sise"):
        listing.load(sise=3)


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('no luck')", "RuntimeError: no luck"),
        ("import a_module_that_is_not_there", "ModuleNotFoundError: No module named 'a_module_that_is_not_there'"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("def (", "SyntaxError"),
        (good("x").replace("register_models", "register_modles"), "unknown hook 'register_modles'"),
        (good("x").replace("register_models()", "register_models(extra)"), "extra"),
        (good("x").replace("return [Entry(", "return [tuple((").replace(")]", "))]"), "must return a list of Entry"),
        (good("x").replace("{module}:Thing", "{module}.Thing"), "must return a list of Entry"),
        (good("x").replace("return [", "raise KeyError("), "SyntaxError"),
    ],
)
def test_a_broken_plugin_breaks_itself_alone(install: Install, source: str, said: str) -> None:
    install("alpha", "whole", good("thing"))
    install("beta", "bad", source)
    catalog = build_catalog()
    assert catalog.find("model", "thing").load().size == 1
    (broken,) = catalog.broken
    assert broken.name == "bad"
    assert broken.origin == "beta 1.0"
    assert said in broken.error
    with pytest.raises(UnknownName, match="broken plugins that may bring it: 'bad'"):
        catalog.find("model", "x")


def test_a_misspelled_hook_does_not_spoil_the_plugins_after_it(install: Install) -> None:
    install("alpha", "aaa", good("x").replace("register_models", "register_modles"))
    install("beta", "bbb", good("thing"))
    catalog = build_catalog()
    assert [plugin.name for plugin in catalog.broken] == ["aaa"]
    assert catalog.find("model", "thing").plugin.name == "bbb"


def test_two_plugins_of_one_name_are_both_refused_and_both_named(install: Install) -> None:
    install("alpha", "same", good("one"))
    install("beta", "same", good("two"))
    catalog = build_catalog()
    assert len(catalog.broken) == 2
    for plugin in catalog.broken:
        assert "alpha 1.0" in plugin.error
        assert "beta 1.0" in plugin.error


def test_two_entries_of_one_name_are_nobodys(install: Install) -> None:
    install("alpha", "first", good("thing"))
    install("beta", "second", good("thing"))
    install("gamma", "third", good("thing", "metrics"))
    catalog = build_catalog()
    with pytest.raises(PluginError, match=r"'first' \(alpha 1\.0\).*'second' \(beta 1\.0\)"):
        catalog.find("model", "thing")
    assert catalog.find("metric", "thing").plugin.name == "third", "kinds have names of their own"


def test_near_names_are_suggested(install: Install) -> None:
    install("alpha", "first", good("capybara"))
    with pytest.raises(UnknownName) as caught:
        build_catalog().find("model", "capibara")
    assert caught.value.suggestions == ("capybara",)
    assert "did you mean 'capybara'?" in str(caught.value)


def test_an_extra_is_named_where_its_library_is_missing(install: Install, tmp_path: Path) -> None:
    source = good("thing").replace('"{module}:Thing"', '"alpha_heavy:Thing", extra="alpha[heavy]"')
    install("alpha", "first", source)
    (tmp_path / "alpha" / "alpha_heavy.py").write_text("import a_library_that_is_not_there")
    with pytest.raises(MissingExtra, match=r"a_library_that_is_not_there.*pip install 'alpha\[heavy\]'"):
        build_catalog().find("model", "thing").load()


def test_nothing_installed_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if "site-packages" not in entry])
    with pytest.raises(PluginError, match="make install"):
        build_catalog()
