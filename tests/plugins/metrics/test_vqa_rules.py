"""Every rule of VQA accuracy against the scripts' rules restated word by word, and its oddities one by one."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness import Measured, Output, Pair, Sample, UnknownName
from plugins.benchmarks.vqa import told_apart
from plugins.metrics.vqa_accuracy import RULES, VqaAccuracy
from plugins.metrics.vqa_answers import (
    CONTRACTIONS,
    MARKS,
    TYPOGRAPHIC_CONTRACTIONS,
    cleaned,
    normalised,
    unchanged,
    without_punctuation,
)

MakePair = Callable[..., Pair]
Record = dict[str, Any]

NUMBERS = ["none", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]


def measure(answer: str, records: Sequence[Record], protocol: str, **shared: Any) -> Measured:
    texts = tuple(record["answer"] for record in records)
    sample = Sample("1", (), "", texts, "1", told_apart(records), shared)
    return VqaAccuracy().compute([Pair(sample, answer, Output(answer))], protocol)["accuracy"]


def value(answer: str, records: Sequence[Record], protocol: str) -> float | None:
    return measure(answer, records, protocol).value


# The rules again, one letter, word and record at a time.


def cleaned_by_hand(text: str) -> str:
    return "".join(" " if sign in "\n\t" else sign for sign in text).strip()


def punctuation_by_hand(text: str, commas: Sequence[int] = (1,)) -> str:
    decimal = [sign.isdecimal() for sign in text]
    grouped = any(
        decimal[at] and text[at + 1 : at + 1 + n] == "," * n and at + n + 1 < len(text) and decimal[at + n + 1]
        for at in range(len(text))
        for n in commas
    )
    touched = {sign for pair in pairwise(text) for sign in pair if " " in pair}
    spaced = ""
    for sign in text:
        if sign not in MARKS:
            spaced += sign
        elif not grouped and sign not in touched:
            spaced += " "
    kept, dropped = "", 0
    for at, sign in enumerate(spaced):
        if sign == "." and dropped < 32 and not spaced[at + 1 : at + 2].isdecimal():
            dropped += 1
        else:
            kept += sign
    return kept


def words_by_hand(text: str, contractions: dict[str, str] = CONTRACTIONS) -> str:
    kept = []
    for word in text.lower().split():
        number = "0" if word == "zero" else str(NUMBERS.index(word)) if word in NUMBERS else word
        if number not in ("a", "an", "the"):
            kept.append(contractions.get(number, number))
    return " ".join(kept)


def by_hand(answer: str, records: Sequence[Record], protocol: str) -> float:
    """The scripts' loops over records."""
    humans = [dict(record) for record in records]

    def everywhere(rewrite: Callable[[str], str]) -> None:
        for human in humans:
            human["answer"] = rewrite(human["answer"])

    match protocol:
        case "official":
            everywhere(cleaned_by_hand)
            answer = cleaned_by_hand(answer)
            if len({human["answer"] for human in humans}) > 1:
                everywhere(lambda text: words_by_hand(punctuation_by_hand(text)))
                answer = words_by_hand(punctuation_by_hand(answer))
        case "official-2017":
            if len({human["answer"] for human in humans}) > 1:
                everywhere(punctuation_by_hand)
            answer = words_by_hand(punctuation_by_hand(cleaned_by_hand(answer)))
        case "lmms":
            whole = range(1, 100)
            everywhere(lambda text: words_by_hand(punctuation_by_hand(cleaned_by_hand(text), whole)))
            answer = words_by_hand(punctuation_by_hand(cleaned_by_hand(answer), whole))
        case "evalai":
            humans = [{"answer": evalai_by_hand(human["answer"]), "place": n} for n, human in enumerate(humans)]
            answer = evalai_by_hand(answer)
        case "vizwiz-api":
            humans = [{"answer": human["answer"], "place": n} for n, human in enumerate(humans)]
            answer = words_by_hand(punctuation_by_hand(cleaned_by_hand(answer)), TYPOGRAPHIC_CONTRACTIONS)
    accuracies = []
    for human in humans:
        others = [other for other in humans if other != human]
        accuracies.append(min(1, float(len([other for other in others if other["answer"] == answer])) / 3))
    return sum(accuracies) / len(accuracies)


