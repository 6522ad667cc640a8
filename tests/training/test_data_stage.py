"""The data stage, against brute force and planted copies; and what training reads of what it made."""

import io
import itertools
import json
import pickle
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from tests_support import ROOT

from harness import (
    CheckpointError,
    DataError,
    DataSource,
    FileImage,
    Generation,
    Request,
    Sample,
    Session,
    UnknownName,
    UsageError,
    decode,
    digest_directory,
    open_session,
)
from harness.cli import run as main
from training.arr_coc.alignment import Scene
from training.job import Job
from training.lessons import Draw, Draws, LearningSettings, Lesson, Picture, read_pictures
from training.microworld import build
from training.preparing.datasets import PreparedPictures, RowImage
from training.preparing.fingerprints import Fingerprint, Looks, look, take
from training.preparing.gathering import Entry, part, rows_of
from training.preparing.writer import Row, Taught, write_dataset
from training.recipe import carry_out
from training.stages.data import DataStage, run

EVERYTHING = {"train": 1.0}


def scene(seed: int, size: tuple[int, int] = (96, 72)) -> Image.Image:
    """A picture of some rectangles, unlike every other seed's."""
    random = np.random.default_rng(seed)
    pixels = np.full((size[1], size[0], 3), random.integers(0, 256, 3), np.uint8)
    for _ in range(8):
        left, top = (int(random.integers(0, side - 8)) for side in size)
        pixels[top : top + int(random.integers(8, 40)), left : left + int(random.integers(8, 50))] = random.integers(
            0, 256, 3
        )
    return Image.fromarray(pixels)


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return content.getvalue()


@dataclass(frozen=True)
class Made:
    """A benchmark over given samples: (id, picture, question, answers, group)."""

    name: str
    rows: Sequence[tuple[str, Path, str, tuple[str, ...], str]]
    data: DataSource
    profile: str = "short"

    def samples(self) -> Iterator[Sample]:
        for key, path, question, answers, group in self.rows:
            yield Sample(key, (FileImage(path),), question, answers, group)

    def request(self, sample: Sample) -> Request:
        return Request(sample.images, sample.question + "\nAnswer in a word.", Generation(4))

    def digest(self) -> str:
        return repr([row[0::2] for row in self.rows])


class World:
    """A workspace with made benchmarks."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[tuple[str, str], list[tuple[str, Path, str, tuple[str, ...], str]]] = {}
        self.session = Session(folder / "home")
        self.session.__dict__["benchmark"] = self.benchmark

    def benchmark(self, name: str, *, split: str | None = None) -> Made:
        return Made(name, self.rows[name, split or "val"], DataSource(self.folder / name, split=split or "val"))

    def add(self, name: str, split: str, picture: bytes, file: str, *lessons: tuple[str, str], group: str = "") -> Path:
        """A picture with questions and answers."""
        path = self.folder / name / split / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(picture)
        rows = self.rows.setdefault((name, split), [])
        rows.extend((f"{file}-{n}", path, asked, (said,), group or file) for n, (asked, said) in enumerate(lessons))
        return path

    def prepare(self, **given: Any) -> Path:
        """The dataset's folder."""
        return run(self.job(**given)).folder

    def job(self, **given: Any) -> Job:
        stage = {"name": "made", "splits": EVERYTHING, **given}
        return Job.of(DataStage.model_validate(stage), self.session)

    def close(self) -> None:
        self.session.database.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    for seed in range(6):
        lessons = [("What is it?", f"thing {seed}"), ("Is it red?", "no")]
        made.add("quiz", "train", encoded(scene(seed)), f"t{seed}.png", *lessons)
    for seed in range(3):
        made.add("quiz", "val", encoded(scene(100 + seed)), f"v{seed}.png", ("Is it red?", "no"), ("Why?", f"v{seed}"))
    yield made
    made.close()


def content(folder: Path, split: str = "train") -> list[dict[str, Any]]:
    """All rows, pictures encoded."""
    rows = datasets.load_from_disk(str(folder / split)).cast_column("image", datasets.Image(decode=False))
    return [dict(row) for row in rows]


def lessons(folder: Path, split: str = "train") -> Counter[tuple[str, str, tuple[str, ...]]]:
    """(sha256 of the picture, prompt, answers) of all rows."""
    return Counter(
        (row["digest"], lesson["prompt"], tuple(lesson["answers"]))
        for row in content(folder, split)
        for lesson in row["lessons"]
    )


def report(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "report.json").read_text()))


