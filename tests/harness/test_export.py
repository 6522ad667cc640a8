"""Exported runs, read back by the programs that they are for."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import resource
import subprocess
import sys
import tempfile
import tracemalloc
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests_support import ROOT, Command

import harness.export.parquet as parquet_module
import harness.store as store_module
from harness.database import Database
from harness.encoding import encode_sample
from harness.errors import Incomplete, StoreError, UnknownName, UsageError
from harness.export.facts import EXACT, WIDE, Facts, Kind
from harness.export.parquet import ROWS, write_parquet
from harness.export.staging import staged
from harness.export.table import Table, make_table
from harness.export.text import harmless, write_csv, write_jsonl
from harness.export.wandb_table import write_wandb_table
from harness.notebook import load_run
from harness.scoring import Scored
from harness.store import Run, RunStore
from harness.types import NOTHING, Failure, Output, Prediction, Sample, Score, Trace, Usage

csv.field_size_limit(10_000_000)
HOSTILE = [
    "<script>alert(1)</script>",
    '=HYPERLINK("http://example.org","x")',
    "+1+cmd|' /C calc'!A0",
    "@SUM(1;2)",
    "-2+3",
    "\t=1",
    "\r\n=1",
    "＝1+1",
    "'=1",
    "''",
    "\x1b[31mred\x1b[0m\x07",
    "\u202eevil\u2066",
    "nul\0nul",
    "\0=1",
    'quo"te, comma; semicolon',
    "two\nlines\r\nand\rmore\u2028and\x85more",
    "\ufeffmark",
    "é 漢 🙂",
    "",
    " ",
    "x" * 1_000_000,
]
UNDO = r"^'(?='*[=+\-@\t\r\n\0＝＋－＠])"
NUMBERS = ["-5", "+1.5", "-1e-3", "7"]


@contextmanager
def stored(
    samples: Sequence[Sample],
    results: Sequence[Output | Failure],
    home: Path,
    scores: Mapping[str, Sequence[float]] = NOTHING,
) -> Iterator[tuple[RunStore, Run]]:
    """A run of a benchmark that is not installed."""
    identity = {
        "model": {"plugin": "m", "fingerprint": "1", "image": "real"},
        "benchmark": {"name": "gone", "version": "1", "profile": "plain"},
        "data_digest": "d",
        "limit": None,
    }
    with closing(Database(home)) as database:
        store = RunStore(database)
        run = store.begin(
            identity, {"data": "there"}, len(samples), benchmark="gone", model="m:x", version=None, digest=None
        )  # fmt: skip
        store.keep_samples(run, ((sample, encode_sample(sample)) for sample in samples))
        predictions = [
            Prediction(position, sample.id, result)
            for position, (sample, result) in enumerate(zip(samples, results, strict=True))
        ]
        store.add(run, predictions, 1.0)
        run = store.finish(run)
        values = {name: np.array(column, np.float64) for name, column in scores.items()}
        made = {name: Score(0.5, len(column), len(column)) for name, column in scores.items()}
        store.keep_scores(run, "rules", Scored(made, values, {}, ()), dict.fromkeys(made, "digest"))
        yield store, run


def question(number: int, **facts: Any) -> Sample:
    return Sample(f"s{number}", (), f"question {number}", ("yes", "no"), f"g{number // 2}", facts)


def written(table: Table, write: Callable[[Table, Any], None]) -> bytes:
    file = io.BytesIO()
    write(table, file)
    return file.getvalue()


def read_csv(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline=""), strict=True))


def read_jsonl(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.split(b"\n")[:-1]]


def undone(cell: str) -> str:
    """The text that a harmless cell was made of."""
    return re.sub(UNDO, "", cell)


@pytest.fixture
def run(cli: Command, trivia: Path) -> str:
    """The id of a scored run with failures and padded answers."""
    result = cli("eval", "--model", "acme-parrot:last,fail=word3", "--bench", "acme-trivia", "--json")
    identifier: str = json.loads(result.stdout)["runs"][0]["run"]
    return identifier


# What is in the rows.


def test_every_sample_has_a_row_with_all_that_is_known_of_it(cli: Command, trivia: Path, run: str) -> None:
    assert cli("export", run, "--to", "jsonl").returncode == 0
    rows = read_jsonl(Path(f"{run}.jsonl").read_bytes())
    asked = [json.loads(line) for line in (trivia / "trivia.jsonl").read_text().splitlines()]
    assert [row["sample_id"] for row in rows] == [item["id"] for item in asked]
    assert [row["position"] for row in rows] == list(range(40))
    for row, item in zip(rows, asked, strict=True):
        said = item["question"].split()[-1]
        assert (row["group"], row["question"], row["references"], row["fact_topic"]) == (
            item["group"], item["question"], item["answers"], item["topic"],
        )  # fmt: skip
        if said == "word3":
            assert (row["failure_kind"], row["failure_message"]) == ("speechless", f"no answer to {item['question']!r}")
            empty = ("answer", "parsed", "score_exact", "prompt_tokens", "seconds", "peak_bytes", "trace_words")
            assert {row[name] for name in empty} == {None}
        else:
            width = 10 + int(item["picture"][0])
            assert (row["answer"], row["parsed"], row["failure_kind"], row["failure_message"]) == (
                said,
                said,
                None,
                None,
            )
            assert row["score_exact"] == float(said in item["answers"])
            assert (row["prompt_tokens"], row["visual_tokens"], row["full_visual_tokens"]) == (3, width // 2, width)
            assert (row["generated_tokens"], row["trace_words"]) == (1, 3.0)
    scored = [row["score_exact"] for row in rows if row["score_exact"] is not None]
    document = json.loads(Path(f"{run}.jsonl.run.json").read_text())
    assert document == json.loads(cli("score", run, "--json").stdout)["runs"][0]
    assert np.mean(scored) == document["scores"]["exact"]["value"]


def test_all_formats_tell_the_same(cli: Command, run: str) -> None:
    for kind in ("parquet", "csv", "jsonl", "wandb-table"):
        assert cli("export", run, "--to", kind).returncode == 0
    rows = read_jsonl(Path(f"{run}.jsonl").read_bytes())
    document = json.loads(Path(f"{run}.jsonl.run.json").read_text())
    assert pq.read_table(f"{run}.parquet").to_pylist() == rows
    assert json.loads(pq.read_schema(f"{run}.parquet").metadata[b"harness.run"]) == document
    table = json.loads(Path(f"{run}.table.json").read_text())
    assert [dict(zip(table["columns"], row, strict=True)) for row in table["data"]] == rows
    assert json.loads(Path(f"{run}.table.json.run.json").read_text()) == document
    cells = read_csv(Path(f"{run}.csv").read_bytes())
    shown = [{name: cell_of(value) for name, value in row.items()} for row in rows]
    assert cells == shown
    assert json.loads(Path(f"{run}.csv.run.json").read_text()) == document
    assert sorted(path.name for path in Path().glob(f"{run}*")) == sorted(
        f"{run}{ending}"
        for ending in (
            ".parquet", ".csv", ".csv.run.json", ".jsonl", ".jsonl.run.json", ".table.json", ".table.json.run.json",
        )
    )  # fmt: skip


def cell_of(value: Any) -> str:
    """What CSV has in place of a value that no spreadsheet takes for a program."""
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def test_the_programs_that_they_are_for_open_them(cli: Command, run: str, workspace: Path) -> None:
    import datasets

    for kind in ("parquet", "csv", "jsonl"):
        assert cli("export", run, "--to", kind).returncode == 0
    frame = pd.read_parquet(f"{run}.parquet")
    pd.testing.assert_frame_equal(frame, load_run(run).frame)
    flat = frame.drop(columns="references")
    read = pd.read_csv(f"{run}.csv", dtype={"fact_topic": "str"}).drop(columns="references")
    pd.testing.assert_frame_equal(read, flat, check_dtype=False)
    lines = pd.read_json(f"{run}.jsonl", lines=True).drop(columns="references")
    pd.testing.assert_frame_equal(lines, flat, check_dtype=False)
    opened = datasets.Dataset.from_parquet(f"{run}.parquet", cache_dir=str(workspace / "cache"))
    assert opened.to_list() == pq.read_table(f"{run}.parquet").to_pylist()


def test_maps_come_where_they_are_asked_for(tmp_path: Path) -> None:
    maps = {"budget": [[1.0, 2.5], [math.nan, 0.0]]}
    results: list[Output | Failure] = [
        Output("a", trace=Trace(maps, {"kept": 0.5, "none": math.nan})),
        Output("b", trace=Trace({}, {"kept": 1})),
        Output("c"),
        Failure("f", "g"),
    ]
    with stored([question(number) for number in range(4)], results, tmp_path) as (store, run):
        bare, whole = make_table(store, run, "rules", None), make_table(store, run, "rules", None, traces=True)
        assert [column.name for column in bare.columns][-2:] == ["trace_kept", "trace_none"]
        expected = [[[1.0, 2.5], [None, 0.0]], None, None, None]
        rows = read_jsonl(written(whole, write_jsonl))
        table = pq.read_table(io.BytesIO(written(whole, write_parquet)))
    assert [row["map_budget"] for row in rows] == expected
    assert [row["trace_kept"] for row in rows] == [0.5, 1.0, None, None]
    assert [row["trace_none"] for row in rows] == [None] * 4
    assert table.to_pylist() == rows
    assert table.schema.field("map_budget").type == pa.list_(pa.list_(pa.float64()))


def test_a_score_without_a_value_for_a_sample_is_empty_there(tmp_path: Path) -> None:
    results: list[Output | Failure] = [Output("a"), Failure("f", "g"), Output("b"), Output("c")]
    scores = {"right": [1.0, math.nan, 0.0], "other:one": [-0.5, 2.0, 3.0]}
    with stored([question(number) for number in range(4)], results, tmp_path, scores) as (store, run):
        table = make_table(store, run, "rules", None)
        rows, cells = read_jsonl(written(table, write_jsonl)), read_csv(written(table, write_csv))
    assert [row["score_right"] for row in rows] == [1.0, None, None, 0.0]
    assert [row["score_other:one"] for row in rows] == [-0.5, None, 2.0, 3.0]
    # A number is one, whatever it begins with.
    assert [row["score_other:one"] for row in cells] == ["-0.5", "", "2.0", "3.0"]


# Facts become columns.


def columns_of(*facts: Mapping[str, Any]) -> dict[tuple[str, ...], Kind]:
    seen = Facts()
    for item in facts:
        seen.see(item)
    return dict(seen.columns())


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["a", None, ""], Kind.TEXT),
        ([None], Kind.TEXT),
        ([1, -2], Kind.INTEGER),
        ([1, 0.5], Kind.NUMBER),
        ([True, False, None], Kind.TRUTH),
        ([True, 1], Kind.JSON),
        (["1", 1], Kind.JSON),
        ([EXACT, -EXACT], Kind.INTEGER),
        ([EXACT + 1], Kind.JSON),
        ([["a"], [], None], Kind.TEXTS),
        ([[]], Kind.TEXTS),
        ([[], "a"], Kind.JSON),
        ([[1], [2, 3]], Kind.INTEGERS),
        ([[1], [], [0.5]], Kind.NUMBERS),
        ([[1, 0.5]], Kind.NUMBERS),
        ([["a", 1]], Kind.JSON),
        ([["a", None]], Kind.JSON),
        ([["a"], "a"], Kind.JSON),
        ([["a"], [1]], Kind.JSON),
        ([[["a"]]], Kind.JSON),
        ([[[]]], Kind.JSON),
        ([[{"a": 1}]], Kind.JSON),
        ([[True]], Kind.JSON),
        ([{"a": 1}, 1], Kind.JSON),
        ([{}], Kind.TEXT),
    ],
)
def test_a_fact_is_of_the_kind_that_all_its_values_have(values: list[Any], kind: Kind) -> None:
    assert columns_of(*({"fact": value} for value in values)) == {("fact",): kind}


def test_nested_facts_are_columns_unless_their_keys_are_data() -> None:
    wide = {str(number): number for number in range(WIDE + 1)}
    assert columns_of({"types": {"deep": {"er": 1}, "flat": "x"}}, {"types": {"late": 2.5}}, {"more": None}) == {
        ("more",): Kind.TEXT,
        ("types", "deep", "er"): Kind.INTEGER,
        ("types", "flat"): Kind.TEXT,
        ("types", "late"): Kind.NUMBER,
    }
    assert columns_of({"scene": {"objects": wide}, "x": 1}) == {("scene", "objects"): Kind.JSON, ("x",): Kind.INTEGER}
    # The same where each sample brings keys of its own.
    assert columns_of(*({"objects": {key: value}} for key, value in wide.items())) == {("objects",): Kind.JSON}
    assert columns_of(wide) == {(): Kind.JSON}
    assert columns_of({}) == {}


FACTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.dictionaries(st.text(max_size=3), FACTS, max_size=3), min_size=1, max_size=4))
def test_any_facts_can_be_written_and_lose_nothing(facts: list[dict[str, Any]]) -> None:
    facts = json.loads(msgspec.json.encode(facts))  # as they are stored: text of UTF-8, numbers of JSON
    with tempfile.TemporaryDirectory() as folder:
        samples = [Sample(str(number), (), "", (), "", item) for number, item in enumerate(facts)]
        with stored(samples, [Output("")] * len(samples), Path(folder)) as (store, run):
            table = make_table(store, run, "rules", None)
            rows = read_jsonl(written(table, write_jsonl))
            parquet = pq.read_table(io.BytesIO(written(table, write_parquet))).to_pylist()
            cells = read_csv(written(table, write_csv))
    own = [column for column in table.columns if column.name.startswith("fact")]
    for row, other, cell, item in zip(rows, parquet, cells, facts, strict=True):
        told = [value for column in own for value in leaves(row[column.name])]
        assert sorted(told) == sorted(leaves(item))
        for column in own:
            text = column.kind is Kind.JSON and row[column.name] is not None
            assert (
                other[column.name] == row[column.name]
                if not text
                else json.loads(other[column.name]) == row[column.name]
            )
            if column.kind is Kind.TEXT:
                assert undone(cell[column.name]) == (row[column.name] or "")
            elif row[column.name] is not None:
                assert json.loads(cell[column.name]) == row[column.name]


def leaves(value: Any) -> list[str]:
    """All values that are no mappings or lists, and how many there are."""
    if isinstance(value, dict):
        return [leaf for part in value.values() for leaf in leaves(part)]
    if isinstance(value, list):
        return [leaf for part in value for leaf in leaves(part)]
    if isinstance(value, bool | str):
        return [repr(value)]
    return [] if value is None else [repr(float(value))]


def test_two_columns_never_have_one_name(tmp_path: Path) -> None:
    facts = {"a": {"b": 1}, "a_b": 2, "a_b_2": 3}
    with stored([question(0, **facts)], [Output("x")], tmp_path) as (store, run):
        (row,) = read_jsonl(written(make_table(store, run, "rules", None), write_jsonl))
    assert {name: value for name, value in row.items() if name.startswith("fact")} == {
        "fact_a_b": 1,
        "fact_a_b_2": 2,
        "fact_a_b_2_2": 3,
    }


# Hostile text.


def hostile_table(texts: Sequence[str], home: Path) -> Any:
    samples = [
        Sample(f"{number}", (), text, (text, text), text, {"said": text, "all": [text], "any": [text, number]})
        for number, text in enumerate(texts)
    ]
    results = [Output(text) if number % 3 else Failure(text, text) for number, text in enumerate(texts)]
    return stored(samples, results, home)


def check_hostile(texts: Sequence[str], home: Path) -> None:
    with hostile_table(texts, home) as (store, run):
        table = make_table(store, run, "rules", None)
        rows = read_jsonl(written(table, write_jsonl))
        frame = pd.read_parquet(io.BytesIO(written(table, write_parquet)))
        content = written(table, write_csv)
        wandb = json.loads(written(table, write_wandb_table))
    cells = read_csv(content)
    for number, text in enumerate(texts):
        said, failed = (text, None) if number % 3 else (None, text)
        for row in (rows[number], dict(zip(wandb["columns"], wandb["data"][number], strict=True))):
            assert (row["question"], row["group"], row["references"]) == (text, text, [text, text])
            assert (row["answer"], row["failure_message"], row["failure_kind"]) == (said, failed, failed)
            assert (row["fact_said"], row["fact_all"]) == (text, [text])
        assert rows[number]["fact_any"] == [text, number]
        read = frame.iloc[number]
        assert (read["question"], list(read["references"]), read["fact_said"]) == (text, [text, text], text)
        assert (read["answer"] if said is not None else read["failure_message"]) == text
        assert json.loads(read["fact_any"]) == [text, number]
        for name in ("question", "group", "fact_said", "answer" if said is not None else "failure_message"):
            assert undone(cells[number][name]) == text
        assert json.loads(cells[number]["references"]) == [text, text]
    for cell in (cell for row in cells for cell in row.values()):
        start = unicodedata.normalize("NFKC", cell[:1])
        assert start not in {*"=+-@\t\r\n\0"} or math.isfinite(float(cell))


def test_hostile_text_comes_back_as_it_was(tmp_path: Path) -> None:
    check_hostile([*HOSTILE, *NUMBERS], tmp_path)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.text(st.characters(codec="utf-8"), max_size=20) | st.sampled_from(HOSTILE[:-1]), min_size=1, max_size=6)
)
def test_any_text_comes_back_as_it_was(texts: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        check_hostile(texts, Path(folder))


def test_the_documentation_says_how_texts_are_read_again() -> None:
    assert UNDO in (ROOT / "docs" / "how-to" / "export-a-run.md").read_text()


def test_formulas_are_harmless_and_numbers_stay_numbers() -> None:
    assert [harmless(text) for text in NUMBERS] == NUMBERS
    assert harmless("=1") == "'=1"
    assert harmless("'=1") == "''=1"
    assert harmless("it's -5") == "it's -5"
    assert harmless("-5\n") == "'-5\n"
    assert harmless("-٣") == "'-٣"
    changed = [text for text in HOSTILE if harmless(text) != text]
    assert changed == [text for text in HOSTILE if text.lstrip("'")[:1] in {*"=+-@\t\r\0＝"} - {""} and text != "''"]


def test_csv_is_as_its_rfc_says(tmp_path: Path) -> None:
    texts = HOSTILE[:-1]
    with hostile_table(texts, tmp_path) as (store, run):
        content = written(make_table(store, run, "rules", None), write_csv).decode()
    # The grammar of RFC 4180, section 2, but for the characters beyond ASCII.
    field = r'(?:"(?:[^"]|"")*"|[^",\r\n]*)'
    record = re.compile(rf"{field}(?:,{field})*\r\n")
    place, count = 0, 0
    while place < len(content):
        match = record.match(content, place)
        assert match is not None
        place, count = match.end(), count + 1
    assert count == len(texts) + 1


# Large runs.


class Sink:
    """A file that forgets what is written, and asks what was read till then."""

    def __init__(self, read: Callable[[], int] = lambda: 0) -> None:
        self.size = 0
        self.ahead = 0
        self._read, self._lines = read, 0

    def write(self, content: bytes) -> int:
        self.size += len(content)
        self._lines += content.count(b"\n")
        self.ahead = max(self.ahead, self._read() - self._lines)
        return len(content)


@pytest.mark.parametrize("write", [write_jsonl, write_csv, write_wandb_table])
def test_rows_are_written_as_they_are_read(tmp_path: Path, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    n, read = 600, 0
    decode = store_module.decode_sample

    def counted(*arguments: Any) -> Sample:
        nonlocal read
        read += 1
        return decode(*arguments)

    with stored([question(number) for number in range(n)], [Output("x")] * n, tmp_path) as (store, run):
        table = make_table(store, run, "rules", None)
        monkeypatch.setattr(store_module, "decode_sample", counted)
        sink = Sink(lambda: read)
        write(table, sink)
    assert read == n
    assert sink.ahead <= 1


def test_parquet_is_written_in_groups_of_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_module, "ROWS", 50)
    monkeypatch.setattr(parquet_module, "BYTES", 10_000)
    lengths = [1] * 120 + [5_000] * 9
    results = [Output("x" * length) for length in lengths]
    samples = [question(number) for number in range(len(lengths))]
    with stored(samples, results, tmp_path) as (store, run):
        file = io.BytesIO()
        write_parquet(make_table(store, run, "rules", None), file)
    metadata = pq.ParquetFile(file).metadata
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert groups[:2] == [50, 50]
    assert max(groups[3:]) <= 3
    assert pq.read_table(file)["position"].to_pylist() == list(range(len(lengths)))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_rows(tmp_path: Path) -> None:
    n = 20_000
    samples = [question(number, topic="x", place=number) for number in range(n)]
    results = [
        Output(f"{number:06}" * 200, Usage(1, 2, 3, 4)) if number % 10 else Failure("f", "m") for number in range(n)
    ]
    with stored(samples, results, tmp_path, {"right": [1.0] * (n - n // 10)}) as (store, run):
        for write in (write_jsonl, write_csv, write_wandb_table):
            sink = Sink()
            tracemalloc.start()
            try:
                write(make_table(store, run, "rules", None), sink)  # type: ignore[arg-type]
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            assert sink.size > 20_000_000
            assert peak < 3_000_000
        file = io.BytesIO()
        write_parquet(make_table(store, run, "rules", None), file)
    metadata = pq.ParquetFile(file).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [ROWS] * 4


# What can go wrong.


def left_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "wandb-table"])
def test_a_full_disk_leaves_what_was_there(cli: Command, workspace: Path, kind: str) -> None:
    noise = np.random.default_rng(0)
    results = [Output(noise.bytes(20_000).hex()) for _ in range(32)]
    with stored([question(number) for number in range(32)], results, workspace / "home", {"r": [1.0] * 32}) as (_, run):
        folder = workspace / "out"
        folder.mkdir()
        (folder / "table").write_text("older")
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            result = cli("export", run.id, "--to", kind, "--out", str(folder / "table"))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.returncode == 3
    assert (
        "table: cannot be written (File too large); free some space, or name another place with --out" in result.stderr
    )
    assert left_in(folder) == {"table"}
    assert (folder / "table").read_text() == "older"


@pytest.mark.parametrize("kind", ["parquet", "csv", "lmms"])
def test_a_place_that_cannot_be_written_is_named(cli: Command, workspace: Path, run: str, kind: str) -> None:
    (workspace / "file").write_text("x")
    result = cli("export", run, "--to", kind, "--out", "file/more")
    assert result.returncode == 3
    assert "file/more" in result.stderr
    assert "name another place with --out" in result.stderr
    if kind != "lmms":
        result = cli("export", run, "--to", kind, "--out", "absent/more")
        assert result.returncode == 3
        assert "cannot be written (No such file or directory)" in result.stderr
        result = cli("export", run, "--to", kind, "--out", ".")
        assert result.returncode == 2
        assert "is no file that could be replaced" in result.stderr


def test_what_fails_midway_leaves_nothing(tmp_path: Path) -> None:
    target, beside = tmp_path / "a", tmp_path / "b"
    target.write_text("older")

    def fail() -> None:
        with staged(beside, target) as files:
            for file in files:
                file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert left_in(tmp_path) == {"a"}
    assert target.read_text() == "older"
    with pytest.raises(StoreError, match="cannot be written"), staged(tmp_path / "no" / "c", target):
        raise AssertionError("is not reached")
    assert left_in(tmp_path) == {"a"}


def test_files_are_replaced_and_links_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("older")
    (tmp_path / "link").symlink_to("real")
    with staged(tmp_path / "link", tmp_path / "new") as (first, second):
        first.write(b"1")
        second.write(b"2")
        assert (tmp_path / "real").read_text() == "older"
    assert (tmp_path / "link").is_symlink()
    assert ((tmp_path / "real").read_text(), (tmp_path / "new").read_text()) == ("1", "2")
    assert left_in(tmp_path) == {"real", "link", "new"}
    with pytest.raises(UsageError, match="/dev/null: is no file"), staged(Path("/dev/null")):
        raise AssertionError("is not reached")


def test_a_run_that_goes_on_meanwhile_is_not_exported_half(tmp_path: Path) -> None:
    samples = [question(number) for number in range(4)]
    results: list[Output | Failure] = [Output("a"), Failure("f", "m"), Output("b"), Output("c")]
    with stored(samples, results, tmp_path, {"right": [1.0, 0.0, 1.0]}) as (store, run):
        table = make_table(store, run, "rules", None)
        assert len(list(table)) == 4
        store.add(run, [Prediction(1, "s1", Output("late"))], 0.0)
        with pytest.raises(Incomplete, match="export it again"):
            list(table)
        assert len(list(make_table(store, run, "rules", None))) == 4


def test_an_unfinished_run_is_exported_as_far_as_it_came(cli: Command, trivia: Path) -> None:
    model = "acme-parrot:last,crash=word6"
    cli("eval", "--model", model, "--bench", "acme-trivia", "--batch", "1")
    with closing(Database(Path("home").absolute())) as database:
        store = RunStore(database)
        (run,) = store.runs()
        with database.transaction() as connection:
            connection.execute("UPDATE runs SET status = 'running'")
            connection.execute("DELETE FROM predictions WHERE position >= 10")
            connection.execute("DELETE FROM scores")
    result = cli("export", run.id, "--to", "csv", "--out", "part.csv")
    assert result.returncode == 3
    assert "is not complete: 10 of 40 samples were asked" in result.stderr
    rows = read_csv(Path("part.csv").read_bytes())
    assert len(rows) == 10
    assert not any(name.startswith("score") for name in rows[0])
    assert load_run(run.id).frame["answer"].notna().sum() == 9
    assert "running, 40 samples, coverage 22.5%" in repr(load_run(run.id))


def test_an_empty_run_is_an_empty_table(tmp_path: Path) -> None:
    with stored([question(0)], [Output("a")], tmp_path) as (store, run):
        with store._database.transaction() as connection:
            connection.execute("DELETE FROM predictions")
        table = make_table(store, run, "rules", None)
        assert len(pd.read_parquet(io.BytesIO(written(table, write_parquet)))) == 0
        assert read_jsonl(written(table, write_jsonl)) == read_csv(written(table, write_csv)) == []
        assert json.loads(written(table, write_wandb_table))["data"] == []


def test_unknown_names_are_refused_with_suggestions(cli: Command, run: str, workspace: Path) -> None:
    result = cli("export", run[:-1] + "x")
    assert (result.returncode, "unknown run" in result.stderr) == (2, True)
    result = cli("export", run, "--protocol", "strickt")
    assert result.returncode == 2
    assert "unknown protocol of 'acme-trivia' 'strickt' (did you mean 'strict'?)" in result.stderr
    assert cli("export", run, "--to", "xlsx").returncode == 2
    assert not list(workspace.glob(f"{run}*"))
    with pytest.raises(UnknownName, match="did you mean 'strict'"):
        load_run(run, protocol="strickt")
    with pytest.raises(UnknownName, match="unknown run"):
        load_run("nothing")
    with pytest.raises(UnknownName, match="there is none"):
        load_run(run, home=workspace / "elsewhere")


def test_a_format_is_not_asked_for_what_it_cannot(cli: Command, run: str) -> None:
    for kind in ("csv", "wandb-table", "lmms"):
        result = cli("export", run, "--to", kind, "--traces")
        assert result.returncode == 2
        assert f"{kind} has no place for the maps of traces" in result.stderr
    for kind in ("parquet", "wandb-table", "lmms"):
        result = cli("export", run, "--to", kind, "--out", "-")
        assert (result.returncode, result.stdout) == (2, "")
        assert f"{kind} cannot go to stdout; name a place with --out, or take csv or jsonl" in result.stderr


def test_stdout_holds_the_table_and_nothing_else(cli: Command, run: str, workspace: Path) -> None:
    before = left_in(workspace)
    for kind in ("csv", "jsonl"):
        result = cli("export", run, "--to", kind, "--out", "-")
        assert result.returncode == 0
        assert result.stderr == "stdout: 40 samples, 6 failed\n"
        assert left_in(workspace) == before
        cli("export", run, "--to", kind, "--out", "file")
        assert result.stdout.encode() == Path("file").read_bytes()
        Path("file").unlink()
        Path("file.run.json").unlink()


def test_the_files_name_says_the_format(cli: Command, run: str) -> None:
    cli("export", run, "--out", "x.csv")
    cli("export", run, "--out", "x.table.json")
    cli("export", run, "--out", "x")
    assert Path("x.csv").read_bytes().startswith(b"sample_id,")
    assert json.loads(Path("x.table.json").read_text())["_type"] == "table"
    assert Path("x").read_bytes().startswith(b"PAR1")


# Scores, protocols, benchmarks that are gone.


def test_the_protocol_is_chosen_and_scored_by(cli: Command, trivia: Path, run: str) -> None:
    assert cli("export", run, "--protocol", "lower", "--to", "jsonl").returncode == 0
    assert json.loads(Path(f"{run}.jsonl.run.json").read_text())["benchmark"]["protocol"] == "lower"
    assert load_run(run).document["benchmark"]["protocol"] == "strict"
    assert load_run(run, protocol="lower").document["benchmark"]["protocol"] == "lower"


def test_results_files_are_exported_unparsed(cli: Command, trivia: Path, workspace: Path) -> None:
    rows = [json.loads(line) for line in (trivia / "trivia.jsonl").read_text().splitlines()]
    (workspace / "said.json").write_text(json.dumps([{"id": row["id"], "said": "  padded "} for row in rows]))
    result = cli("score", "--bench", "acme-trivia", "--results", "said.json", "--json")
    frame = load_run(json.loads(result.stdout)["runs"][0]["run"]).frame
    assert {*frame["answer"], *frame["parsed"]} == {"  padded "}


def test_answers_are_parsed_as_the_benchmark_does(cli: Command, trivia: Path, run: str) -> None:
    with closing(Database(Path("home").absolute())) as database, database.transaction() as connection:
        connection.execute("UPDATE predictions SET text = '  ' || text || ' ' WHERE failure IS NULL")
    frame = load_run(run).frame
    answered = frame[frame["failure_kind"].isna()]
    assert (answered["answer"] == "  " + answered["parsed"] + " ").all()
    assert frame[frame["failure_kind"].notna()]["parsed"].isna().all()


def test_a_run_outlives_its_benchmark(cli: Command, workspace: Path) -> None:
    with stored([question(0)], [Output("a")], workspace / "home", {"right": [1.0]}) as (_, run):
        result = cli("export", run.id, "--to", "jsonl")
        loaded = load_run(run.id)
        with pytest.raises(UnknownName, match="unknown benchmark 'gone'"):
            load_run(run.id, protocol="other")
    assert result.returncode == 0
    assert "its answers stay as they are, and are not parsed: unknown benchmark 'gone'" in result.stderr
    (row,) = read_jsonl(Path(f"{run.id}.jsonl").read_bytes())
    assert (row["answer"], row["parsed"], row["score_right"]) == ("a", None, 1.0)
    assert "not parsed" in loaded.remarks[0]
    assert "not parsed" in repr(loaded)
    assert "not parsed" in loaded._repr_html_()


# W&B's and lmms-eval's own.


def test_wandb_reads_and_would_write_the_same(cli: Command, run: str, tmp_path: Path, monkeypatch: Any) -> None:
    for name in ("DATA", "CACHE", "CONFIG", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "wandb"))
    monkeypatch.setenv("WANDB_MODE", "offline")
    import wandb

    assert cli("export", run, "--to", "wandb-table", "--out", "predictions.table.json").returncode == 0
    ours = json.loads(Path("predictions.table.json").read_text())
    artifact = wandb.Artifact("predictions", "evaluation")
    artifact.add_file("predictions.table.json")
    table = wandb.Table.from_json(ours, artifact)
    assert (table.columns, table.data) == (ours["columns"], ours["data"])
    assert (ours["ncols"], ours["nrows"]) == (len(table.columns), 40)
    frame = table.get_dataframe()
    assert frame["score_exact"].sum() == load_run(run).frame["score_exact"].sum()
    # The file that the SDK itself makes of the same rows.
    made = wandb.Table(columns=ours["columns"], data=ours["data"])
    entry = wandb.Artifact("other", "evaluation").add(made, "predictions")
    theirs = json.loads(Path(entry.local_path).read_text())
    assert sorted(ours) == sorted(theirs)
    for key in ("_type", "columns", "data", "ncols", "nrows", "log_mode"):
        assert ours[key] == theirs[key]
    assert column_types(ours) == column_types(theirs)


def column_types(table: Mapping[str, Any]) -> dict[str, Any]:
    """The types that may be in each column."""
    types = table["column_types"]["params"]["type_map"]
    found = {}
    for name, item in types.items():
        kinds = item["params"]["allowed_types"]
        for kind in kinds:
            kind.get("params", {}).pop("length", None)  # of lists that happen to be of one length
        found[name] = sorted(json.dumps(kind, sort_keys=True) for kind in kinds)
    return found


def test_every_kind_of_column_is_one_of_wandbs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    import wandb

    facts = {"n": 0.5, "i": 1, "t": True, "s": "x", "ss": ["a", "b"], "ii": [1, 2], "nn": [0.5], "j": {"1": [1, "a"]}}
    with stored([question(0, **facts), question(1)], [Output("a"), Failure("f", "m")], tmp_path) as (store, run):
        ours = json.loads(written(make_table(store, run, "rules", None), write_wandb_table))
    table = wandb.Table.from_json(ours, wandb.Artifact("a", "evaluation"))
    assert table.data == ours["data"]
    table.add_data(*ours["data"][0])
    with pytest.raises(TypeError):
        table.add_data(*[{} for _ in ours["columns"]])


def test_lmms_logs_have_their_fields(cli: Command, trivia: Path, run: str) -> None:
    result = cli("export", run, "--to", "lmms", "--out", "logs")
    assert result.returncode == 0
    assert result.stderr.endswith("40 samples, 6 failed; these are left out\n")
    samples, results = sorted(Path("logs").rglob("*.json*"), key=lambda path: path.suffix == ".json")
    # The viewer finds the samples of a results file by its name and the tasks in it.
    assert results.name.endswith("_results.json")
    assert samples == results.with_name(results.name.removesuffix("_results.json") + "_samples_acme-trivia.jsonl")
    assert re.fullmatch(r"\d{8}_\d{6}_results.json", results.name)
    assert results.parent.name == "acme-parrot__last,fail=word3"
    lines, rows = read_jsonl(samples.read_bytes()), load_run(run).frame
    answered = rows[rows["failure_kind"].isna()]
    assert [line["doc_id"] for line in lines] == answered["position"].to_list()
    assert [line["resps"] for line in lines] == [[[text]] for text in answered["answer"]]
    assert [line["filtered_resps"] for line in lines] == [[text] for text in answered["parsed"]]
    assert [line["exact"] for line in lines] == answered["score_exact"].to_list()
    assert [line["target"] for line in lines] == [item[0] for item in answered["references"]]
    assert [line["input"] for line in lines] == answered["question"].to_list()
    assert lines[0]["arguments"] == ["What0 is word0", {"max_new_tokens": 4, "temperature": 0.0}]
    assert lines[0]["token_counts"] == [{"input_tokens": 8, "output_tokens": 1}]
    assert len({line["doc_hash"] for line in lines}) == len(lines)
    document = json.loads(results.read_text())
    score = document["harness"]["scores"]["exact"]
    assert document["results"] == {
        "acme-trivia": {
            "alias": "acme-trivia",
            "exact,none": score["value"],
            "exact_stderr,none": score["stderr"],
            "exact_stderr_clustered,none": score["stderr"],
        }
    }
    assert np.mean([line["exact"] for line in lines]) == score["value"]
    assert document["n-samples"] == {"acme-trivia": {"original": 40, "effective": 34}}
    assert document["higher_is_better"] == {"acme-trivia": {"exact": True}}
    assert document["versions"] == {"acme-trivia": "1"}
    assert (document["config"]["model"], document["config"]["model_args"]) == ("acme-parrot", "last,fail=word3")
    assert document["date"] == results.name[:15]


def test_lmms_logs_of_hostile_text_stay_in_their_folder(tmp_path: Path) -> None:
    from harness.export.lmms import write_lmms

    with hostile_table(HOSTILE, tmp_path / "home") as (store, run):
        with store._database.transaction() as connection:
            connection.execute("UPDATE runs SET model = ?", ("m:../../<x>\0" + "y" * 500,))
        samples, results = write_lmms(make_table(store, store.get(run.id), "rules", None), tmp_path / "logs")
    assert {path.parent.parent for path in (samples, results)} == {tmp_path / "logs"}
    answers = [text for number, text in enumerate(HOSTILE) if number % 3]
    lines = read_jsonl(samples.read_bytes())
    assert [line["resps"][0][0] for line in lines] == answers
    assert [json.loads(line["target"]) for line in lines] == [[text, text] for text in answers]
    assert json.loads(results.read_text())["results"] == {"gone": {"alias": "gone"}}


# Notebooks.


def test_scores_are_a_frame(cli: Command, run: str) -> None:
    loaded = load_run(run)
    scores = loaded.document["scores"]["exact"]
    assert list(loaded.scores.index) == [
        "acme-trivia.exact", "acme-trivia.exact.topic.art", "acme-trivia.exact.topic.sport",
    ]  # fmt: skip
    for name in ("value", "stderr", "low", "high", "n", "clusters"):
        assert loaded.scores.loc["acme-trivia.exact", name] == scores[name]
        assert loaded.scores.loc["acme-trivia.exact.topic.art", name] == scores["by"]["topic"]["art"][name]
    assert loaded.scores["key"].to_list()[1:] == ["art", "sport"]
    assert loaded.frame["score_exact"].mean() == pytest.approx(scores["value"], abs=1e-15)
    by_topic = loaded.frame.groupby("fact_topic")["score_exact"].mean()
    assert by_topic["art"] == pytest.approx(loaded.scores.loc["acme-trivia.exact.topic.art", "value"], abs=1e-15)


def test_a_run_shows_itself(cli: Command, run: str) -> None:
    loaded = load_run(run[:8])
    score = loaded.document["scores"]["exact"]
    shown = f"{score['low']:.3f} … {score['high']:.3f}"
    assert repr(loaded).splitlines() == [
        f"LoadedRun {run}: acme-parrot:last,fail=word3 on acme-trivia, protocol strict",
        "  complete, 40 samples, coverage 85%, 6 failed",
        f"  exact {score['value']:.3f} ({shown})",
    ]
    html = loaded._repr_html_()
    for text in ("acme-parrot:last,fail=word3", "acme-trivia", "coverage 85%", f"{score['value']:.3f}", shown):
        assert text in html
    # It takes the notebook's own colours, light or dark.
    assert not re.search(r"#[0-9a-f]{3}|rgb\(|white|black|background", html)


def test_what_a_run_shows_is_text(tmp_path: Path) -> None:
    name = "<img src=x onerror=alert(1)>\x1b[31m\u202e&"
    with stored([question(0)], [Output("a")], tmp_path, {name: [1.0]}) as (store, run):
        with store._database.transaction() as connection:
            connection.execute("UPDATE runs SET model = ?", (f"m:{name}",))
        store.keep_scores(
            run, "rules", Scored({name: Score(0.5, 1, 1, note=name)}, {}, {"other": name}, ()),
            {name: "digest", "other": "digest"},
        )  # fmt: skip
        loaded = load_run(run.id, home=str(tmp_path))
    html = loaded._repr_html_()
    assert "<img" not in html
    assert html.count("&lt;img src=x onerror=alert(1)&gt;\\x1b[31m\\u202e&amp;") == 5
    for text in (html, repr(loaded)):
        assert not {"\x1b", "\u202e"} & {*text}
    assert repr(loaded).count("<img src=x onerror=alert(1)>\\x1b[31m\\u202e&") == 5


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    code = (
        "import sys, harness.cli.export, harness.notebook\n"
        "print({name.partition('.')[0] for name in sys.modules} & {'pandas', 'pyarrow', 'datasets', 'wandb'})"
    )
    command = [sys.executable, "-P", "-W", "error", "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert result.stdout == "set()\n"
