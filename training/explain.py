"""A stage's settings as a config that says of every key what it means."""

from __future__ import annotations

import json
import math
import textwrap
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

WIDTH = 100
INDENT = "  "
NAMES = {
    str: "text",
    Path: "path",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Any: "anything",
}
"""Types as a user reads them."""


def explain(settings: BaseModel) -> str:
    """All settings with their values, defaults included, as YAML that can be used as a config."""
    return "\n".join(_section(settings, type(settings), "")) + "\n"


def explain_stage(model: type[BaseModel]) -> str:
    """All keys that a stage's configs may have, with their defaults; not a config, since some have none."""
    return "\n".join(_section(None, model, "")) + "\n"


def _section(settings: BaseModel | None, model: type[BaseModel], indent: str) -> Iterator[str]:
    """A model's keys; with their defaults, where there are no settings."""
    given = None if settings is None else settings.model_dump(mode="json", by_alias=True)
    for name, info in model.model_fields.items():
        key = info.alias or name
        nested = nested_model(info)
        # What a section is for is said by its keys, unless it says it itself.
        about = info.description or inherited(model, name) or (nested.__doc__ if nested is not None else "") or ""
        said = " ".join(about.split()) + ("" if nested is not None else f" ({_kind(info.annotation)})")
        yield from textwrap.wrap(said.strip(), WIDTH, initial_indent=f"{indent}# ", subsequent_indent=f"{indent}# ")
        value = info.get_default(call_default_factory=True) if settings is None else getattr(settings, name)
        if nested is None:
            plain = _default(info) if given is None else given[key]
            yield f"{indent}{key}: {_inline(plain)}"
        elif isinstance(value, BaseModel) and value.model_dump():
            yield f"{indent}{key}:"
            yield from _section(value, type(value), indent + INDENT)
        else:
            empty = None if value is None else _default(info) if info.is_required() else {}
            yield f"{indent}{key}: {_inline(empty)}"
            for line in _section(None, nested, ""):
                yield f"{indent}#{INDENT}{line}"


def inherited(model: type[BaseModel], name: str) -> str | None:
    """What a field is for where only a class above the model says it."""
    fields = (above.model_fields.get(name) for above in model.__mro__[1:] if issubclass(above, BaseModel))
    return next((info.description for info in fields if info is not None and info.description), None)


def nested_model(info: FieldInfo) -> type[BaseModel] | None:
    """The section that a key opens; None for a plain value."""
    for part in (info.annotation, *get_args(info.annotation)):
        if isinstance(part, type) and issubclass(part, BaseModel):
            return part
    return None


def _default(info: FieldInfo) -> Any:
    if info.is_required():
        return "(required)"
    return json.loads(json.dumps(info.get_default(call_default_factory=True), default=str))


def _kind(annotation: Any) -> str:
    """A type as a user reads it."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(map(str, args))
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else _kind(part) for part in args)
    if origin is Annotated:
        return _kind(args[0])
    if origin is list:
        return f"list of {_kind(args[0])}"
    if origin is tuple:
        return f"list of {_kind(args[0])}"
    if origin is dict:
        return f"mapping to {_kind(args[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    return NAMES.get(annotation, str(annotation))


def _inline(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=math.inf, allow_unicode=True)
    return text.removesuffix("...\n").strip()
