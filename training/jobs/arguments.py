"""Parameters as arguments of a command, in the words of W&B: https://docs.wandb.ai/models/sweeps/define-sweep-configuration/#command."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import yaml


def _args(parameters: Mapping[str, Any]) -> list[str]:
    return [f"--{name}={plain(value)}" for name, value in parameters.items()]


def _no_hyphens(parameters: Mapping[str, Any]) -> list[str]:
    return [f"{name}={plain(value)}" for name, value in parameters.items()]


def _no_boolean_flags(parameters: Mapping[str, Any]) -> list[str]:
    kept = {name: value for name, value in parameters.items() if value is not False}
    return [f"--{name}" if value is True else f"--{name}={plain(value)}" for name, value in kept.items()]


def _json(parameters: Mapping[str, Any]) -> list[str]:
    return [json.dumps(parameters)]


_FORMS: Final[Mapping[str, Callable[[Mapping[str, Any]], list[str]]]] = {
    "args": _args,
    "args_no_hyphens": _no_hyphens,
    "args_no_boolean_flags": _no_boolean_flags,
    "args_json": _json,
}
MACROS: Final = tuple(_FORMS)
"""What stands for the parameters as a word of a command, in `${…}`."""


def with_arguments(words: Sequence[str], parameters: Mapping[str, Any], *, settings: bool) -> list[str]:
    """A command with its parameters: in the place of a macro, or at the end.

    Args:
        settings: at the end they become `--set key=value`, as `harness train` takes them, and not `--key=value`.
    """
    marks = {f"${{{name}}}": form for name, form in _FORMS.items()}
    if any(word in marks for word in words):
        return [part for word in words for part in (marks[word](parameters) if word in marks else [word])]
    if settings:
        return [*words, *(part for name, value in parameters.items() for part in ("--set", f"{name}={_yaml(value)}"))]
    return [*words, *_args(parameters)]


def plain(value: Any) -> str:
    """A value as a program reads it from its arguments."""
    return json.dumps(value) if isinstance(value, dict | list) else str(value)


def _yaml(value: Any) -> str:
    """A value that YAML reads back as it is."""
    with suppress(yaml.YAMLError):
        if isinstance(value, str) and value.strip() and yaml.safe_load(value) == value:
            return value
    return json.dumps(value)
