"""Datasets in the hub's format: copies on disk, pinned revisions, pictures that are read late."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image

from harness import Benchmark, DataError, DataSource, ImageError, Sample, decode
from plugins.benchmarks.coco_captions import coco_captions
from plugins.benchmarks.gqa import Gqa
from plugins.benchmarks.nocaps import nocaps
from plugins.benchmarks.okvqa import okvqa
from plugins.benchmarks.vqav2 import vqav2

TEXT, NUMBER = datasets.Value("string"), datasets.Value("int64")
ANSWERS = [{"answer": TEXT, "answer_confidence": TEXT, "answer_id": NUMBER}]
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    yield
    datasets.enable_progress_bars()


def picture(width: int) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.new("RGB", (width, 4)).save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def table(columns: dict[str, list[Any]], **types: Any) -> datasets.Dataset:
    return datasets.Dataset.from_dict(columns, features=datasets.Features(types))


@pytest.fixture
def vqa_rows() -> datasets.Dataset:
    answers = [{"answer": f"answer {n}", "answer_confidence": "yes", "answer_id": n} for n in range(10)]
    return table(
        {
            "question_type": ["is there a"] * 3,
            "multiple_choice_answer": ["yes"] * 3,
            "answers": [answers] * 3,
            "image_id": [42, 7, 42],
            "answer_type": ["yes/no"] * 3,
            "question_id": [42001, 7000, 42000],
            "question": ["Is there a dog?", "What is it?", "How many?"],
            "image": [picture(1), picture(2), picture(3)],
        },
        question_type=TEXT,
        multiple_choice_answer=TEXT,
        answers=ANSWERS,
        image_id=NUMBER,
        answer_type=TEXT,
        question_id=NUMBER,
        question=TEXT,
        image=datasets.Image(),
    )


def read(benchmark: Benchmark, path: Path, split: str | None = None) -> list[Sample]:
    return list(benchmark.samples(DataSource(path=path, split=split)))


@pytest.mark.parametrize("layout", ["one split", "several splits", "parquet", "data/parquet", "shards"])
def test_a_copy_gives_the_samples_of_the_official_files(
    tmp_path: Path, vqa_folder: Path, vqa_rows: datasets.Dataset, layout: str
) -> None:
    copy = tmp_path / "copy"
    match layout:
        case "one split":
            vqa_rows.save_to_disk(str(copy))
        case "several splits":
            datasets.DatasetDict({"train": vqa_rows.select([1]), "validation": vqa_rows}).save_to_disk(str(copy))
        case "parquet":
            vqa_rows.to_parquet(copy / "validation.parquet")
            vqa_rows.select([0]).to_parquet(copy / "testdev.parquet")
        case "data/parquet":
            vqa_rows.to_parquet(copy / "data" / "validation-00000-of-00001-0a1b2c3d.parquet")
        case "shards":
            vqa_rows.select([0]).to_parquet(copy / "val2014-00000-of-00002.parquet")
            vqa_rows.select([1, 2]).to_parquet(copy / "val2014-00001-of-00002.parquet")
    samples = read(vqav2(), copy)
    official = read(vqav2(), vqa_folder)
    assert [sample.id for sample in samples] == [sample.id for sample in official]
    one, other = samples[0], official[0]
    assert (one.question, one.references, one.group, one.facts) == (
        other.question,
        other.references,
        other.group,
        other.facts,
    )
    assert [decode(sample.images[0]).width for sample in samples] == [1, 2, 3]


def test_a_pictures_reference_is_small_named_and_picklable(tmp_path: Path, vqa_rows: datasets.Dataset) -> None:
    vqa_rows.save_to_disk(str(tmp_path / "copy"))
    image = read(vqav2(), tmp_path / "copy")[2].images[0]
    assert image.name == f"{tmp_path / 'copy'}, row 2"
    packed = pickle.dumps(image)
    assert len(packed) < 10_000
    assert pickle.loads(packed).read() == image.read() == picture(3)["bytes"]


def test_a_row_without_its_picture(tmp_path: Path, vqa_rows: datasets.Dataset) -> None:
    cells = [None, {"bytes": None, "path": str(tmp_path / "gone.jpg")}, picture(3)]
    plain = {"bytes": datasets.Value("binary"), "path": TEXT}
    pictures = table({"image": cells}, image=plain)
    rows = datasets.concatenate_datasets([vqa_rows.remove_columns("image"), pictures], axis=1)
    rows.to_parquet(tmp_path / "copy" / "val.parquet")
    samples = read(vqav2(), tmp_path / "copy")
    for number in (0, 1):
        with pytest.raises(ImageError, match=f"copy, row {number}: no picture in this row"):
            samples[number].images[0].read()
    assert samples[2].images[0].read()


def test_the_hubs_okvqa_has_plain_answers_and_no_image_ids(tmp_path: Path) -> None:
    columns = {
        "question_id": ["2971475", "2971476"],
        "image": [picture(1), picture(2)],
        "question": ["a?", "b?"],
        "answers": [["x", "y"], ["z", "z"]],
        "question_type": ["six", "two"],
        "answer_type": ["other", "other"],
    }
    types = {"question_id": TEXT, "image": datasets.Image(), "question": TEXT, "answers": datasets.List(TEXT)}
    rows = table(columns, **types, question_type=TEXT, answer_type=TEXT)
    rows.to_parquet(tmp_path / "data" / "val2014-00000-of-00001.parquet")
    first, second = read(okvqa(), tmp_path)
    assert (first.id, first.group, first.references) == ("2971475", "297147", ("x", "y"))
    assert second.group == first.group


def test_the_hubs_gqa_keeps_pictures_in_a_config_of_their_own(tmp_path: Path, gqa_record: dict[str, Any]) -> None:
    rows = [
        {**gqa_record, "id": str(n), "imageId": f"n{n % 2}", "entailed": "['8' '9']", "equivalent": "[]"}
        for n in range(3)
    ]
    folder = tmp_path / "testdev_balanced_instructions"
    folder.mkdir()
    datasets.Dataset.from_list([{key: row[key] for key in row if key != "annotations"} for row in rows]).to_parquet(
        folder / "testdev-00000-of-00001.parquet"
    )
    with pytest.raises(DataError, match="testdev_balanced_images: no dataset here"):
        read(Gqa(), tmp_path)
    pictures = table({"id": ["n1", "n0"], "image": [picture(1), picture(2)]}, id=TEXT, image=datasets.Image())
    pictures.save_to_disk(str(tmp_path / "testdev_balanced_images"))
    samples = read(Gqa(), tmp_path)
    assert [decode(sample.images[0]).width for sample in samples] == [2, 1, 2]
    assert samples[0].facts["types"] == gqa_record["types"]
    assert samples[0].facts["entailed"] == ["8", "9"]
    assert (samples[0].facts["equivalent"], samples[0].facts["steps"]) == ([], 1)
    pictures.select([0]).save_to_disk(str(tmp_path / "few"))
    (tmp_path / "testdev_balanced_images").rename(tmp_path / "all")
    (tmp_path / "few").rename(tmp_path / "testdev_balanced_images")
    with pytest.raises(DataError, match="row 0: no picture 'n0'"):
        read(Gqa(), tmp_path)


def test_the_hubs_captions(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {
        "image": [picture(1)],
        "image_id": [3],
        "image_file_name": ["x.jpg"],
        "annotations_captions": [["A.", "B."]],
    }
    types = {"image": datasets.Image(), "image_id": NUMBER, "image_file_name": TEXT}
    table(columns, **types, annotations_captions=datasets.List(TEXT)).to_parquet(tmp_path / "n" / "validation.parquet")
    (sample,) = read(nocaps(), tmp_path / "n")
    assert (sample.id, sample.group, sample.references, sample.facts) == ("3", "3", ("A.", "B."), {})
    columns = {"question_id": ["COCO_val2014_000000203564.jpg"], "image": [picture(1)], "answer": [["A.", "B."]]}
    types = {"question_id": TEXT, "image": datasets.Image(), "answer": datasets.List(TEXT)}
    table(columns, **types).to_parquet(tmp_path / "c" / "val.parquet")
    (sample,) = read(coco_captions(), tmp_path / "c")
    assert (sample.id, sample.references) == ("203564", ("A.", "B."))


def test_a_column_with_another_name(tmp_path: Path, vqa_rows: datasets.Dataset) -> None:
    vqa_rows.rename_column("answers", "answer").to_parquet(tmp_path / "validation.parquet")
    with pytest.raises(DataError, match=r"no column 'answers' \(did you mean 'answer'\? there is: question_type, "):
        read(vqav2(), tmp_path)


def test_a_split_that_is_not_there(tmp_path: Path, vqa_rows: datasets.Dataset) -> None:
    for name in ("validation", "val_small", "test"):
        vqa_rows.to_parquet(tmp_path / f"{name}.parquet")
    for split in ("train", None):
        with pytest.raises(DataError, match=r"no split '(train|val)' \(there is: test, val_small, validation\)"):
            read(vqav2(), tmp_path, split)
    assert len(read(vqav2(), tmp_path, "test")) == 3


def test_the_training_split_is_never_taken_for_another(tmp_path: Path, vqa_rows: datasets.Dataset) -> None:
    vqa_rows.to_parquet(tmp_path / "train.parquet")
    with pytest.raises(DataError, match="no split 'val'"):
        read(vqav2(), tmp_path)


def test_a_damaged_copy(tmp_path: Path, vqa_rows: datasets.Dataset) -> None:
    vqa_rows.save_to_disk(str(tmp_path / "copy"))
    (tmp_path / "copy" / "data-00000-of-00001.arrow").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=f"{tmp_path / 'copy'}: cannot be loaded"):
        read(vqav2(), tmp_path / "copy")


@pytest.mark.parametrize("revision", [None, "main", "a6e72d6", "refs/convert/parquet"])
def test_the_hub_is_read_at_a_full_commit_only(revision: str | None) -> None:
    with pytest.raises(DataError, match=r"not a full commit .*huggingface\.co/datasets/org/set/commits/main"):
        list(vqav2().samples(DataSource(hub="org/set", revision=revision)))


def test_the_hub_is_asked_for_that_commit(monkeypatch: pytest.MonkeyPatch, vqa_rows: datasets.Dataset) -> None:
    asked: list[Any] = []

    def names(hub: str, config: str | None, revision: str) -> list[str]:
        asked.append((hub, config, revision))
        return ["validation", "test"]

    def load(hub: str, config: str | None, revision: str, split: str) -> datasets.Dataset:
        asked.append((hub, config, revision, split))
        return vqa_rows

    monkeypatch.setattr(datasets, "get_dataset_split_names", names)
    monkeypatch.setattr(datasets, "load_dataset", load)
    samples = list(vqav2().samples(DataSource(hub="org/set", revision=COMMIT, config="small")))
    assert asked == [("org/set", "small", COMMIT), ("org/set", "small", COMMIT, "validation")]
    assert samples[1].images[0].name == f"org/set@{COMMIT} [small], row 1"


def test_a_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def names(*_: Any, **__: Any) -> list[str]:
        raise ConnectionError("no network")

    monkeypatch.setattr(datasets, "get_dataset_split_names", names)
    with pytest.raises(DataError, match=f"org/set@{COMMIT}: cannot be loaded \\(no network\\)"):
        list(vqav2().samples(DataSource(hub="org/set", revision=COMMIT)))
