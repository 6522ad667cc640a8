"""CIDEr, BLEU, ROUGE-L and METEOR against pycocoevalcap: on real captions, on random words, and by definition."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pycocoevalcap.bleu.bleu_scorer import BleuScorer
from pycocoevalcap.cider.cider_scorer import CiderScorer, cook_refs
from pycocoevalcap.rouge.rouge import Rouge

from harness import ConfigError, DataError, HarnessError, Measured, Metric, MissingExtra, Pair
from plugins.metrics import bleu, captions, cider, meteor, ngrams, rouge
from plugins.metrics.captions import Bleu, Cider, CiderD, CiderPlain, RougeL
from plugins.metrics.meteor import Meteor
from plugins.metrics.ngrams import ORDERS, Captions

MakePair = Callable[..., Pair]
Load = Callable[[str], Any]
Group = tuple[str, ...]

SETS = {
    "fake1000": ("captions_val2014.json.gz", "fake1000_results.json"),
    "karpathy_magic_result": ("karpathy_test_gt.json.gz", "karpathy_test_results_magic.json"),
    "val2014": ("val2014_4refs_gt.json.gz", "val2014_results_fifth_human.json.gz"),
}
CLOSE = {"rtol": 0, "atol": 1e-12}


def real_pairs(make: MakePair, load: Load, name: str, count: int | None = None) -> list[Pair]:
    """The set's pictures, in the order of the results."""
    truth, results = (load(f"captions/{file}") for file in SETS[name])
    references: dict[int, list[str]] = {}
    for row in truth["annotations"]:
        references.setdefault(row["image_id"], []).append(row["caption"])
    return [make(row["caption"], *references[row["image_id"]], id=str(row["image_id"])) for row in results[:count]]


def compute(metrics: Sequence[Metric], pairs: list[Pair]) -> Mapping[str, Measured]:
    return {name: item for metric in metrics for name, item in metric.compute(pairs, "official").items()}


def must_equal(measured: Mapping[str, Measured], official: Any) -> None:
    """Values and every picture's own, and the value again from summed statistics."""
    for name, item in measured.items():
        kind, _, order = name.partition("_")
        value, per_image = official["scores"][kind], official["per_image"][kind]
        if kind == "bleu":
            value, per_image = value[int(order) - 1], per_image[int(order) - 1]
        assert item.value == pytest.approx(value, abs=1e-12), name
        np.testing.assert_allclose(np.asarray(item.per_sample), per_image, **CLOSE, err_msg=name)
        if item.reduce is not None:
            assert item.statistics is not None
            assert item.reduce(item.statistics.sum(axis=0)) == pytest.approx(value, abs=1e-12), name
            np.testing.assert_allclose(item.reduce(item.statistics), per_image, **CLOSE, err_msg=name)


