"""Score a stored run anew, or an official results file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import click
import msgspec

from harness.cli.output import config_option, emit_json, exit_code, json_option, remarks, scores_table
from harness.cli.progress import Terminal
from harness.errors import StoreError
from harness.session import Options, open_session
from harness.types import Json


@click.command("score")
@click.argument("run", required=False)
@click.option("--bench", "benchmark", help="The benchmark that a results file answers.")
@click.option("--results", multiple=True, type=click.Path(path_type=Path), metavar="FILE",
              help="An official results file; again for each part that the format keeps apart.")  # fmt: skip
@click.option("--data", type=click.Path(path_type=Path), help="The benchmark's data, instead of the configured one.")
@click.option("--split", help="The split of the data.")
@click.option("--protocol", help="Named scoring rules: of a results file `official`, else the configured ones.")
@click.option(
    "--metric", "metrics", multiple=True, help="A score or metric, instead of the configured ones; may be repeated."
)
@click.option("--allow-partial", is_flag=True, help="Score what is there, with its coverage.")
@click.option("--per-sample", type=click.Path(path_type=Path), metavar="FILE",
              help="Write each sample's own scores there, as JSON lines.")  # fmt: skip
@config_option
@json_option
def command(
    run: str | None, benchmark: str | None, results: tuple[Path, ...], data: Path | None, split: str | None,
    protocol: str | None, metrics: tuple[str, ...], allow_partial: bool, per_sample: Path | None, config: Path | None,
    as_json: bool,
) -> None:  # fmt: skip
    """Score stored predictions anew, or official results files. Needs no model, no device and no pictures.

    RUN is a run's id or its beginning, as `harness list runs` shows it.

    \b
    harness score RUN --protocol official
    harness score --bench NAME --results FILE --data DIR
    """
    if (run is None) == (not results) or bool(results) != bool(benchmark):
        raise click.UsageError("name a stored RUN, or a benchmark with --bench and its results with --results FILE")
    if run is not None and (data or split):
        raise click.UsageError("--data and --split go with --results; a stored run needs no data")
    with open_session(config=config) as session:
        if run is not None:
            document = session.rescore(run, protocol, metrics, Terminal())
        else:
            assert benchmark is not None
            options = Options(data=data, split=split, protocol=protocol, metrics=metrics)
            document = session.score_results(
                benchmark, results, options, allow_partial=allow_partial, listener=Terminal()
            )
        if per_sample is not None:
            stored = session.store.get(document["run"])
            _write(per_sample, session.scorer.sample_scores(stored, document["benchmark"]["protocol"]))
    remarks(document)
    if as_json:
        emit_json({"runs": [document]})
    else:
        scores_table(document)
    click.get_current_context().exit(exit_code([document], partial=allow_partial))


def _write(path: Path, rows: Iterable[Json]) -> None:
    try:
        with path.open("wb") as file:
            for row in rows:
                file.write(msgspec.json.encode(row) + b"\n")
    except OSError as error:
        raise StoreError(
            f"{path}: cannot be written ({error.strerror}); name another file with --per-sample"
        ) from error
