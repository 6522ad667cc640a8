"""VQA accuracy against its definition, its oddities one by one, and what the official scripts gave."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness import Measured, Pair, UnknownName
from plugins.metrics.vqa_accuracy import VqaAccuracy, agreement
from plugins.metrics.vqa_answers import CONTRACTIONS, cleaned, normalised, without_punctuation

MakePair = Callable[..., Pair]
Load = Callable[[str], Any]


def accuracy(pairs: list[Pair], protocol: str) -> Measured:
    return VqaAccuracy().compute(pairs, protocol)["accuracy"]


@given(st.sampled_from("abc"), st.lists(st.sampled_from("abc"), min_size=1, max_size=12))
def test_agreement_is_the_mean_over_annotators_left_out(answer: str, humans: list[str]) -> None:
    left_out = [humans[:n] + humans[n + 1 :] for n in range(len(humans))]
    by_definition = [min(1.0, others.count(answer) / 3) for others in left_out]
    assert agreement(answer, humans) == pytest.approx(sum(by_definition) / len(humans), abs=1e-12)


@pytest.mark.parametrize(("same", "value"), [(0, 0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1), (10, 1)])
def test_agreement_with_some_of_ten(same: int, value: float) -> None:
    assert agreement("yes", ["yes"] * same + ["no"] * (10 - same)) == pytest.approx(value, abs=1e-12)


@pytest.mark.parametrize(
    ("answer", "humans", "official", "official_2017", "lmms"),
    [
        ("yes", ["yes"] * 10, 1, 1, 1),
        # Unanimous: nothing is rewritten, and the authors mean it.
        ("Yes", ["yes"] * 10, 0, 1, 1),
        ("yes.", ["yes"] * 10, 0, 1, 1),
        (" yes\n", ["yes\t"] * 10, 1, 0, 1),
        ("Yes", ["Yes"] * 10, 1, 0, 1),
        # Divided: both are rewritten; before 2021, the human answers lost punctuation alone.
        ("Two", ["2"] * 5 + ["two"] * 5, 1, 1, 1),
        ("two", ["two"] * 5 + ["three"] * 5, 1, 0, 1),
        ("the dog", ["a dog"] * 9 + ["cat"], 1, 0, 1),
        ("U.S.", ["u.s"] * 9 + ["usa"], 1, 1, 1),
        # Differing in white space alone is unanimity today.
        ("A dog", ["dog", "dog "] * 5, 0, 1, 1),
    ],
)
def test_what_each_protocol_rewrites(
    pair: MakePair, answer: str, humans: list[str], official: float, official_2017: float, lmms: float
) -> None:
    expected = {"official": official, "official-2017": official_2017, "lmms": lmms}
    for protocol, value in expected.items():
        assert accuracy([pair(answer, *humans)], protocol).value == pytest.approx(value), protocol


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("semi;colon", "semi colon"),
        ("semi; colon", "semi colon"),
        ("semi; colon;mark", "semi colonmark"),  # one of its kind touches a space: all of its kind go
        ("a-b/c", "a b c"),
        ("1,000-2", "10002"),  # digits grouped: every mark goes
        ("1,a-b", "1 a b"),
        ("3.14", "3.14"),
        ("p.m.", "pm"),
        ("3.", "3"),
        (".5", ".5"),
        ("it's $5 & #1: 'ok' %", "it's $5 & #1: 'ok' %"),  # not in the list
        ("." * 33, "."),  # a flag was passed as the count
    ],
)
def test_punctuation(text: str, expected: str) -> None:
    assert without_punctuation(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("None", "0"),
        ("TEN", "10"),
        ("eleven", "eleven"),
        ("A man and the an", "man and"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("couldn'tve", "couldn't've"),
        ("couldntve", "couldntve"),
        ("somebody'd", "somebodyd"),
        ("Ive", "ive"),  # the table has it with a capital only, which lower case never meets
        ("its", "its"),
        ("  spaced \t out ", "spaced out"),
        ("", ""),
    ],
)
def test_words(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_the_table_of_contractions_has_the_scripts_entries() -> None:
    # Of the script's 120, four can never be met and two change nothing.
    assert len(CONTRACTIONS) == 114
    assert CONTRACTIONS["'ows'at"] == CONTRACTIONS["'ow'sat"] == CONTRACTIONS["ow's'at"] == "'ow's'at"


def test_cleaning_touches_line_breaks_and_ends_only() -> None:
    assert cleaned("\n a\tB.\n") == "a B."


def test_breakdowns_and_missing_answers(pair: MakePair) -> None:
    pairs = [
        pair("a", *"aaaaaaaaaa", facts={"question_type": "what", "answer_type": "other"}),
        pair("b", *"aaaaaaaaaa", facts={"question_type": "how many", "answer_type": "number"}),
        pair("a"),
    ]
    measured = accuracy(pairs, "official")
    assert measured.value == 0.5
    assert measured.per_sample is not None
    np.testing.assert_array_equal(measured.per_sample, [1, 0, np.nan])
    assert measured.labels == {
        "question_type": ["what", "how many", None],
        "answer_type": ["other", "number", None],
    }
    assert accuracy([pair("a")], "lmms").value is None
    assert accuracy(pairs[2:], "lmms").labels == {}


def test_an_unknown_protocol(pair: MakePair) -> None:
    with pytest.raises(UnknownName, match=r"unknown protocol 'offical' \(did you mean 'official'"):
        accuracy([pair("a", "a")], "offical")


def pairs_of(make: MakePair, annotations: Any, answers: dict[int, str]) -> list[Pair]:
    return [
        make(
            answers[row["question_id"]],
            *(given["answer"] for given in row["answers"]),
            facts={"question_type": row["question_type"], "answer_type": row["answer_type"]},
            id=str(row["question_id"]),
        )
        for row in annotations["annotations"]
        if row["question_id"] in answers
    ]


def must_equal(measured: Measured, pairs: list[Pair], official: Any) -> None:
    """Every question's score, and every breakdown, to the script's two digits of a percent."""
    values = measured.per_sample
    assert values is not None
    assert measured.value is not None
    ours = {pair.sample.id: round(100 * value, 2) for pair, value in zip(pairs, values.tolist(), strict=True)}
    assert ours == official["evalQA"]
    published = official.get("accuracy")
    if published:
        assert round(100 * measured.value, 2) == published["overall"]
        for breakdown, name in (("question_type", "perQuestionType"), ("answer_type", "perAnswerType")):
            keys = np.array(measured.labels[breakdown])
            assert {key: round(100 * values[keys == key].mean(), 2) for key in set(keys)} == published[name]


def test_real_answers_to_okvqa(pair: MakePair, load: Load) -> None:
    answers = {row["question_id"]: row["answer"] for row in load("okvqa_val/results_pica_53.json")}
    pairs = pairs_of(pair, load("okvqa_val/mscoco_val2014_annotations.json.gz"), answers)
    must_equal(accuracy(pairs, "official"), pairs, load("okvqa_val/official_head_pica_53.json.gz"))
    assert round(100 * (accuracy(pairs, "official-2017").value or 0), 2) == 54.14


@pytest.mark.parametrize(("model", "overall"), [("vggpt2", 21.22), ("vqa_baseline", 34.39)])
def test_real_answers_to_vqa_v2(pair: MakePair, load: Load, model: str, overall: float) -> None:
    document = load(f"vqav2_smallval/{model}.json")
    answers = {int(key): " ".join(words) for key, words in document["predictions_tokens"].items()}
    pairs = pairs_of(pair, load("vqav2_smallval/v2_mscoco_val2014_annotations.json"), answers)
    for protocol in ("official", "official-2017"):
        measured = accuracy(pairs, protocol)
        must_equal(measured, pairs, {"evalQA": document["published_evalQA"]})
        assert round(100 * (measured.value or 0), 2) == overall


@pytest.mark.slow
@pytest.mark.parametrize(("protocol", "script"), [("official", "VQA"), ("official-2017", "VQA_pre2021")])
def test_as_many_answers_as_vqa_v2_has(pair: MakePair, load: Load, protocol: str, script: str) -> None:
    answers = {row["question_id"]: row["answer"] for row in load("vqa_214k/results.json.gz")}
    pairs = pairs_of(pair, load("vqa_214k/annotations.json.gz"), answers)
    must_equal(accuracy(pairs, protocol), pairs, load(f"vqa_214k/official.{script}.json.gz"))