def write_lines(path: Path, *records: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


# What is read


def test_a_benchmark_is_read_as_the_harness_asks_it(world: World) -> None:
    folder = world.prepare(benchmarks=["quiz"])
    expected = Counter(
        (take(FileImage(path)).digest, f"{question}\nAnswer in a word.", answers)
        for _, path, question, answers, _ in world.rows["quiz", "train"]
    )
    assert lessons(folder) == expected
    for row in content(folder):
        assert row["image"]["bytes"] in [path.read_bytes() for _, path, *_ in world.rows["quiz", "train"]]
    assert datasets.load_from_disk(str(folder))["train"][0]["image"].size == (96, 72)


def test_files_of_both_layouts_become_the_lessons_that_they_say(world: World, tmp_path: Path) -> None:
    for seed in range(3):
        (tmp_path / "own").mkdir(exist_ok=True)
        scene(seed).save(tmp_path / "own" / f"{seed}.png")
    records = [
        {"image": "own/0.png", "prompt": "Who?", "answer": "Me"},
        {"image": "own/1.png", "prompt": "Who?", "answers": ["I", "I", "we"], "group": 7},
    ]
    turns = [("human", "<image>\nWho?"), ("gpt", "A cat."), ("human", "Why? <image>"), ("gpt", "Why not.")]
    llava = [{"image": "2.png", "conversations": [{"from": who, "value": said} for who, said in turns], "id": "x"}]
    (tmp_path / "llava.json").write_text(json.dumps(llava))
    folder = world.prepare(
        files={
            "own": {"path": str(write_lines(tmp_path / "own.jsonl", *records))},
            "llava": {"path": str(tmp_path / "llava.json"), "images": str(tmp_path / "own")},
        },
        against=[],
    )
    found = [
        (lesson["benchmark"], lesson["group"], lesson["prompt"], lesson["answers"])
        for row in content(folder)
        for lesson in row["lessons"]
    ]
    assert found == [
        ("own", "", "Who?", ["Me"]),
        ("own", "7", "Who?", ["I", "I", "we"]),
        ("llava", "", "Who?", ["A cat."]),
        ("llava", "", "Why?", ["Why not."]),
    ]


@pytest.mark.parametrize("kind", ["save_to_disk", "dict", "parquet"])
def test_a_local_table_is_read_by_its_columns(
    world: World, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    pictures = [encoded(scene(seed)) for seed in range(3)]
    table = datasets.Dataset.from_dict(
        {
            "photo": [{"bytes": picture, "path": None} for picture in pictures],
            "question": ["Who?", "Where?", "When?"],
            "answer": ["Me", "There", "Now"],
        },
        features=datasets.Features(
            {"photo": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
        ),
    )
    place = tmp_path / "table"
    if kind == "save_to_disk":
        table.save_to_disk(str(place))
    elif kind == "dict":
        datasets.DatasetDict({"train": table}).save_to_disk(str(place))
    else:
        place.mkdir()
        table.to_parquet(str(place / "train-00000-of-00001.parquet"))
    columns = {"image": "photo", "prompt": "question"}
    folder = world.prepare(tables={"mine": {"path": str(place), "columns": columns}}, against=[])
    assert [row["image"]["bytes"] for row in content(folder)] == pictures
    assert [row["lessons"][0]["answers"] for row in content(folder)] == [["Me"], ["There"], ["Now"]]
    with pytest.raises(DataError, match=r"no column 'fotos' \(did you mean 'photo'\?.* name it in `columns`"):
        world.prepare(tables={"mine": {"path": str(place), "columns": {**columns, "image": "fotos"}}}, against=[])
    if kind != "save_to_disk":
        with pytest.raises(DataError, match="dev"):
            world.prepare(tables={"mine": {"path": str(place), "split": "dev", "columns": columns}}, against=[])


def test_a_table_of_the_hub_is_read_at_its_commit(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load(*names: Any, **given: Any) -> datasets.Dataset:
        asked.append((names, given))
        if len(asked) > 1:
            raise ConnectionError("no network")
        images = [{"bytes": encoded(scene(seed)), "path": None} for seed in range(2)]
        return datasets.Dataset.from_dict({"image": images, "prompt": ["a", "b"], "answers": [["x"], ["y", "z"]]})

    monkeypatch.setattr(datasets, "load_dataset", load)
    table = {"hub": "org/name", "revision": "a" * 40, "config": "small", "split": "dev"}
    folder = world.prepare(tables={"far": table}, against=[])
    assert asked == [(("org/name", "small"), {"revision": "a" * 40, "split": "dev"})]
    assert [row["lessons"][0]["answers"] for row in content(folder)] == [["x"], ["y", "z"]]
    with pytest.raises(DataError, match=r"org/name@b+: the split 'train' cannot be loaded \(no network\)"):
        world.prepare(tables={"far": {"hub": "org/name", "revision": "b" * 40}}, against=[])


GOOD = {"image": "a.png", "prompt": "Who?", "answer": "Me"}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({**GOOD, "image": "b.png"}, r"bad.jsonl:2: picture: cannot be read; .*b.png: cannot be read \(No such file"),
        ({**GOOD, "image": "text.png"}, "bad.jsonl:2: picture: cannot be read; .*not a readable picture"),
        ({**GOOD, "answer": " "}, "bad.jsonl:2: answer: empty"),
        ({**GOOD, "prompt": ""}, "bad.jsonl:2: prompt: empty"),
        ({**GOOD, "answer": 3}, "bad.jsonl:2: answer: a int, not text"),
        ({**GOOD, "answers": []}, "bad.jsonl:2: answers: no answers"),
        ({**GOOD, "answers": ["yes", ""]}, r"bad.jsonl:2: answers\[1\]: empty"),
        ({"image": "a.png", "prompt": "Who?", "anwser": "Me"}, "answer: missing; did you mean 'anwser'"),
        ({"prompt": "Who?", "answer": "Me"}, "bad.jsonl:2: image: missing"),
        ([1], "bad.jsonl:2: record: a list"),
        ("{", "bad.jsonl:2: record: a str"),
        ({"image": "a.png", "conversations": [{"from": "human", "value": "Who?"}]}, "not turns in pairs"),
        (
            {"image": "a.png", "conversations": [{"from": who, "value": "Who?"} for who in ("human", "human")]},
            r"conversations\[1\].from: not 'gpt'",
        ),
        (
            {
                "image": "a.png",
                "conversations": [{"from": w, "value": v} for w, v in (("human", "<image>"), ("gpt", "x"))],
            },
            r"conversations\[0\].value: empty",
        ),
    ],
)
def test_a_bad_record_is_an_error_or_counted(world: World, tmp_path: Path, record: Any, said: str) -> None:
    scene(0).save(tmp_path / "a.png")
    (tmp_path / "text.png").write_text("no picture")
    path = write_lines(tmp_path / "bad.jsonl", GOOD, record, {**GOOD, "prompt": "Why?"})
    given = {"files": {"bad": {"path": str(path)}}, "against": []}
    with pytest.raises(DataError, match=said) as error:
        world.prepare(**given)
    assert "1 of 3 records are bad (`on_bad: skip`" in str(error.value)
    told = report(world.prepare(**given, on_bad="skip"))
    assert sum(told["bad"]["counts"].values()) == len(told["bad"]["examples"]) == 1
    assert told["records"] == {"bad": 2}


def test_lines_that_are_no_json_and_samples_without_a_label_are_bad(world: World, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"image": \n\n')
    with pytest.raises(DataError, match=r"bad.jsonl:1: record: not JSON"):
        world.prepare(files={"bad": {"path": str(path)}}, against=[])
    world.add("quiz", "train", encoded(scene(9)), "t9.png", ("Who?", ""))
    with pytest.raises(DataError, match=r"quiz \[train\]: sample 't9.png-0': references\[0\]: empty"):
        world.prepare(benchmarks=["quiz"])


def test_what_is_missing_as_a_whole_is_named(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.jsonl: cannot be read \(No such file"):
        world.prepare(files={"a": {"path": str(tmp_path / "none.jsonl")}}, against=[])
    (tmp_path / "list.json").write_text("{}")
    with pytest.raises(DataError, match=r"list.json: not a JSON list of records"):
        world.prepare(files={"a": {"path": str(tmp_path / "list.json")}}, against=[])
    with pytest.raises(DataError, match="nowhere: no such folder"):
        world.prepare(tables={"a": {"path": str(tmp_path / "nowhere")}}, against=[])
    with pytest.raises(DataError, match="nothing is left of 0 records: the sources hold none"):
        world.prepare(files={"a": {"path": str(write_lines(tmp_path / "empty.jsonl"))}}, against=[])
    with pytest.raises(DataError, match="nothing is left of 12 records: 12 picture smaller than min_side"):
        world.prepare(benchmarks=["quiz"], filters={"min_side": 1000})
    with pytest.raises(DataError, match="no scene of 6 fell into the split 'rest'"):
        world.prepare(benchmarks=["quiz"], splits={"train": 1, "rest": 1e-9})
    world.rows["hollow", "val"] = []
    with pytest.raises(DataError, match="the evaluation set 'hollow' is empty"):
        world.prepare(benchmarks=["quiz"], against=["hollow"])


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "nothing to prepare"),
        ({"files": {"a": {"path": "a.jsonl"}}}, r"against: name the benchmarks .* \[\] checks against none"),
        ({"benchmarks": ["a"], "files": {"a": {"path": "a.jsonl"}}}, "'a' is named twice"),
        ({"benchmarks": ["a"], "splits": {"train": 0}}, "that of 'train' is 0"),
        ({"benchmarks": ["a"], "splits": {"../train": 1}}, "no name of a split"),
        ({"tables": {"a": {"hub": "org/name"}}, "against": []}, "no full commit"),
        ({"tables": {"a": {"hub": "org/name", "path": "a"}}, "against": []}, "either `hub` and `revision`, or `path`"),
    ],
)
def test_settings_that_cannot_be_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        DataStage.model_validate({"name": "made", **given})


# What is left out


def test_filters_and_duplicates_are_as_by_brute_force(world: World, tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    records = []
    for number in range(60):
        seed = int(random.integers(0, 5))
        scene(seed, (40 + 20 * seed, 90)).save(tmp_path / f"{number}.png")
        prompt, answer = "Why?" * int(random.integers(1, 4)), "so" * int(random.integers(1, 4))
        records.append({"image": f"{number}.png", "prompt": prompt, "answer": answer})
    filters = {"min_side": 50, "max_side": 100, "max_prompt": 8, "max_answer": 4}
    path = write_lines(tmp_path / "many.jsonl", *records)
    folder = world.prepare(files={"many": {"path": str(path)}}, against=[], filters=filters)
    expected = set()
    for record in records:
        size = decode(FileImage(tmp_path / record["image"])).size
        if min(size) >= 50 and max(size) <= 100 and len(record["prompt"]) <= 8 and len(record["answer"]) <= 4:
            digest = take(FileImage(tmp_path / record["image"])).digest
            expected.add((digest, record["prompt"], (record["answer"],)))
    assert lessons(folder) == Counter(dict.fromkeys(expected, 1))
    dropped = report(folder)["dropped"]
    assert sum(dropped.values()) == 60 - len(expected)
    assert set(dropped) == {
        "picture smaller than min_side", "picture larger than max_side", "prompt longer than max_prompt",
        "answer longer than max_answer", "duplicate",
    }  # fmt: skip


def test_planted_copies_of_evaluation_pictures_are_found_by_kind_and_removed(world: World) -> None:
    original = scene(100)
    half = original.resize((48, 36), Image.Resampling.BICUBIC)
    world.add("quiz", "train", encoded(original), "bytes.png", ("Who?", "a"))
    world.add("quiz", "train", encoded(original, "BMP"), "pixels.bmp", ("Who?", "b"))
    world.add("quiz", "train", encoded(scene(101), "JPEG", quality=60), "jpeg.jpg", ("Is it red?", "c"))
    world.add("quiz", "train", encoded(half, "JPEG", quality=85), "half.jpg", ("Why?", "v0"))
    folder = world.prepare(benchmarks=["quiz"])
    kept = {answers[0] for _, _, answers in lessons(folder)}
    assert kept == {"no", *(f"thing {seed}" for seed in range(6))}
    told = report(folder)["contamination"]
    assert told["pictures"] == {"same bytes": 1, "same pixels": 1, "alike": 2}
    assert told["pictures_found_in"] == {"quiz": 4}
    assert told["lessons"]["on these pictures"] == 4
    assert told["lessons"]["the same question on the same picture"] == 2
    assert told["lessons"]["same question and answer, in few words"] == 6  # of the six that are kept
    (one,) = told["examples"]["same pixels"]
    assert one == {"training": "quiz: pixels.bmp", "evaluation": "quiz: v0.png-0", "distance": 0.0}
    everything = world.prepare(benchmarks=["quiz"], contaminated="keep")
    assert {answers[0] for _, _, answers in lessons(everything)} == {*kept, "a", "b", "c", "v0"}
    assert report(everything)["contamination"] == told
    by_pixels = world.prepare(benchmarks=["quiz"], alike=0)
    assert {answers[0] for _, _, answers in lessons(by_pixels)} == {*kept, "c", "v0"}


def test_planted_questions_are_removed_where_they_are_long_and_counted_where_not(world: World) -> None:
    long = "What is the name of the old man who stands to the left of it"
    world.add("quiz", "val", encoded(scene(200)), "v9.png", (f"{long}?", "Tom"), ("Who?", "Tom"))
    world.add("quiz", "train", encoded(scene(201)), "leak.png", (f"{long.upper()} ?!", "tom."), ("Who?", "tom"))
    world.add("quiz", "train", encoded(scene(202)), "other.png", (f"{long}?", "Bill"))
    folder = world.prepare(benchmarks=["quiz"])
    told = report(folder)["contamination"]["lessons"]
    # "Is it red?", "no" is on all six other pictures and in the evaluation set, as is "Who?", "tom".
    assert told == {"same question and answer": 1, "same question and answer, in few words": 7}
    answers = Counter(answer for _, _, (answer,) in lessons(folder))
    assert answers["tom."] == 0
    assert answers["tom"] == answers["Bill"] == 1
    assert answers["no"] == 6
    assert sum(lessons(world.prepare(benchmarks=["quiz"], long=None)).values()) == sum(answers.values()) + 1
    assert all("no" not in said for _, _, said in lessons(world.prepare(benchmarks=["quiz"], long=4)))


def test_the_instruction_of_a_task_without_questions_does_not_make_a_caption_long(world: World) -> None:
    world.rows["told", "val"] = [("c", world.add("quiz", "val", encoded(scene(300)), "c.png"), "", ("A cat.",), "c")]
    world.rows["told", "train"] = [
        ("d", world.add("quiz", "train", encoded(scene(301)), "d.png"), "", ("A cat.",), "d")
    ]
    told = report(world.prepare(benchmarks=["told"], long=3))["contamination"]["lessons"]
    assert told == {"same question and answer": 0, "same question and answer, in few words": 1}
    with pytest.raises(DataError, match="0 pictures and 1 lessons are in an evaluation set"):
        world.prepare(benchmarks=["told"], long=2)


def test_an_evaluation_picture_that_cannot_be_read_is_an_error_or_counted(world: World) -> None:
    world.add("quiz", "val", b"no picture", "broken.png", ("Who?", "x"))
    with pytest.raises(DataError, match=r"against quiz: .*broken.png: not a readable picture"):
        world.prepare(benchmarks=["quiz"])
    told = report(world.prepare(benchmarks=["quiz"], on_bad="skip"))["contamination"]["against"]
    assert told == {"quiz": {"pictures": 3, "unreadable": 1, "samples": 7}}


# Which pictures are the same


def test_looks_survive_encoding_and_size_and_tell_pictures_apart() -> None:
    pictures = [scene(seed, (200, 150)) for seed in range(30)]
    looks = [look(picture) for picture in pictures]
    for number, picture in enumerate(pictures):
        for content in (
            encoded(picture, "JPEG", quality=40),
            encoded(picture.resize((100, 75), Image.Resampling.LANCZOS), "JPEG", quality=85),
            encoded(picture.resize((300, 225), Image.Resampling.BICUBIC), "WEBP", quality=60),
        ):
            other = look(Image.open(io.BytesIO(content)).convert("RGB"))
            matches = list(Looks([other]).like(Looks(looks), 0.3))
            assert [match for _, match, _ in matches] == [number]
    assert look(Image.new("RGB", (50, 50), "red")) is None
    assert list(Looks([None]).like(Looks(looks), 0.9)) == []


@given(st.integers(0, 2**32), st.integers(0, 300), st.integers(1, 40), st.floats(0.01, 0.9))
@settings(max_examples=20, deadline=None)
def test_no_like_pair_is_missed(seed: int, many: int, few: int, alike: float) -> None:
    random = np.random.default_rng(seed)
    base = random.normal(size=(few, 768))
    # Neighbours at all distances around the threshold, in smooth and in rough directions.
    copies = base[random.integers(0, few, many)]
    rough = random.normal(size=(many, 768))
    smooth = np.repeat(random.normal(size=(many, 3)), 256, 1)
    noise = np.where(random.random((many, 1)) < 0.5, rough, smooth) * random.uniform(0, 2 * alike, (many, 1))
    one, other = (copies + noise).astype(np.float16), base.astype(np.float16)
    distances = np.sqrt(np.square(one[:, None].astype(np.float32) - other.astype(np.float32)).mean(-1))
    found = {(mine, theirs) for mine, theirs, _ in Looks(list(one)).like(Looks(list(other)), alike)}
    assert found == set(map(tuple, np.argwhere(distances <= alike).tolist()))


# Splits


def entry(number: int, scenes: set[tuple[str, str]], pixels: str) -> Entry:
    mark = Fingerprint(f"digest {number}", pixels, (1, 1), None)
    return Entry(FileImage(Path(f"{number}.png")), f"{number}", mark, [Taught("b", "g", "p", ("a",))], scenes)


SCENES = st.sets(st.tuples(st.sampled_from("ab"), st.sampled_from("0123456789")), max_size=2)


@given(st.lists(st.tuples(SCENES, st.integers(0, 12)), max_size=25), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_no_scene_and_no_picture_is_in_two_splits(made: list[tuple[set[tuple[str, str]], int]], seed: int) -> None:
    entries = [entry(number, scenes, str(pixels)) for number, (scenes, pixels) in enumerate(made)]
    rows = rows_of(entries, 0.3)
    splits = part(rows, {"train": 0.6, "validation": 0.3, "rest": 0.1}, seed)
    assert sorted(row.digest for found in splits.values() for row in found) == sorted(row.digest for row in rows)
    where = {row.digest: name for name, found in splits.items() for row in found}
    for one, other in itertools.combinations(entries, 2):
        if one.scenes & other.scenes or one.fingerprint.pixels == other.fingerprint.pixels:
            assert where[one.fingerprint.digest] == where[other.fingerprint.digest]
    assert {row.digest: row.group for row in rows_of(entries[::-1], 0.3)} == {row.digest: row.group for row in rows}
    # As a graph: a group is a connected component, no more and no less.
    groups: dict[str, set[int]] = {}
    for number, row in enumerate(rows):
        groups.setdefault(row.group, set()).add(number)
    components: list[tuple[set[Any], set[int]]] = []
    for number, one in enumerate(entries):
        keys: set[Any] = {*one.scenes, one.fingerprint.pixels}
        members = {number}
        for other in [component for component in components if component[0] & keys]:
            components.remove(other)
            keys |= other[0]
            members |= other[1]
        components.append((keys, members))
    assert sorted(map(sorted, groups.values())) == sorted(sorted(members) for _, members in components)


def test_shares_are_about_as_wished_and_more_data_moves_no_scene() -> None:
    rows = [Row(FileImage(Path("a")), str(number), f"g{number}", ()) for number in range(4000)]
    splits = part(rows, {"train": 3, "validation": 1}, 0)
    assert abs(len(splits["validation"]) / 4000 - 0.25) < 4 * (0.25 * 0.75 / 4000) ** 0.5
    few = part(rows[::7], {"train": 3, "validation": 1}, 0)
    assert set(few["train"]) <= set(splits["train"])
    assert part(rows, {"train": 3, "validation": 1}, 1) != splits


def test_copies_within_the_training_data_stay_together(world: World) -> None:
    for seed in range(6):
        world.add(
            "quiz", "train", encoded(scene(seed), "JPEG", quality=70), f"copy{seed}.jpg", ("Who?", f"copy {seed}")
        )
    folder = world.prepare(benchmarks=["quiz"], splits={"train": 0.5, "validation": 0.5}, seed=3)
    groups = [{row["group"] for row in content(folder, split)} for split in ("train", "validation")]
    assert not groups[0] & groups[1]
    assert sum(map(len, groups)) == 6
    assert {split["pictures"] for split in report(folder)["splits"].values()} <= {2, 4, 6, 8, 10}


# What is written


def test_two_runs_give_the_same_files_and_a_changed_byte_others(tmp_path: Path) -> None:
    digests = []
    for name in ("one", "two", "three"):
        made = World(tmp_path / name)
        for seed in range(5):
            picture = encoded(scene(seed), "JPEG", quality=90, comment=b"!" if name == "three" and not seed else b"?")
            made.add("quiz", "train", picture, f"{seed}.jpg", ("Who?", f"thing {seed}"))
        made.add("quiz", "val", encoded(scene(50)), "v.png", ("Who?", "me"))
        job = made.job(benchmarks=["quiz"], splits={"train": 0.5, "validation": 0.5})
        folder = run(job).folder
        digests.append((job.id, digest_directory(folder), report(folder)["digest"]))
        made.close()
    assert digests[0][1:] == digests[1][1:]
    assert not set(digests[0]) & set(digests[2])


def test_the_content_digest_does_not_depend_on_files(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = world.prepare(benchmarks=["quiz"])
    expected, told = content(whole), report(whole)
    shutil.rmtree(whole)
    monkeypatch.setattr("training.preparing.writer.SHARD", 1500)
    monkeypatch.setattr("training.preparing.writer.BATCH", 500)
    sharded = world.prepare(benchmarks=["quiz"])
    assert len(list((sharded / "train").glob("*.arrow"))) > 1
    assert content(sharded) == expected
    assert report(sharded) == told


def test_what_was_finished_is_not_made_again_and_what_was_not_is(world: World) -> None:
    job = world.job(benchmarks=["quiz"])
    left = job.folder / "dataset.part" / "train"
    left.mkdir(parents=True)
    (left / "stray").write_text("of an attempt that was killed")
    folder = run(job).folder
    assert not (folder / "train" / "stray").exists()
    shutil.rmtree(world.folder / "quiz")
    assert run(job).folder == folder


def test_a_picture_that_changes_meanwhile_is_an_error(tmp_path: Path) -> None:
    scene(0).save(tmp_path / "a.png")
    row = Row(FileImage(tmp_path / "a.png"), "0" * 64, "g", ())
    with pytest.raises(DataError, match=r"a.png: changed while it was read"):
        write_dataset(tmp_path / "out", {"train": [row]}, {})


# What training reads


def learning(**given: Any) -> LearningSettings:
    return LearningSettings.model_validate(
        {"stage": "made", "name": "made", "shares": {"quiz": 1}, "steps": 4, **given}
    )


@pytest.fixture
def published(world: World) -> World:
    world.rows["twin", "train"] = [
        (key, path, f"Twin: {question}", answers, f"twin {group}")
        for key, path, question, answers, group in world.rows["quiz", "train"][:4]
    ]
    stage = DataStage.model_validate(
        {"name": "made", "benchmarks": ["quiz", "twin"], "splits": EVERYTHING, "against": []}
    )
    made = carry_out(stage, run, world.session)
    assert str(made.version) == "made:v0"
    assert made.version.type == "dataset"
    assert made.version.metadata["report"]["splits"]["train"]["lessons"] == {"quiz": 12, "twin": 4}
    assert carry_out(stage, run, world.session).fresh is False
    return world


@pytest.mark.parametrize("shares", [{"quiz": 1}, {"twin": 1}, {"quiz": 1, "twin": 2}])
def test_a_dataset_gives_the_pictures_that_the_benchmarks_give(published: World, shares: dict[str, float]) -> None:
    scenes = {("quiz", "t2.png"): Scene(()), ("twin", "twin t0.png"): Scene(())}
    expected = read_pictures(published.session, list(shares), split="train", scenes=scenes)
    found = learning(shares=shares, dataset="made:latest").pictures(published.session, scenes)
    assert len(found) == len(expected)
    for pictures in (list(found), [found[place] for place in range(len(found))], found[:]):
        for picture, other in zip(pictures, expected, strict=True):
            assert picture.image.read() == other.image.read()
            assert picture.lessons == other.lessons
            assert picture.scene == other.scene
    assert found[-1].lessons == expected[-1].lessons
    with pytest.raises(IndexError):
        found[len(found)]


def test_lineage_and_digest_name_the_version(published: World) -> None:
    version = published.session.checkpoints.get("made", "latest")
    stage = learning(dataset="made:latest")
    assert stage.parents(published.session) == {"made:v0": version.digest}
    assert stage.data_digests(published.session) == {"made:v0 [train]": version.digest}
    assert learning().parents(published.session) == {}
    assert set(learning().data_digests(published.session)) == {"quiz"}


def test_wrong_references_shares_and_splits_are_named(published: World, tmp_path: Path) -> None:
    session = published.session

    def pictures(**given: Any) -> Any:
        return learning(**{"dataset": "made:v0", **given}).pictures(session)

    with pytest.raises(UnknownName, match=r"share of made:v0 \[train\] 'quizz' \(did you mean 'quiz'\?\)"):
        pictures(shares={"quizz": 1})
    with pytest.raises(UnknownName, match=r"split of made:v0 'trian' \(did you mean 'train'\?\)"):
        pictures(split="trian")
    with pytest.raises(UsageError, match="'made' is no reference of a dataset; write NAME:ref, such as made:latest"):
        pictures(dataset="made")
    with pytest.raises(UnknownName, match="'mad'"):
        pictures(dataset="mad:latest")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    session.checkpoints.publish(tmp_path / "model", "model")
    with pytest.raises(CheckpointError, match="model:v0 is a model, not a dataset"):
        pictures(dataset="model:latest")
    with pytest.raises(DataError, match=r"no report.json of a `data` stage in it"):
        pictures(dataset=f"model:{tmp_path / 'model'}")


def test_pictures_stay_on_disk_until_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("training.preparing.writer.BATCH", 1_000_000)
    random = np.random.default_rng(0)
    rows = []
    for number in range(20):
        image = FileImage(tmp_path / f"{number}.bmp")
        Image.fromarray(random.integers(0, 256, (300, 300, 3), np.uint8)).save(image.path)
        lesson = Taught("many" if number % 2 else "few", "", "Who?", ("me",))
        rows.append(Row(image, take(image).digest, str(number), (lesson,)))
    write_dataset(tmp_path / "out", {"train": rows}, {})
    for row in rows[1:]:
        Path(row.image.name).unlink()
    before = pa.total_allocated_bytes()
    table = datasets.load_from_disk(str(tmp_path / "out" / "train")).cast_column("image", datasets.Image(decode=False))
    pictures = PreparedPictures(table, "made", frozenset({"many"}), {})
    held = [picture.image for picture in pictures]
    assert len(held) == 10
    assert pa.total_allocated_bytes() - before < 270_000  # one picture; there are twenty
    sent = pickle.dumps(pictures[3])
    assert len(sent) < 20_000
    again = pickle.loads(sent)
    assert isinstance(again.image, RowImage)
    assert decode(again.image).size == (300, 300)
    assert again.image.read() == pictures[3].image.read() == held[3].read()
    assert take(again.image).digest == rows[7].digest
    assert len(pickle.loads(pickle.dumps(pictures))) == 10


# Draws by length


def asked(count: int, seed: int = 0) -> list[Picture]:
    random = np.random.default_rng(seed)
    image = FileImage(Path("none.png"))
    return [
        Picture(
            image,
            tuple(Lesson("quiz", f"{n}/{m} " + "x" * int(random.integers(1, 200)), ("a", "bb")) for m in range(3)),
        )
        for n in range(count)
    ]


def draws(pictures: Sequence[Picture], **given: Any) -> Draws:
    return Draws(
        pictures, **{"shares": {"quiz": 1.0}, "prompts": 1, "image_drop": 0.2, "length": 10**6, "seed": 5, **given}
    )


def number(draw: Draw) -> int:
    return int(draw.prompts[0].partition("/")[0])


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 5), st.integers(1, 2))
@settings(max_examples=40, deadline=None)
def test_every_picture_comes_once_an_epoch_however_draws_are_grouped(
    n: int, step: int, steps: int, prompts: int
) -> None:
    pictures = asked(n)
    grouped, plain = (draws(pictures, step=step, group_by_length=g, prompts=prompts) for g in (steps, 0))
    for epoch in range(3):
        places = range(epoch * n, (epoch + 1) * n)
        assert sorted(number(grouped[place]) for place in places) == list(range(n))
        # Grouping changes the order alone, and that only within its steps.
        key = repr
        assert sorted(map(key, (grouped[p] for p in places))) == sorted(map(key, (plain[p] for p in places)))
        for first in range(0, 3 * n, step * steps):
            some = [p for p in places if first <= p < first + step * steps]
            assert sorted(map(key, (grouped[p] for p in some))) == sorted(map(key, (plain[p] for p in some)))


def test_what_is_drawn_at_a_place_depends_on_nothing_else() -> None:
    pictures = asked(37)
    once = draws(pictures, step=4, group_by_length=3)
    in_order = [once[place] for place in range(111)]
    shuffled = np.random.default_rng(1).permutation(111)
    again = pickle.loads(pickle.dumps(draws(pictures, step=4, group_by_length=3)))
    assert all(again[int(place)] == in_order[int(place)] for place in shuffled)
    assert [draws(pictures, step=4, group_by_length=3, seed=6)[place] for place in range(111)] != in_order


def test_grouping_by_length_leaves_less_padding_in_steps_and_in_each_devices_batch() -> None:
    pictures = asked(640)

    def padding(batch: int, **given: Any) -> float:
        drawn = draws(pictures, step=16, **given)
        lengths = np.array([len(drawn[place].prompts[0]) for place in range(1280)]).reshape(-1, batch)
        return float(1 - lengths.sum() / (lengths.max(1) * batch).sum())

    for batch in (16, 4):
        assert padding(batch, group_by_length=20) < padding(batch) / 4
    drawn = draws(pictures, step=16, group_by_length=20)
    means = [np.mean([len(drawn[s * 16 + n].prompts[0]) for n in range(16)]) for s in range(20)]
    assert abs(np.corrcoef(means, range(20))[0, 1]) < 0.6  # steps are not sorted


def test_a_global_batch_is_the_same_on_any_number_of_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = asked(50)
    alone = learning(batch=8, group_by_length=2).draws(pictures)
    monkeypatch.setattr("training.lessons.WORLD", 2)
    together = learning(batch=2, accumulate=2, group_by_length=2).draws(pictures)
    assert len(alone) == len(together) == 32
    assert [alone[place] for place in range(32)] == [together[place] for place in range(32)]


def test_draws_that_are_not_grouped_are_as_they_were() -> None:
    pictures = asked(9)
    drawn = draws(pictures, prompts=2)
    for place in range(30):
        epoch, index = divmod(place, 9)
        picture = pictures[int(np.random.default_rng((5, epoch)).permutation(9)[index])]
        random = np.random.default_rng((5, epoch, index))
        chosen = [picture.lessons[int(i)] for i in random.choice(3, 2, replace=False, p=np.full(3, 1 / 3))]
        answers = tuple(lesson.answers[int(random.integers(2))] for lesson in chosen)
        seen = tuple(bool(chance >= 0.2) for chance in random.random(2))
        assert drawn[place] == Draw(picture, tuple(lesson.prompt for lesson in chosen), answers, seen)


def test_a_sample_with_two_pictures_is_named(world: World) -> None:
    two = replace(world.benchmark("quiz", split="train"))
    samples = [Sample("s", tuple(FileImage(Path(n)) for n in "ab"), "Who?", ("me",), "g")]
    object.__setattr__(two, "samples", lambda: iter(samples))
    world.session.__dict__["benchmark"] = lambda name, split=None: two
    with pytest.raises(DataError, match="sample 's' has 2 pictures; one is learnt from"):
        read_pictures(world.session, ["quiz"], split="train")


@pytest.mark.slow
def test_from_the_microworld_through_a_dataset_to_a_trained_model(workspace: Path) -> None:
    build(workspace / "data" / "microworld", images=60, evaluation_images=10)
    shutil.copy(ROOT / "benchmarks.yaml", workspace)
    questions = json.loads((workspace / "data/microworld/gqa/testdev_balanced_questions.json").read_text())
    leaked = [
        {"image": f"{one['imageId']}.jpg", "prompt": one["question"], "answer": one["answer"]}
        for one in questions.values()
    ]
    write_lines(workspace / "own.jsonl", *leaked, {"image": "1.jpg", "prompt": "What is new?", "answer": "this"})
    (workspace / "data.yaml").write_text(
        "stage: data\nname: world\nbenchmarks: [gqa, vqav2, coco_captions]\nsplits: {train: 0.8, validation: 0.2}\n"
        "files:\n  own: {path: own.jsonl, images: data/microworld/gqa/images}\n"
    )
    (workspace / "arr.yaml").write_text(
        "stage: arr_coc\nname: arr\nsteps: 3\nbatch: 2\nprompts: 2\nsave: {every: 3}\ngroup_by_length: 2\n"
        "dataset: world:latest\nshares: {gqa: 2, vqav2: 1, own: 1}\n"
        "alignment: {benchmark: gqa, scenes: train_sceneGraphs.json, first: 1}\n"
    )
    (workspace / "sft.yaml").write_text(
        "stage: sft\nname: tuned\nstart: arr:latest\nsteps: 2\nbatch: 2\nsplit: validation\n"
        "dataset: world:latest\nshares: {gqa: 1}\n"
    )
    assert main(["train", "data.yaml", "arr.yaml", "sft.yaml"]) == 0
    with open_session() as session:
        world, arr, tuned = (session.checkpoints.get(name, "latest") for name in ("world", "arr", "tuned"))
        assert arr.parents == (world.digest,)
        assert set(tuned.parents) == {arr.digest, world.digest}
        told = world.metadata["report"]
        pictures = {one["imageId"] for one in questions.values()}
        assert told["contamination"]["pictures"] == {"same bytes": len(pictures), "same pixels": 0, "alike": 0}
        assert sum(split["lessons"].get("own", 0) for split in told["splits"].values()) == 1
        direct = read_pictures(session, ["gqa", "vqav2", "coco_captions"], split="train")
        assert sum(split["pictures"] for split in told["splits"].values()) == len(direct)
    assert main(["train", "data.yaml", "sft.yaml"]) == 0
