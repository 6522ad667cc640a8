"""Benchmarks asked of a model while it is trained: the saved checkpoint's scores, and nothing moved by asking."""

from __future__ import annotations

import copy
import json
import logging
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from tiny_models import make_tiny_arr_coc, make_tiny_llava

from harness import ConfigError, LiveEvaluation, Options, Score, Session
from harness.cli import run as harness_command
from training import microworld
from training.callbacks import evaluating
from training.callbacks.evaluating import RELEVANCE, ROUTING, ask, bare, prepare_evaluation
from training.conversations import ConversationCollator
from training.job import Job
from training.lessons import Draw, Lesson, Picture
from training.modelling.models import find_start, finish, load
from training.settings import Evaluating
from training.stages.arr_coc import ArrCocStage
from training.stages.arr_coc import run as run_arr_coc
from training.stages.sft import SftStage
from training.stages.sft import run as run_sft

KINDS = {"arr-coc": make_tiny_arr_coc, "hf": make_tiny_llava}
BENCHMARKS = ("gqa", "vqav2")
MEASURES = ("latency", "per_second")
"""Of scores that are no function of the answers."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five evaluation pictures, and both models."""
    folder = tmp_path_factory.mktemp("world")
    microworld.build(folder / "data", images=6, evaluation_images=5)
    lines = "".join(f"  {name}:\n    data: {folder / 'data' / name}\n" for name in BENCHMARKS)
    (folder / "benchmarks.yaml").write_text(f"benchmarks:\n{lines}", encoding="utf-8")
    for kind, make in KINDS.items():
        make(folder / kind)
    return folder


@contextmanager
def opened(home: Path, world: Path) -> Iterator[Session]:
    session = Session(home, world)
    try:
        yield session
    finally:
        session.database.close()


@pytest.fixture
def session(tmp_path: Path, world: Path) -> Iterator[Session]:
    with opened(tmp_path / "home", world) as found:
        yield found


def loaded(kind: str, world: Path, session: Session) -> tuple[Any, Any]:
    return load(find_start(str(world / kind), session))


def prepared(session: Session, model: Any, **settings: Any) -> LiveEvaluation:
    given = {"benchmarks": BENCHMARKS, "limit": 6, "batch": 4, **settings}
    return prepare_evaluation(Evaluating.model_validate(given), session, model)


def of_answers(scores: Mapping[str, Score]) -> dict[str, Score]:
    """Without those of the clock."""
    return {name: score for name, score in scores.items() if not any(word in name for word in MEASURES)}


def evaluated(kind: str, folder: Path, session: Session, live: LiveEvaluation) -> tuple[dict[str, Any], list[str]]:
    """What `harness eval` gives for a saved checkpoint, and its answers."""
    scores: dict[str, Any] = {}
    answers = []
    for plan in live.plans:
        name = plan.task.name
        metrics = [score for choice in plan.task.metrics for score in choice.scores]
        options = Options(limit=6, batch=4, metrics=tuple(metrics))
        (document,) = cast(Any, session.evaluate([f"{kind}:{folder}"], [name], options))
        scores |= {f"{name}.{metric}": score for metric, score in document["scores"].items()}
        scores[f"{name}.coverage"] = document["coverage"]
        run = session.store.get(document["run"])
        answers += [cast(Any, item.result).text for _, item in session.store.predictions(run)]
    return scores, answers


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What live models answer."""
    answers: list[str] = []
    from harness import live

    score = live.score

    def heard(pairs: Any, *args: Any, **kwargs: Any) -> Any:
        answers.extend(pair.output.text for pair in pairs)
        return score(pairs, *args, **kwargs)

    monkeypatch.setattr(live, "score", heard)
    return answers


def agree(kind: str, folder: Path, session: Session, live: LiveEvaluation, found: Mapping[str, Score]) -> list[str]:
    """Holds live scores against those of the saved checkpoint, to the last bit; gives the checkpoint's answers."""
    scores, answers = evaluated(kind, folder, session, live)
    asked = of_answers({name: score for name, score in found.items() if name != RELEVANCE})
    assert asked.keys() == of_answers(scores).keys()
    for name, score in asked.items():
        other = scores[name]
        if name.endswith("coverage"):
            assert score.value == other == 1
        else:
            assert (score.value, score.n, score.low, score.high) == tuple(
                other[part] for part in ("value", "n", "low", "high")
            ), name
    return answers


