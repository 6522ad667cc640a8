"""What a trial is: the process that carries out one point."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from harness import Json
from training.sweeps.settings import Evaluation, SweepSettings
from training.sweeps.space import Point, nested

HARNESS: Final = (sys.executable, "-P", "-m", "harness")
VARIABLE: Final = re.compile(r"\$\{envvar:([A-Z0-9_]*)\}")
"""A variable of the environment in a command."""


def command_of(settings: SweepSettings, point: Point, file: Path, fixed: Mapping[str, Json]) -> list[str]:
    """The command line that carries out a point.

    Args:
        file: where the point lies as JSON, for a command that asks for it.
        fixed: changes of a training config that all trials have.
    """
    if settings.train is not None:
        changes = [f"{name}={json.dumps(value)}" for name, value in {**fixed, **point}.items()]
        return [*HARNESS, "train", str(settings.train), *_repeated("--set", changes), "--json"]
    if settings.evaluate is not None:
        return _evaluation(settings.evaluate, point)
    return fill(settings, nested(point, settings.parameters), file)


def fill(settings: SweepSettings, values: Mapping[str, Any], file: Path) -> list[str]:
    """A command with its macros filled in, as `wandb agent` does it."""
    flags = [f"{name}={value}" for name, value in values.items()]
    filled: dict[str, list[str]] = {
        "env": ["/usr/bin/env"] if os.name == "posix" else [],
        "interpreter": [sys.executable],
        "program": [settings.program or ""],
        "args": [f"--{flag}" for flag in flags],
        "args_no_hyphens": flags,
        "args_no_boolean_flags": [
            f"--{name}" if value is True else f"--{name}={value}"
            for name, value in values.items()
            if value is not False
        ],
        "args_no_equals": [part for name, value in values.items() for part in (f"--{name}", str(value))],
        "args_json": [json.dumps(values)],
        "args_json_file": [str(file)],
        "args_append_hydra": [f"+{flag}" for flag in flags],
        "args_override_hydra": [f"++{flag}" for flag in flags],
    }
    parts: list[str] = []
    for part in map(str, settings.command):
        text = with_variables(part)
        macro = text[2:-1] if text.startswith("${") and text.endswith("}") else ""
        parts += filled.get(macro, [text])
    return parts


def with_variables(text: str) -> str:
    """A part of a command with its variables of the environment filled in; one that is not set is its own name."""
    return VARIABLE.sub(lambda match: os.environ.get(match[1], match[1]), text)


def _evaluation(settings: Evaluation, point: Point) -> list[str]:
    chosen = {"--split": settings.split, "--limit": settings.limit, "--batch": settings.batch}
    options = [part for name, value in chosen.items() if value is not None for part in (name, str(value))]
    benchmarks = _repeated("--bench", list(settings.benchmarks))
    return [*HARNESS, "eval", "--model", model_of(settings, point), *benchmarks, *options, "--json"]


def model_of(settings: Evaluation, point: Point) -> str:
    """The model with the point as its options."""
    return ",".join([settings.model, *(f"{name}={_option(value)}" for name, value in point.items())])


def _option(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _repeated(option: str, values: list[str]) -> list[str]:
    return [part for value in values for part in (option, value)]
