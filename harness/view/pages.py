"""Templates, and the files that pages refer to: those of the report, and a few of our own."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any, Final

from jinja2 import ChoiceLoader, Environment, PackageLoader
from markupsafe import Markup

from harness.report.page import environment as report_environment

PACKAGES: Final = ("harness.view", "harness.report")
TYPES: Final = {".css": "text/css", ".js": "text/javascript"}
PAUSE: Final = Markup("\0")
"""Where a template has something to show before it goes on to what takes long."""


@dataclass(frozen=True, slots=True)
class Asset:
    """A style sheet or script. Its address changes with its content, so that it can be kept for good."""

    name: str
    type: str
    content: bytes

    @property
    def address(self) -> str:
        return f"/static/{self.name}?{hashlib.sha256(self.content).hexdigest()[:12]}"


def render(template: str, context: Mapping[str, Any]) -> str:
    """A whole page."""
    return environment().get_template(template).render(context)


def stream(template: str, context: Mapping[str, Any]) -> Iterator[str]:
    """A page in parts, each as soon as it is there: the template says where with `pause`."""
    ready: list[str] = []
    for piece in environment().get_template(template).generate({**context, "pause": PAUSE}):
        if piece != PAUSE:
            ready.append(piece)
        else:
            yield "".join(ready)
            ready.clear()
    yield "".join(ready)


@cache
def assets() -> Mapping[str, Asset]:
    """The files by their names."""
    found = {}
    for package in reversed(PACKAGES):
        for file in resources.files(package).joinpath("static").iterdir():
            ending = file.name[file.name.rfind(".") :]
            found[file.name] = Asset(file.name, TYPES[ending], file.read_bytes())
    return found


@cache
def environment() -> Environment:
    """The report's, with templates of our own beside its own."""
    found = report_environment().overlay(loader=ChoiceLoader([PackageLoader(package) for package in PACKAGES]))
    found.globals = {**found.globals, "asset": lambda name: assets()[name].address}
    return found