@pytest.mark.parametrize("name", ["fake1000", "karpathy_magic_result", pytest.param("val2014", marks=pytest.mark.slow)])
def test_real_captions(pair: MakePair, load: Load, name: str, capfd: pytest.CaptureFixture[str]) -> None:
    measured = compute([Cider(), CiderD(), Bleu(), RougeL()], real_pairs(pair, load, name))
    assert list(measured) == ["cider", "cider_d", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"]
    must_equal(measured, load(f"captions/official_{name}.per_image.json.gz"))
    assert capfd.readouterr() == ("", "")


# Few words, so that n-grams repeat; also none at all between two spaces, and one that white space within would split.
random_captions = st.lists(st.sampled_from(["a", "b", "c", "1\xa01/2", ""]), max_size=9).map(" ".join)
long_captions = st.integers(58, 70).flatmap(
    lambda count: st.lists(st.sampled_from("abcd"), min_size=count, max_size=count).map(" ".join)
)
random_groups = st.lists(
    st.lists(random_captions | random_captions | random_captions | long_captions, min_size=2, max_size=4).map(tuple),
    min_size=1,
    max_size=5,
)


def official_cider(groups: Sequence[Group], corpus: Sequence[Group] = ()) -> list[float]:
    """pycocoevalcap's CIDEr; its document frequencies and number of pictures perhaps those of another corpus."""

    class Counted(list[Any]):
        def __len__(self) -> int:
            return len(corpus) or super().__len__()

    scorer, counter = CiderScorer(), CiderScorer()
    for answer, *references in groups:
        scorer += (answer, references)
    counter.crefs = [cook_refs(group) for group in corpus or (references for _, *references in groups)]
    counter.compute_doc_freq()
    scorer.document_frequency = counter.document_frequency
    scorer.crefs = Counted(scorer.crefs)
    scores: list[float] = scorer.compute_cider()
    return scores


@settings(max_examples=100, deadline=None)
@given(random_groups)
@example([("a b", "a b", "a b")])
@example([("", ""), ("", "", "a")])
@example([("a b c a", "a b c a"), ("a b c a", "a b c a")])
def test_random_words(groups: list[Group]) -> None:
    found = Captions(groups)
    np.testing.assert_allclose(cider.cider_d(found), official_cider(groups), **CLOSE)
    expected = [Rouge().calc_score([answer], references) for answer, *references in groups]
    np.testing.assert_array_equal(rouge.rouge_l(found), expected)
    scorer = BleuScorer(n=4)
    for answer, *references in groups:
        scorer += (answer, references)
    values, per_picture = scorer.compute_score(option="closest")
    statistics = bleu.statistics(found)
    for order in ORDERS:
        assert bleu.corpus_bleu(order, statistics.sum(axis=0)) == pytest.approx(values[order - 1], abs=1e-12)
        np.testing.assert_allclose(bleu.corpus_bleu(order, statistics), per_picture[order - 1], **CLOSE)


@settings(max_examples=25, deadline=None)
@given(random_groups, random_groups)
def test_document_frequencies_of_a_corpus(groups: list[Group], corpus: list[Group]) -> None:
    np.testing.assert_allclose(cider.cider_d(Captions(groups, corpus)), official_cider(groups, corpus), **CLOSE)
    for at, group in enumerate(groups):  # so that a part of the pictures has the scores that the whole gives it
        alone = cider.cider_d(Captions([group], corpus))
        np.testing.assert_allclose(alone, official_cider(groups, corpus)[at : at + 1], **CLOSE)


def paper_cider(groups: Sequence[Group], corpus: Sequence[Group]) -> list[float]:
    """CIDEr as its paper defines it (Vedantam et al., 2015, section 3), times 10."""

    def grams(text: str, order: int) -> Counter[Group]:
        words = text.split()
        return Counter(tuple(words[at : at + order]) for at in range(len(words) - order + 1))

    def vector(text: str, order: int) -> dict[Group, float]:
        weights = {}
        for gram, count in grams(text, order).items():
            having = sum(any(gram in grams(other, order) for other in picture) for picture in corpus)
            weights[gram] = count * np.log(len(corpus) / max(1, having))
        return weights

    def cosine(ours: Mapping[Group, float], theirs: Mapping[Group, float]) -> float:
        lengths = np.linalg.norm([*ours.values()]) * np.linalg.norm([*theirs.values()])
        dot = sum(weight * theirs.get(gram, 0.0) for gram, weight in ours.items())
        return float(dot / lengths) if lengths else 0.0

    return [
        10 * float(np.mean([cosine(vector(answer, n), vector(other, n)) for n in ORDERS for other in references]))
        for answer, *references in groups
    ]


@settings(max_examples=15, deadline=None)
@given(random_groups, random_groups)
def test_plain_cider_is_the_papers(groups: list[Group], corpus: list[Group]) -> None:
    own = [group[1:] for group in groups]
    np.testing.assert_allclose(cider.cider(Captions(groups)), paper_cider(groups, own), rtol=0, atol=1e-9)
    np.testing.assert_allclose(cider.cider(Captions(groups, corpus)), paper_cider(groups, corpus), rtol=0, atol=1e-9)
    np.testing.assert_allclose(cider.cider(Captions(groups)), cider.cider(Captions(groups, own)), rtol=0, atol=0)


def everything(groups: Sequence[Group]) -> tuple[bytes, ...]:
    found = Captions(groups, corpus=groups)
    results = cider.cider(found), cider.cider_d(found), bleu.statistics(found), rouge.rouge_l(found)
    return tuple(result.tobytes() for result in results)


@settings(max_examples=25, deadline=None)
@given(random_groups)
def test_the_same_bytes_however_the_work_is_cut(groups: list[Group]) -> None:
    expected = everything(groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ngrams, "KEY_BITS", 8)
        patch.setattr(ngrams, "PART", 2)
        patch.setattr(rouge, "PART", 3)
        assert everything(groups) == expected
        patch.setattr(rouge, "BITS", 3)
        assert everything(groups) == expected


def test_a_megabyte_of_answer() -> None:
    groups = [("a b " * 250_000, "b a b", "c"), ("d", "d")]
    found = Captions(groups)
    assert bleu.statistics(found).tolist()[0] == [3, 2, 1, 0, 500_000, 499_999, 499_998, 499_997, 500_000, 3]
    assert rouge.rouge_l(found)[0] == pytest.approx(2.44 * 3 / (500_001 + 1.44 * 3), rel=1e-12)
    np.testing.assert_allclose(cider.cider_d(found), [0, 2.5], rtol=0, atol=1e-12)


def test_text_that_cannot_be_encoded_is_still_scored(pair: MakePair) -> None:
    pairs = [pair("a \ud800 dog ||| runs", "a dog runs"), pair("é ☃ 日本 😀", "a cat sits")]
    for name, item in compute([Cider(), Bleu(), RougeL()], pairs).items():
        assert item.per_sample is not None
        assert item.per_sample[0] > item.per_sample[1] >= 0, name


def test_captions_are_tokenised_once_for_all_metrics(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Sequence[str]] = []
    tokenise = captions.tokenised
    monkeypatch.setattr(captions, "tokenised", lambda texts: calls.append(texts) or tokenise(texts))
    pairs = [pair("a zebra", "one zebra"), pair("two", "two gnus", "gnus")]
    compute([Cider(), CiderD(), CiderPlain(), Bleu(), RougeL()], pairs)
    assert [call for call in calls if call] == [("one zebra", "two gnus", "gnus"), ("a zebra", "two")]


def test_domains_are_a_breakdown(pair: MakePair) -> None:
    pairs = [pair("a dog", "a dog", facts={"domain": "in-domain"}), pair("a cat", "a cat", facts={})]
    for item in compute([Cider(), Bleu(), RougeL()], pairs).values():
        assert item.labels == {"domain": ["in-domain", None]}
    assert compute([Cider()], pairs[1:])["cider"].labels == {}


def test_of_nothing_there_is_no_score() -> None:
    assert {item.value for item in compute([Cider(), CiderPlain(), Bleu(), RougeL(), Meteor()], []).values()} == {None}


def test_an_answer_without_references_cannot_be_scored(pair: MakePair) -> None:
    with pytest.raises(DataError, match="sample '7' has no reference caption"):
        RougeL().compute([pair("a dog", "a dog"), pair("a cat", id="7")], "official")


def test_only_cider_depends_on_the_whole_set_and_only_meteor_needs_java() -> None:
    metrics = (Cider(), CiderD(), CiderPlain(), Bleu(), RougeL(), Meteor())
    infos = {name: info for metric in metrics for name, info in metric.info.items()}
    assert [name for name, info in infos.items() if info.corpus] == ["cider", "cider_d", "cider_plain"]
    assert {name: info.needs for name, info in infos.items() if info.needs} == {"meteor": ("java",)}
    assert all(info.higher_is_better for info in infos.values())


def test_without_java(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    pairs = [pair("an okapi", "an okapi"), pair("a tapir", "one tapir")]
    assert all(item.value for item in compute([Cider(), Bleu(), RougeL()], pairs).values())
    with pytest.raises(MissingExtra, match="need Java 8 or newer"):
        Meteor().compute(pairs, "official")


def write_corpus(path: Path, document: Any) -> str:
    content = json.dumps(document).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return str(path)


@pytest.mark.parametrize("name", ["corpus.json", "corpus.json.gz"])
def test_document_frequencies_of_a_saved_corpus(pair: MakePair, tmp_path: Path, name: str) -> None:
    rows = [(1, "A dog runs."), ("x", "A cat!"), (2, "The dog, and a cat"), (1, "One dog runs")]
    records = [{"id": n, "image_id": id_, "caption": text} for n, (id_, text) in enumerate(rows)]
    path = write_corpus(tmp_path / name, {"info": {}, "annotations": records})
    corpus = [("a dog runs", "one dog runs"), ("a cat",), ("the dog and a cat",)]
    groups = [("the dog runs", "a dog runs"), ("one cat", "a cat", "the cat")]
    pairs = [pair(f"{answer.title()}.", *references) for answer, *references in groups]
    for metric, oracle in ((Cider, official_cider), (CiderD, official_cider), (CiderPlain, paper_cider)):
        with_corpus = metric(corpus=path)
        [(score, measured)] = with_corpus.compute(pairs, "official").items()
        expected = oracle(groups, corpus)
        np.testing.assert_allclose(np.asarray(measured.per_sample), expected, **CLOSE)
        assert measured.value == pytest.approx(np.mean(expected), abs=1e-12)
        assert not with_corpus.info[score].corpus
        assert measured.incomparable.endswith(f"come from {path} too")
        part = with_corpus.compute(pairs[1:], "official")[score]
        np.testing.assert_allclose(np.asarray(part.per_sample), expected[1:], **CLOSE)


def test_another_content_of_the_corpus_makes_another_fingerprint(tmp_path: Path) -> None:
    fingerprints = {Cider().fingerprint}
    for caption in ("a dog", "a cat", "a dog"):
        path = write_corpus(tmp_path / "corpus.json", {"annotations": [{"image_id": 1, "caption": caption}]})
        fingerprints.add(Cider(corpus=path).fingerprint)
    assert len(fingerprints) == 3


BAD_CORPORA = {
    "list.json": ([{"image_id": 1, "caption": "a"}], "list.json: expected `object`, got `array`"),
    "typo.json": ({"annotation": []}, "no field 'annotations' (did you mean 'annotation'?)"),
    "field.json": (
        {"annotations": [{"image_id": 1, "captions": "a"}]},
        "annotations[0]: no field 'caption' (did you mean 'captions'?)",
    ),
    "number.json": ({"annotations": [{"image_id": 1, "caption": 5}]}, "annotations[0].caption: expected `str`"),
    "none.json": ({"annotations": []}, "no captions in it"),
}


@pytest.mark.parametrize("name", BAD_CORPORA)
def test_a_corpus_of_another_layout(tmp_path: Path, name: str) -> None:
    document, message = BAD_CORPORA[name]
    with pytest.raises(DataError) as error:
        Cider(corpus=write_corpus(tmp_path / name, document))
    assert str(error.value).startswith(str(tmp_path / name))
    assert message in str(error.value)
    assert str(error.value).endswith("such as captions_val2014.json")


def test_a_corpus_that_is_no_json(tmp_path: Path) -> None:
    (tmp_path / "broken.json").write_text('{"annotations": [\n{]')
    with pytest.raises(DataError, match=r"broken\.json:2:2: not JSON"):
        Cider(corpus=str(tmp_path / "broken.json"))
    (tmp_path / "cut.json.gz").write_bytes(gzip.compress(b"{}")[:-4])
    with pytest.raises(DataError, match=r"cut\.json\.gz: truncated"):
        Cider(corpus=str(tmp_path / "cut.json.gz"))


def test_a_corpus_that_is_no_captions_file(tmp_path: Path) -> None:
    (tmp_path / "coco-val-df.p").write_bytes(b"cos\nsystem\n(S'touch /nowhere/ran'\ntR.")
    with pytest.raises(
        ConfigError, match=r"coco-val-df\.p: a pickle can run code .*captions annotation file in COCO's"
    ):
        Cider(corpus=str(tmp_path / "coco-val-df.p"))
    with pytest.raises(ConfigError, match=r"nowhere\.json: no such file; .*captions annotation file in COCO's"):
        CiderPlain(corpus=str(tmp_path / "nowhere.json"))
    with pytest.raises(ConfigError, match=r"5 is no path; .*captions annotation file in COCO's"):
        CiderD(corpus=5)  # type: ignore[arg-type]


@pytest.mark.usefixtures("java")
class TestMeteor:
    @pytest.mark.slow
    @pytest.mark.parametrize("name", SETS)
    def test_whole_sets_of_real_captions(self, pair: MakePair, load: Load, name: str) -> None:
        measured = compute([Meteor()], real_pairs(pair, load, name))
        must_equal(measured, load(f"captions/official_{name}.per_image.json.gz"))

    def test_some_real_captions(self, pair: MakePair, load: Load, capfd: pytest.CaptureFixture[str]) -> None:
        pairs = real_pairs(pair, load, "fake1000", 20)
        pairs.append(pair("A dog, running.", "A dog running", "a cat"))  # matched throughout
        pairs.append(pair("", "a cat"))
        pairs.append(pair("é \ud800 ||| 日本", "☃"))
        measured = compute([Meteor()], pairs)["meteor"]
        official = load("captions/official_fake1000.per_image.json.gz")["per_image"]["meteor"][:20]
        assert measured.per_sample is not None
        assert measured.statistics is not None
        assert measured.reduce is not None
        np.testing.assert_allclose(measured.per_sample, [*official, 1.0, 0.0, 0.0], **CLOSE)
        np.testing.assert_allclose(measured.reduce(measured.statistics), measured.per_sample, **CLOSE)
        assert measured.reduce(measured.statistics.sum(axis=0)) == pytest.approx(measured.value, abs=1e-12)
        assert capfd.readouterr() == ("", "")

    @pytest.mark.parametrize("dead_at_once", [False, True])
    def test_a_program_that_fails(
        self, pair: MakePair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dead_at_once: bool
    ) -> None:
        start = subprocess.Popen

        def start_and_wait(*args: Any, **options: Any) -> Any:
            program = start(*args, **options)
            program.wait()
            return program

        if dead_at_once:
            monkeypatch.setattr(meteor.subprocess, "Popen", start_and_wait)
        monkeypatch.setattr(meteor, "JAR", tmp_path / "no-meteor.jar")
        with pytest.raises(HarnessError, match=r"no-meteor\.jar: ended early.* it was given the answer to '1', "):
            Meteor().compute([pair("an ibex", "an ibex")], "official")


def test_meteors_formula() -> None:
    """The program's counts of two answers, and the scores that it made of them."""
    counts = """
        13 9 6 4 0 0 2 2 0 0 0 0 0 0 0 0 1 1 0 0 2 3 3
        11 10 7 4 1 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 2 2 2
    """
    statistics = np.array([line.split() for line in counts.strip().splitlines()], np.float64)
    np.testing.assert_allclose(meteor.corpus_meteor(statistics), [0.08403930504067629, 0.07424593967517401], rtol=1e-14)
    assert meteor.corpus_meteor(np.zeros(23)) == 0
