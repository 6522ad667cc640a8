"""Modules of the evaluate library, made here in its own format, against the library itself."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from textwrap import dedent, indent
from typing import Any

import evaluate
import huggingface_hub.constants
import numpy as np
import pytest

from harness import (
    DataError,
    HarnessError,
    MetricInfo,
    Output,
    Pair,
    PluginError,
    Sample,
    UnknownName,
    UsageError,
    stats,
)
from plugins.metrics import evaluate_module
from plugins.metrics.evaluate_module import PARTS, EvaluateModule

SCRIPT = """
import datasets
import evaluate
{imports}


class Module(evaluate.Metric):
    def _info(self):
        return evaluate.MetricInfo(
            description="made for a test", citation="", inputs_description="", features={features}
        )

    def _compute(self, predictions, references{arguments}):
{body}
"""
TEXTS = "datasets.Features({'predictions': datasets.Value('string'), 'references': datasets.Value('string')})"
LISTS = TEXTS.replace(
    "'references': datasets.Value('string')", "'references': datasets.Sequence(datasets.Value('string'))"
)
AGREEMENT = "return {'agreement': sum(p == r for p, r in zip(predictions, references)) / len(predictions)}"
Make = Callable[..., Path]


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What evaluate keeps is kept here; it is taken off the import path and out of what is imported afterwards."""
    cache = tmp_path_factory.mktemp("huggingface")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluate.config, "HF_MODULES_CACHE", cache / "modules")
        patch.setattr(evaluate.config, "HF_METRICS_CACHE", cache / "metrics")
        patch.setattr(sys, "path", [*sys.path])
        yield cache
    for name in [name for name in sys.modules if name.partition(".")[0] == "evaluate_modules"]:
        del sys.modules[name]


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise socket.gaierror("there is no network in tests")

    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Write a module into the current folder."""
    monkeypatch.chdir(tmp_path)

    def write(name: str, body: str, features: str = TEXTS, arguments: str = "", imports: str = "") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        text = SCRIPT.format(
            imports=imports, features=features, arguments=arguments, body=indent(dedent(body).strip(), " " * 8)
        )
        (folder / f"{name}.py").write_text(text)
        return folder

    return write


def pairs_of(*texts: tuple[str, Sequence[str]], groups: Sequence[str] | None = None) -> list[Pair]:
    return [
        Pair(
            Sample(f"q{index}", (), "", tuple(references), groups[index] if groups else f"g{index}"),
            answer,
            Output(answer),
        )
        for index, (answer, references) in enumerate(texts)
    ]


YES_NO = pairs_of(("yes", ["yes", "no"]), ("no", ["yes", "no"]), ("no", ["no"]))


def value_of(metric: EvaluateModule, pairs: Sequence[Pair] = YES_NO) -> float | None:
    (measured,) = metric.compute(iter(pairs), "official").values()
    return measured.value


def many(count: int, groups: int) -> list[Pair]:
    generator = np.random.default_rng(0)
    easy = generator.random(groups)
    texts = [("yes" if generator.random() < easy[index % groups] else "no", ["yes"]) for index in range(count)]
    return pairs_of(*texts, groups=[f"g{index % groups}" for index in range(count)])


def test_a_local_module_scores_as_the_library_does(make: Make) -> None:
    folder = make("agreement", AGREEMENT)
    pairs = many(60, 7)
    metric = EvaluateModule("./agreement")
    measured = metric.compute(iter(pairs), "official")
    theirs = evaluate.load(str(folder), keep_in_memory=True).compute(
        predictions=[pair.answer for pair in pairs], references=[pair.sample.references[0] for pair in pairs]
    )
    assert measured.keys() == metric.info.keys() == {"agreement"}
    assert measured["agreement"].value == theirs["agreement"]
    assert metric.info["agreement"] == MetricInfo("points", None, corpus=True)


@pytest.mark.parametrize(
    "ref", ["./agreement", "./agreement/", "./agreement/agreement.py", "../{here}/agreement", "{absolute}"]
)
def test_a_folder_or_its_script_is_named_by_any_path(make: Make, ref: str) -> None:
    folder = make("agreement", AGREEMENT)
    metric = EvaluateModule(ref.format(here=folder.parent.name, absolute=folder), higher_is_better=True)
    assert metric.info == {"agreement": MetricInfo("points", True, corpus=True)}
    assert value_of(metric) == pytest.approx(2 / 3)


def test_the_home_folder_is_known(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(make("agreement", AGREEMENT).parent))
    assert value_of(EvaluateModule("~/agreement")) == pytest.approx(2 / 3)


def test_leaving_each_group_out_gives_a_means_clustered_error(make: Make) -> None:
    make("agreement", AGREEMENT)
    pairs = many(6 * PARTS, PARTS)
    measured = EvaluateModule("./agreement").compute(pairs, "official")["agreement"]
    agreed = np.array([float(pair.answer == "yes") for pair in pairs])
    expected = stats.clustered_mean(agreed, np.array([int(pair.sample.group[1:]) for pair in pairs]))
    assert expected is not None
    assert measured.value is not None
    assert measured.replicates is not None
    found = stats.jackknife(measured.value, measured.replicates)
    assert found is not None
    assert (found.stderr, found.low, found.high) == pytest.approx((expected.stderr, expected.low, expected.high))


def test_parts_are_disjoint_and_hold_whole_groups(make: Make) -> None:
    make("size", "return {'size': len(predictions)}")
    groups = [f"g{index}" for index in (0, 1, 1, 2, 2, 2, 3, 3, 3, 3)]
    pairs = pairs_of(*[("yes", ["yes"])] * 10, groups=groups)
    alone = EvaluateModule("./size").compute(pairs, "official")["size"]
    assert alone.replicates is not None
    assert sorted(alone.replicates) == [6, 7, 8, 9]  # fewer groups than parts: each without one group
    halves = EvaluateModule("./size", parts=2).compute(pairs, "official")["size"].replicates
    assert halves is not None
    assert halves.sum() == 10
    assert EvaluateModule("./size", parts=0).compute(pairs, "official")["size"].replicates is None
    assert EvaluateModule("./size").compute(pairs[1:3], "official")["size"].replicates is None  # a single group


def test_all_references_are_given_where_several_are_taken(make: Make) -> None:
    body = "return {'best': sum(p in r for p, r in zip(predictions, references))}"
    make("best", body, f"[{TEXTS}, {LISTS}]")
    make("only", body, LISTS)
    make("old", body, LISTS.replace("datasets.Sequence(datasets.Value('string'))", "[datasets.Value('string')]"))
    pairs = [*YES_NO, *pairs_of(("maybe", ["yes", "no", "maybe", "maybe"]), ("yes", []))]
    assert [value_of(EvaluateModule(f"./{name}"), pairs) for name in ("best", "only", "old")] == [4, 4, 4]
    make("first", body, TEXTS)
    assert value_of(EvaluateModule("./first"), pairs[:-1]) == 2
    with pytest.raises(DataError, match=r"evaluate:./first: sample 'q1' has no reference"):
        value_of(EvaluateModule("./first"), pairs)


def test_numbers_are_converted(make: Make) -> None:
    body = "return {'error': sum(abs(p - r) for p, r in zip(predictions, references))}"
    for kind in ("float32", "int64"):
        make(f"error_{kind}", body, TEXTS.replace("string", kind))
    metrics = [EvaluateModule("./error_float32"), EvaluateModule("./error_int64")]
    assert [value_of(metric, pairs_of((" 3", ["5"]), ("-1", ["1"]))) for metric in metrics] == [4, 4]
    assert value_of(metrics[0], pairs_of(("0.5", ["1"]))) == 0.5
    with pytest.raises(DataError, match=r"error_int64: the answer of sample 'q1' is no whole number.*'0\.5'"):
        value_of(metrics[1], pairs_of(("3", ["5"]), ("0.5", ["1"])))
    with pytest.raises(DataError, match=r"error_float32: the reference of sample 'q0' is no number.*'many'"):
        value_of(metrics[0], pairs_of(("3", ["many"])))


def test_which_figure_is_the_score(make: Make) -> None:
    make("several", "return {'one': 1, 'two': 2.5, 'rouge-l.f': 3, 'note': 'x', 'yes': True, 'list': [1, 2]}")
    make("own", "return {'other': 1, 'own': 2}")
    make("bare", "return 0.25")
    assert EvaluateModule("./bare").compute(YES_NO, "official")["bare"].value == 0.25
    make("number", "return {'note': 'x', 'yes': True, 'count': 7, 'list': [1, 2]}")
    assert EvaluateModule("./own").compute(YES_NO, "official")["own"].value == 2
    assert EvaluateModule("./own", key="own").compute(YES_NO, "official")["own"].value == 2
    assert EvaluateModule("./number").compute(YES_NO, "official")["number"].value == 7
    for key, name, value in (
        ("one", "several_one", 1),
        ("two", "several_two", 2.5),
        ("rouge-l.f", "several_rouge-l_f", 3),
    ):
        metric = EvaluateModule("./several", key=key)
        assert {other: item.value for other, item in metric.compute(YES_NO, "official").items()} == {name: value}
        assert metric.info.keys() == {name}
    with pytest.raises(UsageError, match=r"gives one, two, rouge-l\.f; choose one figure: .'evaluate:./several': .key"):
        value_of(EvaluateModule("./several"))
    with pytest.raises(UnknownName, match=r"unknown figure of evaluate:./several 'tow' \(did you mean 'two'"):
        value_of(EvaluateModule("./several", key="tow"))
    with pytest.raises(PluginError, match=r"'list' is neither a number nor a list with a number for each of 3 samples"):
        value_of(EvaluateModule("./several", key="list"))


def test_a_list_of_figures_is_a_value_a_sample(make: Make) -> None:
    make("lengths", "return {'lengths': [len(p) for p in predictions], 'version': 'x'}")
    measured = EvaluateModule("./lengths").compute(YES_NO, "official")["lengths"]
    assert measured.per_sample is not None
    np.testing.assert_array_equal(measured.per_sample, [3, 2, 2])
    assert measured.value == pytest.approx(7 / 3)
    assert measured.replicates is None


@pytest.mark.parametrize("kind", ["np.float32", "np.float64", "np.int64", "np.array"])
def test_numpys_numbers_are_numbers(make: Make, kind: str) -> None:
    make("numpys", f"return {{'numpys': {kind}(3)}}", imports="import numpy as np")
    assert value_of(EvaluateModule("./numpys")) == 3


def test_options_reach_the_module(make: Make) -> None:
    make("options", "return {'options': factor * len(self.config_name)}", arguments=", factor=1")
    assert value_of(EvaluateModule("./options", config="abc", compute={"factor": 10})) == 30
    with pytest.raises(PluginError, match=r"evaluate:./options: its compute failed \(TypeError: .*facto"):
        value_of(EvaluateModule("./options", compute={"facto": 10}))


def test_scripts_beside_the_module_are_imported(make: Make) -> None:
    (make("helped", "return {'helped': number()}", imports="from .helper import number") / "helper.py").write_text(
        "def number():\n    return 5\n"
    )
    assert value_of(EvaluateModule("./helped")) == 5


def test_a_changed_module_is_loaded_again(make: Make) -> None:
    for number in (1, 2):
        make("changing", f"return {{'changing': {number}}}")
        assert value_of(EvaluateModule("./changing")) == number


def test_scoring_twice_gives_the_same(make: Make) -> None:
    make("chance", "return {'chance': np.random.random()}", imports="import numpy as np")
    first, second = (EvaluateModule("./chance").compute(many(50, 5), "official")["chance"] for _ in range(2))
    assert first.value == second.value
    np.testing.assert_array_equal(np.asarray(first.replicates), np.asarray(second.replicates))


def test_nothing_is_printed_among_the_results_and_no_prediction_is_written_down(
    make: Make, capfd: pytest.CaptureFixture[str], cache: Path
) -> None:
    make("loud", "print('computing'); return {'loud': 1}", imports="print('loading')")
    value_of(EvaluateModule("./loud"), many(40, 10))
    out, err = capfd.readouterr()
    assert out == ""
    assert set(err.split()) == {"loading", "computing"}
    assert [path for path in (cache / "metrics").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("raise KeyError('no such word')", r"evaluate:./bad: its compute failed \(KeyError: 'no such word'\)"),
        ("raise RuntimeError", r"its compute failed \(RuntimeError\)"),
        ("return [3]", "its compute gave a list, not a dictionary"),
        ("return None", "its compute gave a NoneType, not a dictionary"),
        ("return {'bad': float('nan')}", "its compute gave nan, which is no score"),
        ("return {'bad': float('inf')}", "its compute gave inf, which is no score"),
        ("return {'bad': 'high'}", "'bad' is neither a number nor a list"),
        ("return {'bad': {'f1': 1}}", "'bad' is neither a number nor a list"),
        ("return {'words': 'x'}", "it gives words; choose one figure"),
        ("return {}", "it gives nothing; choose one figure"),
    ],
)
def test_what_is_no_score_is_an_error_that_names_the_module(make: Make, body: str, message: str) -> None:
    make("bad", body)
    with pytest.raises(HarnessError, match=message) as caught:
        value_of(EvaluateModule("./bad"))
    assert str(caught.value).startswith("evaluate:./bad")


def test_an_interval_that_cannot_be_computed_leaves_the_score(make: Make) -> None:
    make("whole", "return {'whole': 1 if len(predictions) == 3 else float('nan')}")
    measured = EvaluateModule("./whole").compute(YES_NO, "official")["whole"]
    assert measured.value == 1
    assert measured.replicates is not None
    assert stats.jackknife(1, measured.replicates) is None


def test_a_module_that_raises_can_be_used_again(make: Make) -> None:
    make("once", "if 'bad' in predictions:\n    raise ValueError\nreturn {'once': len(predictions)}")
    metric = EvaluateModule("./once")
    with pytest.raises(PluginError):
        value_of(metric, pairs_of(("bad", ["x"])))
    assert value_of(metric) == 3


def test_without_pairs_there_is_nothing_to_measure(make: Make) -> None:
    make("agreement", AGREEMENT)
    assert value_of(EvaluateModule("./agreement"), []) is None


@pytest.mark.parametrize(
    "features",
    [
        TEXTS.replace("datasets.Value('string')})", "datasets.Value('bool')})"),
        TEXTS.replace("'references'", "'sources': datasets.Value('string'), 'references'"),
        LISTS.replace("references", "x").replace("predictions", "references").replace("'x'", "'predictions'"),
        TEXTS.replace("datasets.Value('string'),", "{'id': datasets.Value('string')},"),
    ],
)
def test_modules_that_take_something_else_are_refused_before_anything_runs(make: Make, features: str) -> None:
    make("other", "return {'other': 1}", features)
    with pytest.raises(UsageError, match=r"evaluate:./other: takes .*; only modules for one text or number"):
        EvaluateModule("./other")


def test_what_is_no_module_is_refused_before_anything_runs(make: Make, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.py").write_text("def broken(:")
    (tmp_path / "nothing.py").write_text("x = 1")
    (tmp_path / "lacking.py").write_text("import no_such_library")
    (tmp_path / "text.txt").write_text("x = 1")
    (tmp_path / "a.b.py").write_text("x = 1")
    make("agreement", AGREEMENT)
    for ref, error, message in (
        ("./nowhere", UsageError, f"there is no {tmp_path / 'nowhere'}; name a folder"),
        ("./empty", UsageError, f"there is no {tmp_path / 'empty' / 'empty.py'}; name a folder"),
        ("./text.txt", UsageError, "text.txt cannot be imported"),
        ("./a.b.py", UsageError, "a.b.py cannot be imported"),
        ("./broken.py", PluginError, "cannot be loaded (SyntaxError"),
        ("./nothing.py", PluginError, "cannot be loaded ("),
        ("./lacking.py", PluginError, "no_such_library"),
    ):
        with pytest.raises(error) as caught:
            EvaluateModule(ref)
        assert str(caught.value).startswith(f"evaluate:{ref}: ")
        assert message in str(caught.value)
    for parts in (1, -1):
        with pytest.raises(UsageError, match=r"evaluate:./agreement: parts"):
            EvaluateModule("./agreement", parts=parts)
    with pytest.raises(UsageError, match="revision is for modules on the hub"):
        EvaluateModule("./agreement", revision="main")


@pytest.mark.parametrize("offline", [False, True])
def test_a_hub_that_cannot_be_reached_is_said_at_once(
    offline: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", offline)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PluginError) as caught:
        EvaluateModule("exact_match")
    message = str(caught.value)
    assert message.startswith(
        "evaluate:exact_match: the Space evaluate-metric/exact_match is not on the hub, or out of"
    )
    assert message.endswith("check the name, or name a local copy: evaluate:./exact_match")


@pytest.mark.parametrize(
    ("ref", "space"), [("agreement", "evaluate-metric/agreement"), ("who/agreement", "who/agreement")]
)
def test_a_name_is_a_space_on_the_hub(make: Make, monkeypatch: pytest.MonkeyPatch, ref: str, space: str) -> None:
    folder = make("agreement", AGREEMENT)
    asked: list[tuple[str, Any]] = []

    def download(repository: str, *, repo_type: str, revision: str | None, allow_patterns: str) -> str:
        assert (repo_type, allow_patterns) == ("space", "*.py")
        asked.append((repository, revision))
        return str(folder)

    monkeypatch.setattr(evaluate_module, "snapshot_download", download)
    metric = EvaluateModule(ref, revision="v0.4.6")
    assert metric.info.keys() == {"agreement"}
    assert value_of(metric) == pytest.approx(2 / 3)
    assert asked == [(space, "v0.4.6")]
    (folder / "agreement.py").rename(folder / "app.py")
    with pytest.raises(PluginError, match=rf"the Space {space} has no agreement\.py"):
        EvaluateModule(ref)