@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_those_of_the_saved_checkpoint(
    kind: str, world: Path, session: Session, tmp_path: Path, said: list[str]
) -> None:
    model, processor = loaded(kind, world, session)
    live = prepared(session, model)
    found = ask(live, processor, model.train())
    mine = list(said)
    answers = agree(kind, world / kind, session, live, found)
    assert mine == answers
    assert len(set(answers)) > 4, "the models say something"
    assert ask(live, processor, model).keys() == found.keys()
    if kind == "arr-coc":
        for name in BENCHMARKS:
            assert {f"{name}.{score}" for score in ROUTING} <= found.keys()
        accuracies = [found[f"{name}.accuracy"].value for name in BENCHMARKS]
        assert found[RELEVANCE].value == np.mean(accuracies)
    else:
        assert RELEVANCE not in found


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_answer_while_they_learn_as_when_they_are_merged(
    kind: str, world: Path, session: Session, tmp_path: Path, said: list[str]
) -> None:
    model, processor = loaded(kind, world, session)
    live = prepared(session, model)
    ask(live, processor, model)
    plain = list(said)
    torch.manual_seed(3)
    settings = LoraConfig(r=4, lora_alpha=64, target_modules="all-linear", init_lora_weights=False, lora_dropout=0.5)
    with pytest.warns(FutureWarning, match="is_gradient_checkpointing"):
        adapted = get_peft_model(model, settings).train()
    assert bare(adapted) is model, "no second model"
    said.clear()
    found = ask(live, processor, adapted)
    mine = list(said)
    assert mine != plain, "the adapters count"

    class Trained:
        model = adapted

    finish(cast(Any, Trained), processor, tmp_path / "merged")
    assert mine == agree(kind, tmp_path / "merged", session, live, found)


def collated(processor: Any, image: Any) -> dict[str, torch.Tensor]:
    picture = Picture(image, (Lesson("gqa", "what color is the dog", ("red",)),))
    prompts = ("what color is the dog", "is there a cat in the picture or not")
    return ConversationCollator(processor)([Draw(picture, prompts, ("red", "no"), (True, True))])


