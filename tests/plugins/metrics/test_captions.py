"""CIDEr, BLEU, ROUGE-L and METEOR against what pycocoevalcap gave on real captions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from harness import HarnessError, Measured, Metric, MissingExtra, Pair
from plugins.metrics import meteor, ptb
from plugins.metrics.captions import Bleu, Cider, RougeL
from plugins.metrics.meteor import Meteor

MakePair = Callable[..., Pair]
Load = Callable[[str], Any]

pytestmark = pytest.mark.usefixtures("java")
SETS = {
    "fake1000": ("captions_val2014.json.gz", "fake1000_results.json"),
    "karpathy_magic_result": ("karpathy_test_gt.json.gz", "karpathy_test_results_magic.json"),
    "val2014": ("val2014_4refs_gt.json.gz", "val2014_results_fifth_human.json.gz"),
}


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
        np.testing.assert_allclose(np.asarray(item.per_sample), per_image, rtol=0, atol=1e-12, err_msg=name)
        if item.reduce is not None:
            assert item.statistics is not None
            assert item.reduce(item.statistics.sum(axis=0)) == pytest.approx(value, abs=1e-12), name
            np.testing.assert_allclose(item.reduce(item.statistics), per_image, rtol=0, atol=1e-12, err_msg=name)


def test_real_captions(pair: MakePair, load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    measured = compute([Cider(), Bleu(), RougeL()], real_pairs(pair, load, "fake1000"))
    assert list(measured) == ["cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4", "rouge_l"]
    must_equal(measured, load("captions/official_fake1000.per_image.json.gz"))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("name", SETS)
def test_whole_sets_of_real_captions(pair: MakePair, load: Load, name: str) -> None:
    measured = compute([Cider(), Bleu(), RougeL(), Meteor()], real_pairs(pair, load, name))
    must_equal(measured, load(f"captions/official_{name}.per_image.json.gz"))


def test_meteor_of_some_real_captions(pair: MakePair, load: Load, capfd: pytest.CaptureFixture[str]) -> None:
    pairs = real_pairs(pair, load, "fake1000", 20)
    pairs.append(pair("A dog, running.", "A dog running", "a cat"))  # matched throughout
    pairs.append(pair("", "a cat"))
    pairs.append(pair("é \ud800 ||| 日本", "☃"))
    measured = compute([Meteor()], pairs)["meteor"]
    official = load("captions/official_fake1000.per_image.json.gz")["per_image"]["meteor"][:20]
    assert measured.per_sample is not None
    assert measured.statistics is not None
    assert measured.reduce is not None
    np.testing.assert_allclose(measured.per_sample, [*official, 1.0, 0.0, 0.0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(measured.reduce(measured.statistics), measured.per_sample, rtol=0, atol=1e-12)
    assert measured.reduce(measured.statistics.sum(axis=0)) == pytest.approx(measured.value, abs=1e-12)
    assert capfd.readouterr() == ("", "")


def test_meteors_formula() -> None:
    """The program's counts of two answers, and the scores that it made of them."""
    counts = """
        13 9 6 4 0 0 2 2 0 0 0 0 0 0 0 0 1 1 0 0 2 3 3
        11 10 7 4 1 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 2 2 2
    """
    statistics = np.array([line.split() for line in counts.strip().splitlines()], np.float64)
    np.testing.assert_allclose(meteor.corpus_meteor(statistics), [0.08403930504067629, 0.07424593967517401], rtol=1e-14)
    assert meteor.corpus_meteor(np.zeros(23)) == 0


def test_tokens_of_real_captions(pair: MakePair, load: Load) -> None:
    pairs = real_pairs(pair, load, "fake1000", 200)
    official = load("captions/official_fake1000.ptb_tokens.json.gz")
    expected = [official["res"][pair.sample.id][0] for pair in pairs]
    assert list(ptb.tokenised(tuple(pair.answer for pair in pairs))) == expected


def test_line_breaks_and_empty_captions_keep_their_place() -> None:
    captions = ("", "A dog.\r\nIt runs!", "two\u2028parts", "...", "one\n", "", "")
    assert list(ptb.tokenised(captions)) == ["", "a dog it runs", "two parts", "", "one", "", ""]
    assert list(ptb.tokenised(())) == []
    assert list(ptb.tokenised(("",))) == [""]


def test_text_that_cannot_be_encoded_is_still_scored(pair: MakePair) -> None:
    pairs = [pair("a \ud800 dog ||| runs", "a dog runs"), pair("é ☃ 日本 😀", "a cat sits")]
    for name, item in compute([Cider(), Bleu(), RougeL()], pairs).items():
        assert item.per_sample is not None
        assert item.per_sample[0] > item.per_sample[1] >= 0, name


def test_captions_are_tokenised_once_for_all_metrics(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    run = ptb.subprocess.run
    monkeypatch.setattr(ptb.subprocess, "run", lambda *args, **options: runs.append(1) or run(*args, **options))
    compute([Cider(), Bleu(), RougeL()], [pair("a zebra", "one zebra"), pair("two", "two gnus", "gnus")])
    assert len(runs) == 2  # references, answers


def test_domains_are_a_breakdown(pair: MakePair) -> None:
    pairs = [pair("a dog", "a dog", facts={"domain": "in-domain"}), pair("a cat", "a cat", facts={})]
    for item in compute([Cider(), Bleu(), RougeL()], pairs).values():
        assert item.labels == {"domain": ["in-domain", None]}


def test_of_nothing_there_is_no_score() -> None:
    assert {item.value for item in compute([Cider(), Bleu(), RougeL(), Meteor()], []).values()} == {None}


def test_only_cider_depends_on_the_whole_set_and_all_need_java() -> None:
    infos = {name: info for metric in (Cider(), Bleu(), RougeL(), Meteor()) for name, info in metric.info.items()}
    assert [name for name, info in infos.items() if info.corpus] == ["cider"]
    assert all(info.needs == ("java",) and info.higher_is_better for info in infos.values())


def test_without_java(pair: MakePair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    for metric in (Cider(), Meteor()):
        with pytest.raises(MissingExtra, match="need Java 8 or newer"):
            metric.compute([pair("an okapi", "an okapi")], "official")


def test_programs_that_fail(pair: MakePair, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    pairs = [pair("an ibex", "an ibex")]
    RougeL().compute(pairs, "official")
    monkeypatch.setattr(meteor, "JAR", tmp_path / "no-meteor.jar")
    with pytest.raises(HarnessError, match=r"no-meteor\.jar: ended early"):
        Meteor().compute(pairs, "official")
    monkeypatch.setattr(ptb, "JAR", tmp_path / "no-tokenizer.jar")
    with pytest.raises(HarnessError, match=r"no-tokenizer\.jar: 1 lines for 2, exit code 1: .*Could not find"):
        ptb.tokenised(("another ibex", "and one more"))
