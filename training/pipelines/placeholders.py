"""`{parameters.limit}`, `{inputs.model}`, `{outputs.data}`, `{depends_on_artifact}`: what stands for something else."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, TypeAlias

DEPENDENCY: Final = "depends_on_artifact"
"""The only artifact that the stages depended on publish."""
SECTIONS: Final = ("parameters", "inputs", "outputs")

_PLACE: Final = re.compile(r"\{\{|\}\}|\{([A-Za-z_][\w-]*(?:\.[\w-]+)*)\}")
"""A doubled brace is one that stands for itself."""

Location: TypeAlias = tuple[Any, ...]


def texts(value: Any, at: Location = ()) -> Iterator[tuple[Location, str]]:
    """All texts within a value, each with where it stands: keys and indices from the outermost."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from texts(item, (*at, key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from texts(item, (*at, index))
    elif isinstance(value, str | Path):
        yield at, str(value)


def found(value: Any, at: Location = ()) -> Iterator[tuple[Location, str]]:
    """All placeholders within a value, each with where it stands."""
    for place, text in texts(value, at):
        yield from ((place, match[1]) for match in _PLACE.finditer(text) if match[1])


def fill(value: Any, known: Mapping[str, Any], *, last: bool = True) -> Any:
    """The value with what placeholders stand for; a text that is nothing but one becomes what that is, of its type.

    Args:
        known: placeholder, such as `inputs.model` -> what it stands for; others stay as they are.
        last: whether doubled braces become single ones, as they must once.
    """
    if isinstance(value, Mapping):
        return {key: fill(item, known, last=last) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [fill(item, known, last=last) for item in value]
    if isinstance(value, Path):
        return Path(fill(str(value), known, last=last))
    if not isinstance(value, str):
        return value
    whole = _PLACE.fullmatch(value)
    if whole is not None and whole[1] in known:
        return known[whole[1]]

    def replace(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0] if last else match[0]
        return str(known[match[1]]) if match[1] in known else match[0]

    return _PLACE.sub(replace, value)
