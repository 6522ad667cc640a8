"""What commands print: tables and one JSON document to stdout, all else to stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec

from harness.cli.plain import plain
from harness.types import RESULTS, Json

Function = TypeVar("Function", bound=Callable[..., Any])


def json_option(function: Function) -> Function:
    """`--json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document and nothing else.")(function)


def config_option(function: Function) -> Function:
    """`--config`."""
    kind = click.Path(path_type=Path)
    return click.option("--config", type=kind, help="A benchmarks.yaml, or its folder.")(function)


def emit_json(document: Json) -> None:
    """The one document of a `--json` command."""
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n")


def say(text: str) -> None:
    """A line for the user, apart from the output."""
    print(plain(text), file=sys.stderr)


def table(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
    whole: Sequence[str] = (),
    title: str = "",
) -> None:
    """A table on stdout.

    Args:
        numbers: names of columns that are aligned to the right.
        whole: names of those whose cells are never broken; numbers are not either.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if title:
        console.print(Text(plain(title), style="bold"))  # apart from the table, which may be narrower
    drawn = Table(box=box.SIMPLE_HEAD, padding=0, pad_edge=False, header_style="dim")
    for column in columns:
        right = column in numbers
        drawn.add_column(
            column, justify="right" if right else "left", no_wrap=right or column in whole, overflow="fold"
        )
    for row in rows:
        drawn.add_row(*(Text(plain(cell)) for cell in row))
    console.print(drawn)


def number(value: float | None, digits: int = 3) -> str:
    """A number for a table; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def results_table(documents: Sequence[Mapping[str, Json]]) -> None:
    """The main figure of every run, a table a benchmark."""
    columns = ("model", "value", "95% interval", "n", "coverage", "tokens", "per s")
    width = max(len(document["model"]["ref"]) for document in documents)
    for name in dict.fromkeys(document["benchmark"]["name"] for document in documents):
        runs = [document for document in documents if document["benchmark"]["name"] == name]
        figure = next((next(iter(run["scores"])) for run in runs if run["scores"]), None)
        limit = "" if runs[0]["limit"] is None else f", the first {runs[0]['limit']} samples"
        title = f"{name}.{figure or 'unscored'} ({runs[0]['benchmark']['protocol']}{limit})"
        table(columns, [_result(run, figure, width) for run in runs], numbers=columns[1:], title=title)


def _result(run: Mapping[str, Json], figure: str | None, width: int) -> Sequence[str]:
    score = run["scores"].get(figure, {"value": None, "low": None})
    usage = run["usage"]
    return (
        run["model"]["ref"].ljust(width),
        f"{number(score['value']):>6}",
        f"{_interval(score):>13}",
        f"{run['n']:>5}",
        f"{100 * run['coverage']:.1f}%",
        f"{number(usage['visual_tokens_mean'], 1):>6}",
        number(usage["samples_per_second"], 0),
    )


def scores_table(document: Mapping[str, Json]) -> None:
    """All scores of one run."""
    rows = [
        (name, number(item["value"]), number(item["stderr"]), _interval(item), str(item["n"]), str(item["clusters"]))
        for name, item in document["scores"].items()
    ]
    rows += [(name, "–", "–", "–", "–", "–") for name in document["unscored"]]
    columns = ("score", "value", "std. error", "95% interval", "n", "clusters")
    benchmark = document["benchmark"]
    answered = round(document["coverage"] * document["n"])
    title = (
        f"{document['model']['ref']} on {benchmark['name']}, run {document['run']}\n"
        f"protocol {benchmark['protocol']}, {answered:,} of {document['n']:,} samples answered"
    )
    table(columns, rows, numbers=columns[1:], title=title)
    if not rows and document["inapplicable"]:
        say(f"there was nothing to measure for {', '.join(document['inapplicable'])}")


def _interval(score: Mapping[str, Json]) -> str:
    return "–" if score["low"] is None else f"{score['low']:.3f} … {score['high']:.3f}"


def remarks(document: Mapping[str, Json]) -> None:
    """What a reader of a run's figures must know, on stderr."""
    where = f"{document['model']['ref']} on {document['benchmark']['name']}"
    for kind, count in document["failures"].items():
        example = document["failure_examples"][kind]
        again = "" if document["benchmark"]["profile"] == RESULTS else "; --retry-failures asks again"
        say(f"{where}: {count} of {document['n']} samples failed ({kind}{again}), such as: {example}")
    for name, reason in document["unscored"].items():
        say(f"{where}: no {name}: {reason}")
    for name, item in document["scores"].items():
        if item.get("note"):
            say(f"{where}: {name} is {item['note']}")


def exit_code(documents: Sequence[Mapping[str, Json]], *, partial: bool = False) -> int:
    """0 where everything was answered and scored, else 3.

    Args:
        partial: whether part of the answers is enough.
    """
    whole = all(
        (partial or document["coverage"] == 1)
        and not document["unscored"]
        and (document["scores"] or document["inapplicable"])
        for document in documents
    )
    return 0 if whole else 3