@pytest.mark.parametrize("kind", KINDS)
def test_asking_leaves_everything_as_it_was(kind: str, world: Path, session: Session, tmp_path: Path) -> None:
    model, processor = loaded(kind, world, session)
    model.train()
    frozen = next(part for part in model.modules() if isinstance(part, torch.nn.LayerNorm))
    frozen.eval()
    live = prepared(session, model)
    image = next(iter(live.plans[0].samples()))[1].images[0]
    before = collated(processor, image)
    processor.tokenizer(["a b", "a"], padding=True, truncation=True, max_length=5)
    processor.save_pretrained(tmp_path / "before")
    weights = copy.deepcopy(model.state_dict())
    modes = [part.training for part in model.modules()]
    generation = model.generation_config.to_dict()
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    ask(live, processor, model)
    assert random.getstate() == states[0]
    assert str(np.random.get_state()) == str(states[1])
    assert torch.equal(torch.get_rng_state(), states[2])
    assert [part.training for part in model.modules()] == modes
    assert not frozen.training
    assert model.generation_config.to_dict() == generation
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    processor.save_pretrained(tmp_path / "after")
    for path in (tmp_path / "before").iterdir():
        assert path.read_bytes() == (tmp_path / "after" / path.name).read_bytes(), path.name
    after = collated(processor, image)
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_data_is_read_and_pictures_hashed_once(world: Path, session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed, reads = [], []
    hash_image = session.store.hash_image
    monkeypatch.setattr(session.store, "hash_image", lambda image: hashed.append(image.name) or hash_image(image))
    model, processor = loaded("hf", world, session)
    read = Path.read_bytes, Path.read_text, Path.open
    live = prepared(session, model)
    assert hashed
    hashed.clear()
    for name, method in zip(("read_bytes", "read_text", "open"), read, strict=True):

        def noted(path: Path, *args: Any, method: Callable[..., Any] = method, **kwargs: Any) -> Any:
            reads.append(path)
            return method(path, *args, **kwargs)

        monkeypatch.setattr(Path, name, noted)
    ask(live, processor, model)
    assert not hashed
    assert {path.suffix for path in reads} <= {".png", ".jpg"}, "pictures alone"


def test_names_are_known_before(world: Path, session: Session) -> None:
    model, processor = loaded("arr-coc", world, session)
    live = prepared(session, model)
    found = ask(live, processor, model)
    assert found.keys() - {RELEVANCE} <= set(live.names)
    assert "gqa.coverage" in live.names


@pytest.mark.parametrize(
    ("kind", "best"),
    [("hf", RELEVANCE), ("hf", "gqa.acuracy"), ("hf", "gqa.kept"), ("arr-coc", "gqa.cider"), ("hf", "okvqa.accuracy")],
)
def test_a_best_that_nothing_gives_is_said_before_anything_is_asked(
    kind: str, best: str, world: Path, session: Session
) -> None:
    model, _ = loaded(kind, world, session)
    with pytest.raises(ConfigError, match=rf"nothing gives the score '{best}'; there are gqa\.accuracy"):
        prepared(session, model, every=1, best=best)
    for known in ("gqa.accuracy", "vqav2.coverage", *([RELEVANCE] if kind == "arr-coc" else [])):
        prepared(session, model, every=1, best=known)


def test_a_picture_that_cannot_be_read_is_named(
    world: Path, session: Session, caplog: pytest.LogCaptureFixture
) -> None:
    model, processor = loaded("arr-coc", world, session)
    live = prepared(session, model, benchmarks=["gqa"], limit=12)
    image = cast(Any, next(iter(live.plans[0].samples()))[1].images[0])
    content = image.path.read_bytes()
    try:
        image.path.write_bytes(content[:100])
        with caplog.at_level(logging.WARNING):
            found = ask(live, processor, model)
    finally:
        image.path.write_bytes(content)
    assert 0 < found["gqa.coverage"].value < 1
    assert "of 12 samples have no answer" in caplog.text
    assert image.path.name in caplog.text


def test_a_benchmark_that_cannot_be_asked_costs_its_scores_alone(
    world: Path, session: Session, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, processor = loaded("arr-coc", world, session)
    live = prepared(session, model)
    whole = of_answers(ask(live, processor, model))
    monkeypatch.setattr(
        type(live.plans[0].task.benchmark._benchmark),
        "parse",
        lambda *_: 1 / 0,  # type: ignore[attr-defined]
    )
    with caplog.at_level(logging.WARNING):
        found = of_answers(ask(live, processor, model.train()))
    assert "gqa could not be asked" in caplog.text
    assert model.training
    rest = {name: score for name, score in whole.items() if name.startswith("vqav2.")}
    assert found == {"gqa.coverage": Score(0.0, n=6, clusters=6), **rest}, "no relevance_accuracy of a part"


def test_the_command_publishes_what_could_not_be_evaluated_and_says_so(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    (tmp_path / "benchmarks.yaml").write_text((world / "benchmarks.yaml").read_text())
    settings, _ = stage("arr-coc", world, name="net", steps=1, evaluate={"benchmarks": BENCHMARKS, "limit": 3})
    (tmp_path / "a.yaml").write_text(json.dumps(settings.model_dump(mode="json")))
    with monkeypatch.context() as patched:
        scores = LiveEvaluation.scores

        def failing(self: LiveEvaluation, *given: Any) -> Any:
            if self.plans[0].task.name == "gqa":
                raise RuntimeError("no memory")
            return scores(self, *given)

        patched.setattr(LiveEvaluation, "scores", failing)
        assert harness_command(["train", "a.yaml", "--json"]) == 3
    said = capsys.readouterr()
    (made,) = json.loads(said.out)["stages"]
    assert (made["checkpoint"], made["new"]) == ("net:v0", True)
    assert "net:v0: gqa has a coverage of 0;" in said.err
    assert "vqav2 has" not in said.err
    assert harness_command(["train", "a.yaml", "--json"]) == 3, "it still is not evaluated"
    assert not json.loads(capsys.readouterr().out)["stages"][0]["new"]
    assert harness_command(["train", "a.yaml", "--json", "--set", "name=other"]) == 0


def stage(kind: str, world: Path, **changes: Any) -> tuple[Any, Callable[[Job], Any]]:
    common = {"shares": {"gqa": 1}, "split": "train", "steps": 4, "batch": 2, "save": {"every": 1, "keep": 9}}
    if kind == "arr-coc":
        router = {"start": 0.3, "every": 2}
        return ArrCocStage.model_validate(
            {**common, "prompts": 2, "warmup": 1, "rare": 1, "router": router, **changes}
        ), run_arr_coc
    lora = {"r": 4, "dropout": 0.2}
    settings = {"name": "net", "start": str(world / "hf"), "lora": lora, "learning_rate": 0.01}
    return SftStage.model_validate({**common, **settings, **changes}), run_sft


def trained(home: Path, kind: str, world: Path, **changes: Any) -> tuple[Path, dict[str, list[tuple[int, float]]]]:
    """The finished folder, and the training's curves."""
    settings, run = stage(kind, world, **changes)
    with opened(home, world) as session:
        job = Job.of(settings, session)
        folder = run(job).folder
        return folder, session.trainings.curves(session.trainings.get(job.id))


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def alone(world: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """What a training makes that nobody watches; its trainer's checkpoints lie beside it."""
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind], _ = trained(tmp_path_factory.mktemp("alone"), kind, world)
        return made[kind]

    return folder


EVERY = {"benchmarks": ["gqa"], "limit": 3, "every": 1, "batch": 3}


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")
@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_is_watched_ends_as_one_that_is_not(
    kind: str, world: Path, tmp_path: Path, alone: Callable[[str], Path]
) -> None:
    watched, curves = trained(tmp_path / "watched", kind, world, evaluate=EVERY)
    assert same(alone(kind), watched)
    assert [step for step, _ in curves["eval_gqa.accuracy"]] == [1, 2, 3, 4]
    if kind == "arr-coc":
        for name in ("relevance_accuracy", "gqa.kept_fraction", "gqa.compression_factor", "gqa.tokens_per_patch"):
            assert len(curves[f"eval_{name}"]) == 4
        ways = [curves[f"eval_gqa.weight_{way}"][0][1] for way in ("propositional", "perspectival", "participatory")]
        assert sum(ways) == pytest.approx(1, abs=1e-2)


def test_the_best_is_chosen_among_the_most_answered(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, alone: Callable[[str], Path]
) -> None:
    """The first and the last are better, but of few samples; that of another benchmark does not matter."""
    script = iter([(0.8, 0.5, 1.0), (0.3, 1.0, 0.2), (0.4, 1.0, 0.1), (0.9, 0.1, 1.0), (0.4, 1.0, 1.0)])

    def scripted(live: LiveEvaluation, processor: Any, model: Any) -> dict[str, Score]:
        accuracy, coverage, other = next(script)
        values = {"gqa.accuracy": accuracy, "gqa.coverage": coverage, "vqav2.coverage": other}
        return {name: Score(value, n=1, clusters=1) for name, value in values.items()}

    monkeypatch.setattr(evaluating, "ask", scripted)
    best = {**EVERY, "benchmarks": BENCHMARKS, "best": "gqa.accuracy"}
    finished, curves = trained(tmp_path / "home", "arr-coc", world, evaluate=best)
    assert len(curves["eval_gqa.accuracy"]) == 4
    assert same(finished, alone("arr-coc").parent / "trainer" / "checkpoint-3")


def test_gains_are_measured_without_what_wraps_the_model(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DistributedDataParallel sends buffers at each pass, and one process may have no pass to make."""
    from training.arr_coc import trainer

    class Wrapped(torch.nn.Module):
        def __init__(self, module: Any) -> None:
            super().__init__()
            self.module = module

        def forward(self, **inputs: Any) -> Any:
            return self.module(**inputs)

    compute, measure, asked = trainer.ArrCocTrainer.compute_loss, trainer.gain_loss, []
    monkeypatch.setattr(
        trainer.ArrCocTrainer, "compute_loss", lambda self, model, *given, **named: compute(
            self, Wrapped(model), *given, **named
        ),
    )  # fmt: skip
    monkeypatch.setattr(trainer, "gain_loss", lambda model, *given: asked.append(type(model)) or measure(model, *given))
    trained(tmp_path / "home", "arr-coc", world, gains={"every": 1})
    assert asked
    assert Wrapped not in asked


class Interrupted(BaseException):
    pass


SCRIPT = {1: 0.1, 2: 0.9, 3: 0.5, 4: 0.9}
"""Which step is how good; a tie is the earlier one's."""


@pytest.mark.parametrize(
    ("broken", "higher"),
    [pytest.param(False, False, id="unbroken"), pytest.param(True, True, id="interrupted", marks=pytest.mark.slow)],
)
def test_the_finished_checkpoint_is_the_best_one(
    broken: bool,
    higher: bool,
    world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    alone: Callable[[str], Path],
) -> None:
    """Each step's scores are given; which weights were finished is told from those that each step saved."""
    plain = stage("arr-coc", world)[0]
    asked: list[int] = []

    def scripted(live: LiveEvaluation, processor: Any, model: Any) -> dict[str, Score]:
        asked.append(len(asked) + 1)
        value = SCRIPT[asked[-1]] if higher else -SCRIPT[asked[-1]]
        return {RELEVANCE: Score(value, n=1, clusters=1), "gqa.coverage": Score(1.0, n=1, clusters=1)}

    monkeypatch.setattr(evaluating, "ask", scripted)
    best = {**EVERY, "best": RELEVANCE, "higher_is_better": higher}
    save = {"every": plain.save.every, "keep": 1}
    if broken:
        from training.arr_coc import trainer as arr_coc_trainer

        plan_step = arr_coc_trainer.plan_step

        def killed(settings: Any, step: int) -> Any:
            if step == 3:
                raise Interrupted
            return plan_step(settings, step)

        with monkeypatch.context() as patched:
            patched.setattr(arr_coc_trainer, "plan_step", killed)
            with pytest.raises(Interrupted):
                trained(tmp_path / "home", "arr-coc", world, evaluate=best, save=save)
        assert asked == [1, 2, 3]
    finished, curves = trained(tmp_path / "home", "arr-coc", world, evaluate=best, save=save)
    values = [value for _, value in curves[f"eval_{RELEVANCE}"]]
    assert values == [value if higher else -value for value in SCRIPT.values()]
    steps = alone("arr-coc").parent / "trainer"
    assert same(finished, steps / "checkpoint-2")
    assert not same(finished, steps / "checkpoint-4")