def evalai_by_hand(text: str) -> str:
    text = "".join(sign for sign in text.lower() if sign not in ",?")
    return words_by_hand(punctuation_by_hand(cleaned_by_hand(" 's".join(text.split("'s")))))


PIECES = [
    *("yes", "no", "dog", "Dog", "2", "10", "3.14", "1,000", "1,,2", "a", "an", "The", "none", "Ten", "two", "x-ray"),
    *("dont", "couldnt've", "couldn'tve", "somebody'd", "Ive", "'s", "man's", "whos", "’", "é", "٣", "\u00a0", "\x1f"),
    *(" ", " ", " ", "  ", "\t", "\n", ".", ".", "...", "." * 33, "'", ":", "$", "&", *MARKS),
]
TEXTS = st.one_of(
    st.lists(st.sampled_from(PIECES), max_size=5).map("".join),
    st.lists(st.sampled_from(PIECES), max_size=4).map(" ".join),
    st.text(st.characters(max_codepoint=127), max_size=8),
)
BESIDE = st.fixed_dictionaries(
    {"answer_confidence": st.sampled_from(["yes", "no"])}, optional={"answer_id": st.integers(1, 4)}
)


@st.composite
def questions(draw: st.DrawFn) -> tuple[str, list[Record]]:
    """An answer, and records of annotators who said it, some variant of it, or something else."""
    text = draw(TEXTS)
    variants = [text, text.upper(), f"the {text}", f" {text}.", text.replace(",", ""), text.replace(" ", "-")]
    said = st.sampled_from([*variants, text, text, draw(TEXTS)])
    humans = draw(st.lists(said, min_size=1, max_size=10))
    beside = draw(st.lists(BESIDE, min_size=len(humans), max_size=len(humans)))
    if draw(st.booleans()):
        beside = [{"answer_id": number} for number in range(len(humans))]
    return draw(said), [{"answer": human, **rest} for human, rest in zip(humans, beside, strict=True)]


@settings(max_examples=400)
@given(questions())
def test_every_rule_is_the_scripts(question: tuple[str, list[Record]]) -> None:
    answer, records = question
    for protocol in RULES:
        assert value(answer, records, protocol) == by_hand(answer, records, protocol), protocol


@given(TEXTS)
def test_what_is_plain_no_rule_rewrites(text: str) -> None:
    rewritten = {words_by_hand(punctuation_by_hand(text)), evalai_by_hand(text), cleaned_by_hand(text)}
    if unchanged(text):
        assert rewritten == {text}
    elif text.isascii() and text.isalnum():
        assert rewritten != {text}


@given(TEXTS)
def test_normalising_is_the_scripts(text: str) -> None:
    assert cleaned(text) == cleaned_by_hand(text)
    assert without_punctuation(text) == punctuation_by_hand(text)
    assert normalised(text) == words_by_hand(punctuation_by_hand(text))


@pytest.mark.parametrize(
    ("answer", "human", "right"),
    [
        # lmms-eval's two rules, and the script's, where the humans differ.
        ("1 2", "1,,2", {"official"}),
        ("12", "1,,2", {"lmms", "evalai"}),
        ("mans hat", "man's hat", set()),
        ("man 's hat", "man's hat", {"evalai"}),
        ("red blue", "red,blue", {"lmms", "official", "official-2017"}),
        ("redblue", "red,blue", {"evalai"}),
        ("what s", "what?s", {"lmms", "official", "official-2017"}),
        ("Dont", "don't", {"lmms", "official", "official-2017", "evalai"}),
        ("Dont", "don’t", {"vizwiz-api"}),
        ("the dog.", "dog", {"lmms", "official", "official-2017", "evalai", "vizwiz-api"}),
        ("dog", "the dog.", {"lmms", "official", "evalai"}),
    ],
)
def test_where_the_rules_differ(answer: str, human: str, right: set[str]) -> None:
    records = [{"answer": human, "answer_id": n} for n in range(9)] + [{"answer": "other", "answer_id": 9}]
    assert {protocol for protocol in RULES if value(answer, records, protocol) == 1} == right


