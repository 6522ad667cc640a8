"""Text that may leave this machine: without secrets, and without where things lie on it."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from harness.environment import redact
from harness.types import Json

HIDDEN = "…"
_PASSWORD = re.compile(r"(?<=://)[^/@\s]+@")
# An absolute place: it begins a word, which neither a URL's path nor a fraction does, or follows an option's letter,
# and has a folder in it. It ends with the word: whether a space is a name's cannot be told, so that a part of such a
# name is left.
_ABSOLUTE = re.compile(
    r"(?:(?P<option>(?<![\w-])-[A-Za-z])(?=/)|(?<![\w./\\~…-])(?:file:(?://[\w.-]*(?=/))?)?)"
    r"(?!//)(?:~?/|~|[A-Za-z]:[/\\]|\\\\)[^\s:,;'\"()<>\[\]]*[/\\](?P<last>[^\s:,;'\"()<>\[\]/\\]*)"
)


class Privacy:
    """Takes away what says where things lie on this machine.

    Args:
        folders: those whose names are taken away wherever they stand, spaces in them or not; the user's, the current
            and the temporary folder are always among them.
    """

    def __init__(self, folders: Iterable[Path] = ()) -> None:
        own = [*folders, Path.home(), Path.cwd(), Path(tempfile.gettempdir())]
        named = {str(form) for folder in own for form in (folder.absolute(), folder.resolve())}
        places = sorted((name for name in named if name != Path(name).anchor), key=len, reverse=True)
        # The whole of the folder's name, and no beginning of a longer one.
        self._folders = re.compile("|".join(rf"(?<![\w.]){re.escape(name)}(?![\w-])" for name in places))

    def data(self, value: Json) -> Json:
        """A benchmark's or a model's own text, or what holds such: left as it is but for the folders."""
        return _mapped(value, lambda text: self._folders.sub(HIDDEN, text))

    def said(self, value: Json) -> Json:
        """What programs say, such as names and messages: of any absolute path the last part is left; no secrets."""
        return _mapped(value, self._said)

    def names_place(self, text: str) -> bool:
        """Whether it says where something lies on this machine."""
        return self._placeless(text) != text

    def _said(self, text: str) -> str:
        return self._placeless(_PASSWORD.sub("***@", redact(text)))

    def _placeless(self, text: str) -> str:
        return _ABSOLUTE.sub(rf"\g<option>{HIDDEN}/\g<last>", self._folders.sub(HIDDEN, text))


def _mapped(value: Json, change: Callable[[str], str]) -> Json:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {_mapped(key, change): _mapped(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_mapped(item, change) for item in value]
    return value
