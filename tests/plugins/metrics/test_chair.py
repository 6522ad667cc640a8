"""CHAIR: the words that count, the counts, and what the original gave on real captions."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests_support import ROOT

from harness import Measured, Output, Pair, Sample, UnknownName
from plugins.metrics.chair import Chair
from plugins.metrics.chair_words import Mentions, tokens

SYNONYMS = [
    ["person", "man", "woman", "people", "child", "baby", "passenger", "adult", "thief"],
    ["bicycle", "bike"],
    ["motorcycle", " motor bike", "motor cycle"],
    ["airplane", "plane", "jet"],
    ["bus", "minibus"],
    ["train"],
    ["boat", "canoe"],
    ["bird", "goose", "magpie", "ostrich"],
    ["dog", "puppy", "collie", "doggie", "hot dog stand"],
    ["sheep"],
    ["cow", "ox", "oxen", "calf", "buffalo"],
    ["elephant"],
    ["tie", "bow", "bow tie"],
    ["skis", "ski"],
    ["wine glass"],
    ["knife", "knive"],
    ["hot dog"],
    ["cell phone", "phone", "iPhone"],
    ["chair", "seat"],
    ["dining table", "table"],
    ["toilet"],
    ["stove"],
    ["mouse"],
    ["scissors"],
    ["teddy bear"],
    ["bear"],
    ["zebra"],
    ["banana"],
]
SHARED: Mapping[str, Any] = {"synonyms": SYNONYMS}


def pair(answer: str, *objects: str, shared: Mapping[str, Any] = SHARED) -> Pair:
    sample = Sample("1", (), "", (), "1", {"objects": list(objects)}, shared)
    return Pair(sample, answer, Output(answer))


def compute(pairs: Sequence[Pair], protocol: str = "official") -> Mapping[str, Measured]:
    return Chair().compute(pairs, protocol)


@pytest.mark.parametrize(
    ("caption", "objects"),
    [
        # plurals
        ("Men, women, children and people.", "person|person|person|person"),
        ("A person and persons", "person|person"),
        ("babies puppies ostriches buffaloes geese oxen mice", "person|dog|bird|cow|bird|cow|mouse"),
        ("knives calves stoves wives", "knife|cow|stove"),
        ("skis ski scissors", "skis|skis|scissors"),
        ("two sheep, bananas", "sheep|banana"),
        ("wine glasses, a wine glass, glasses", "wine glass|wine glass"),
        ("dress bandsaw busy", ""),
        # pairs of words
        ("a hot dog and a dog", "hot dog|dog"),
        ("hot dogs! Teddy bears", "hot dog|teddy bear"),
        ("a baby elephant, adult zebras, an adult", "elephant|zebra|person"),
        ("a baby, elephant", "person|elephant"),
        ("a passenger jet, a passenger train, a passenger plane", "airplane|train|person|airplane"),
        ("a train on train tracks by the train track", "train"),
        ("a bow tie and a bow", "tie|tie"),
        ("a dining table", "dining table"),
        ("a hot\ndog", "hot dog"),
        ("it is hot. dog days", "dog"),
        ("a motor cycle is no bike", "motorcycle|bicycle"),
        # no chair by a toilet
        ("a toilet seat", "toilet"),
        ("the seat of the toilet by a chair", "toilet|chair"),
        ("the seats of a toilet", "toilet"),
        ("the seat", "chair"),
        # tokens
        ("A dog.\n\nA dog. a dog", "dog|dog|dog"),
        ("the dog's bowl, the dogs' man's", "dog|dog|person"),
        ('(dog) [dog] "dog" dog; dog: dog! dog? dog... dog -- dog', "|".join(["dog"] * 10)),
        ("dog/cat dog-house hot-dog dog.cat dog_x", ""),
        ("", ""),
        ("...", ""),
    ],
)
def test_what_a_caption_mentions(caption: str, objects: str) -> None:
    expected = objects.split("|") if objects else []
    assert Mentions(SYNONYMS).find(caption) == expected
    assert Mentions(SYNONYMS, corrected=True).find(caption) == expected


@pytest.mark.parametrize(
    ("caption", "official", "corrected"),
    [
        ("a bus, a minibus and buses", ["bus"], ["bus", "bus", "bus"]),
        ("canoes, ties, magpies, collies and doggies", [], ["boat", "tie", "bird", "dog", "dog"]),
        ("a motor bike", [], ["motorcycle"]),
        ("an iPhone and phones", ["cell phone"], ["cell phone", "cell phone"]),
    ],
)
def test_slips_of_the_original(caption: str, official: list[str], corrected: list[str]) -> None:
    assert Mentions(SYNONYMS).find(caption) == official
    assert Mentions(SYNONYMS, corrected=True).find(caption) == corrected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # As NLTK 3.9.1 cuts them.
        ("A man's dog. It's 3.5 m, 1,000 kg.", "a man 's dog . it 's 3.5 m , 1,000 kg ."),
        ('He said "a dog." Then: (a cat.) Yes', "he said '' a dog . '' then : ( a cat . ) yes"),
        ("dogs' men's' they'll we've i'd", "dogs ' men 's ' they 'll we 've i 'd"),
        ("dogs,cats;birds,,cows:7:30", "dogs , cats ; birds , ,cows:7:30"),
        ("'dog' **bold** a--b .. 50%", "'dog ' * * bold * * a -- b .. 50 %"),
        ("end.)", "end . )"),
        ("x", "x"),
    ],
)
def test_tokens(text: str, expected: str) -> None:
    assert [token if token != '"' else "''" for token in tokens(text)] == expected.split()


def test_counts_by_hand() -> None:
    pairs = [
        pair("a dog, a dog and a cow", "dog", "person"),  # 1 of 3 absent; 1 of 2 found
        pair("a man on a bench", "person"),  # 0 of 1; 1 of 1
        pair("nothing", "sheep", "toilet"),  # no mention; 0 of 2
        pair("a zebra and a bear", "bear"),  # 1 of 2; 1 of 1
        pair("a sunset"),  # no mention, no object
    ]
    measured = compute(pairs)
    assert {name: item.value for name, item in measured.items()} == {
        "chair_s": 2 / 5,
        "chair_i": 2 / 6,
        "chair_recall": 3 / 6,
        "hallucination_rate": 2 / 5,
    }
    np.testing.assert_array_equal(np.asarray(measured["chair_s"].per_sample), [1, 0, 0, 1, 0])
    np.testing.assert_array_equal(np.asarray(measured["chair_i"].per_sample), [1 / 3, 0, np.nan, 1 / 2, np.nan])
    np.testing.assert_array_equal(
        np.asarray(measured["chair_recall"].statistics), [[1, 2], [1, 1], [0, 2], [1, 1], [0, 0]]
    )


def test_nothing_to_measure() -> None:
    unknown = Sample("1", (), "", (), "1", {}, SHARED)
    without_list = pair("a dog", "dog", shared={})
    for pairs in ([], [Pair(unknown, "a dog", Output("a dog"))], [without_list]):
        assert {item.value for item in compute(pairs).values()} == {None}
    measured = compute([pair("a sunset"), Pair(unknown, "a dog", Output("a dog"))])
    assert measured["chair_s"].value == 0
    np.testing.assert_array_equal(np.asarray(measured["chair_s"].per_sample), [0, np.nan])
    assert measured["chair_i"].value is None
    assert measured["chair_recall"].value is None
    assert measured["chair_i"].reduce is not None
    assert np.isnan(measured["chair_i"].reduce(np.zeros((3, 2)))).all()


def test_a_whole_megabyte() -> None:
    assert compute([pair("a dog. " * 100_000, "dog"), pair(".)" * 300_000)])["chair_s"].value == 0


def test_an_unknown_protocol() -> None:
    with pytest.raises(UnknownName, match=r"unknown protocol 'corect' \(did you mean 'corrected'"):
        compute([], "corect")


NAMES = [row[0] for row in SYNONYMS if " " not in row[0] and row[0] not in ("bus", "person", "toilet")]


@given(st.lists(st.tuples(st.lists(st.sampled_from(NAMES)), st.sets(st.sampled_from(NAMES))), min_size=1, max_size=5))
def test_the_definition(captions: list[tuple[list[str], set[str]]]) -> None:
    """Against counts by the definition, on captions whose mentions are known."""
    measured = compute([pair(", ".join(said), *sorted(there)) for said, there in captions])
    absent = [[name for name in said if name not in there] for said, there in captions]
    mentions = sum(len(said) for said, _ in captions)
    present = sum(len(there) for _, there in captions)
    found = sum(len(there & set(said)) for said, there in captions)
    assert measured["chair_s"].value == sum(map(bool, absent)) / len(captions)
    assert measured["chair_i"].value == (sum(map(len, absent)) / mentions if mentions else None)
    assert measured["chair_recall"].value == (found / present if present else None)
    for name in ("chair_i", "chair_recall"):
        item = measured[name]
        assert item.reduce is not None
        assert item.statistics is not None
        np.testing.assert_equal(item.reduce(item.statistics.sum(axis=0)), np.nan if item.value is None else item.value)


@dataclass(frozen=True)
class Reference:
    folder: Path
    objects: Mapping[str, Sequence[str]]
    synonyms: Sequence[Sequence[str]]


@pytest.fixture(scope="module")
def reference() -> Reference:
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not at {folder}")
    objects = json.loads(gzip.decompress((folder / "chair" / "image_objects.json.gz").read_bytes()))
    lines = (folder / "chair" / "synonyms.txt").read_text().splitlines()
    return Reference(folder, objects, [line.strip().split(", ") for line in lines])


@pytest.mark.parametrize(
    ("model", "official"),
    [
        ("llava-1.5_greedy", ("45.0", "12.7842", "79.79")),
        ("instructblip_beam5", ("55.6", "15.4726", "74.354")),
        ("minigpt4_ours", ("23.0", "8.7544", "60.7612")),
        ("shikra_greedy", ("55.6", "15.5116", "77.6903")),
    ],
)
def test_real_descriptions(reference: Reference, model: str, official: tuple[str, str, str]) -> None:
    shared = {"synonyms": reference.synonyms}
    rows = [json.loads(line) for line in (reference.folder / "chair" / f"{model}.jsonl").read_text().splitlines()]
    pairs = [pair(row["caption"], *reference.objects[str(row["image_id"])], shared=shared) for row in rows]
    measured = compute(pairs)
    assert measured["hallucination_rate"].value == measured["chair_s"].value
    for name, printed in zip(("chair_s", "chair_i", "chair_recall"), official, strict=True):
        digits = len(printed.partition(".")[2])
        assert f"{100 * (measured[name].value or 0):.{digits}f}" == printed, name


def test_what_real_captions_mention_is_there(reference: Reference) -> None:
    """The original put what reference captions mention among the objects: each of ours must be there."""
    mentions = Mentions(reference.synonyms)
    mentioned = 0
    content = gzip.decompress((reference.folder / "captions" / "karpathy_test_gt.json.gz").read_bytes())
    for row in json.loads(content)["annotations"]:
        found = mentions.find(row["caption"])
        mentioned += len(found)
        assert set(found) <= set(reference.objects[str(row["image_id"])]), row
    assert mentioned == 35_715