def test_equal_records_are_nobodys_others() -> None:
    sure = {"answer": "yes", "answer_confidence": "yes"}
    unsure = {"answer": "yes", "answer_confidence": "maybe"}
    other = {"answer": "no", "answer_confidence": "yes"}
    # All alike: none of them has others. By record and by place, each of eight has two and seven who say so.
    assert value("yes", [sure] * 10, "official") == 0
    assert value("yes", [sure] * 10, "vizwiz-api") == value("yes", [sure] * 10, "evalai") == 1
    two_kinds = [sure] * 6 + [unsure] * 2 + [other] * 2
    assert value("yes", two_kinds, "official") == pytest.approx((6 * 2 / 3 + 2 + 2) / 10, abs=1e-12)
    assert (
        value("yes", two_kinds, "lmms")
        == value("yes", two_kinds, "official-2017")
        == value("yes", two_kinds, "official")
    )
    # Equal once rewritten is equal too.
    rewritten = [{**sure, "answer": text} for text in ("yes", "Yes", "yes.", "a yes")] + [other] * 6
    assert value("yes", rewritten, "official") == pytest.approx(6 * 1 / 10, abs=1e-12)
    assert value("yes", rewritten, "official-2017") == by_hand("yes", rewritten, "official-2017") < 0.6


def test_ids_that_two_annotators_share() -> None:
    records = [{"answer": "yes", "answer_id": number} for number in (1, 1, 2, 3)]
    assert told_apart(records) == {"alike": [0, 0, 2, 3]}
    assert value("yes", records, "official") == pytest.approx((2 / 3 + 2 / 3 + 1 + 1) / 4, abs=1e-12)


@pytest.mark.parametrize(("n", "expected"), [(1, 0), (2, 1 / 3), (3, 2 / 3), (4, 1), (12, 1)])
def test_fewer_and_more_than_ten_answers(n: int, expected: float) -> None:
    records = [{"answer": "yes", "answer_id": number} for number in range(n)]
    for protocol in RULES:
        assert value("yes", records, protocol) == pytest.approx(expected, abs=1e-12)


def test_no_answers_are_no_score() -> None:
    assert all(value("yes", [], protocol) is None for protocol in RULES)


def test_a_benchmark_says_which_rule_a_protocol_is() -> None:
    records = [{"answer": "man's hat", "answer_id": number} for number in range(10)]
    assert measure("man 's hat", records, "lmms").value == 0
    shared = {"rules": {"lmms": "evalai"}, "incomparable": {"lmms": "made up"}}
    measured = measure("man 's hat", records, "lmms", **shared)
    assert (measured.value, measured.incomparable) == (1, "made up")
    assert (measure("man 's hat", records, "official", **shared).incomparable) == ""
    with pytest.raises(UnknownName, match="unknown protocol 'evalia'"):
        measure("", records, "lmms", rules={"lmms": "evalia"})


def test_pairs_are_read_once_and_added_in_their_order(pair: MakePair) -> None:
    pairs = [pair("yes", *["yes"] * same, *["no"] * (10 - same)) for same in (3, 1, 2, 3, 3, 1, 2) * 3]
    total = 0.0
    for one in pairs:
        total += by_hand(
            "yes", [{"answer": text, "answer_id": n} for n, text in enumerate(one.sample.references)], "lmms"
        )
    assert VqaAccuracy().compute(iter(pairs), "official")["accuracy"].value == total / len(pairs)


@pytest.mark.parametrize("piece", ["a", " ", ".", "1,", " -", "'s"])
def test_a_megabyte_takes_no_longer_than_its_length(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    records = [{"answer": f"{text}{number % 2}", "answer_id": number} for number in range(4)]
    begun = time.process_time()
    for protocol in RULES:
        value(text, records, protocol)
    assert time.process_time() - begun < 10


def test_half_a_surrogate_pair_is_a_letter_like_others() -> None:
    records = [{"answer": "\ud800.", "answer_id": number} for number in range(9)] + [{"answer": "b"}]
    assert value("\ud800", records, "official") == 1
