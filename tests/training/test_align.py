"""Alignment: likelihoods, losses and rewards against their definitions, and weights against unbroken trainings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from tiny_models import make_tiny_arr_coc, make_tiny_llava
from transformers import (
    AutoModelForImageTextToText,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    LlamaConfig,
    LlamaForSequenceClassification,
)

from harness import CheckpointError, ConfigError, DataError, Options, Session, UnknownName, load_run
from harness import open_session as workspace
from training.aligning import effect, grpo
from training.aligning.dpo import COLUMN, PreferenceTrainer
from training.aligning.dpo import make_trainer as make_dpo
from training.aligning.grpo import GroupTrainer
from training.aligning.grpo import make_trainer as make_grpo
from training.aligning.preferences import read_preferences
from training.aligning.reward import judge_from
from training.aligning.rewards import ModelReward, ScoreReward
from training.aligning.settings import AlignStage
from training.conversations import IGNORED
from training.job import Job
from training.microworld import build
from training.modelling.models import find_start, load
from training.recipe import Made, carry_out
from training.stages.align import run

MODELS = ("llava", "plain", "arr")
EVALUATE = {"benchmarks": ["pope"], "limit": 4, "batch": 4}
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")


class Killed(BaseException):
    """What ends a process, as far as it can be played inside of one."""


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A world, the settings that name it, and models to start from."""
    torch.manual_seed(0)  # some weights of the tiny models are drawn where they are made
    folder = tmp_path_factory.mktemp("place")
    build(folder / "data", images=6, evaluation_images=5)
    names = "".join(f"  {name}: {{data: {folder / 'data' / name}}}\n" for name in ("gqa", "pope", "coco_captions"))
    (folder / "benchmarks.yaml").write_text(f"benchmarks:\n{names}")
    make_tiny_llava(folder / "llava")
    make_tiny_llava(folder / "plain", chat=False)
    make_tiny_arr_coc(folder / "arr")
    return folder


def settings(place: Path, **changes: Any) -> AlignStage:
    common = {
        "name": "aligned", "start": str(place / "llava"), "steps": 6, "batch": 4, "learning_rate": 1e-2,
        "save": {"every": 2},
    }  # fmt: skip
    if changes.get("alignment_method") != "rlhf":
        common["preferences"] = str(place / "data" / "preferences" / "train.jsonl")
    return AlignStage.model_validate({**common, **changes})


def rlhf(place: Path, **changes: Any) -> AlignStage:
    given = {"reward": "gqa.accuracy", "num_generations": 4, "max_completion_length": 3, "batch": 8, "steps": 4}
    return settings(place, alignment_method="rlhf", **{**given, **changes})


def made_by(maker: Any, job: Job) -> Any:
    """A trainer with its processor, put together."""
    return maker(job, job.settings.read_preferences().records if job.settings.preferences else ())


def weights(made: Made, session: Session) -> dict[str, torch.Tensor]:
    version = made.version
    return load_file(session.checkpoints.resolve(version.name, f"v{version.number}").checkout() / "model.safetensors")


# ---------------------------------------------------------------- direct preference optimization


def brute_force(model: Any, collator: Any, row: dict[str, int]) -> tuple[float, float]:
    """log p(chosen) and log p(rejected), each row alone, from the model's plain logits."""
    preference = collator.preferences[row[COLUMN]]
    found = []
    for answer in (preference.chosen, preference.rejected):
        one = collator.conversations.row(preference.image, preference.prompt, answer, True)
        ids = torch.tensor([one.ids])
        labels = torch.tensor([[IGNORED] * one.asked + one.ids[one.asked :]])
        with torch.no_grad():
            output = model(input_ids=ids, labels=labels, **one.others)
        likely = output.logits[0, :-1].double().log_softmax(-1)
        found.append(float(sum(likely[at - 1, one.ids[at]] for at in range(one.asked, len(one.ids)))))
    return found[0], found[1]


def moved(model: Any) -> None:
    """Other weights where they are trained, as after some steps."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("start", MODELS)
def test_likelihoods_and_loss_are_those_of_the_paper(place: Path, tmp_path: Path, start: str) -> None:
    """Rafailov et al. 2023, equation 7: -log σ(β (log π(w)/π₀(w) - log π(l)/π₀(l))), row by row from plain models."""
    with workspace(tmp_path, place) as session:
        job = Job.of(settings(place, start=str(place / start), beta=0.3), session)
        trainer, _ = made_by(make_dpo, job)
    moved(trainer.model)
    plain = [AutoModelForImageTextToText.from_pretrained(place / start).eval() for _ in range(2)]
    plain[0].load_state_dict(trainer.model.state_dict())
    preferences = trainer.data_collator.preferences
    captioned = next(n for n, preference in enumerate(preferences) if preference.prompt.startswith("Provide"))
    rows = [{COLUMN: 0}, {COLUMN: captioned}, {COLUMN: captioned - 1}]
    batch = trainer.data_collator(rows)
    lengths = batch["attention_mask"].sum(1)
    assert int(lengths.min()) < int(lengths.max())  # so that padding could do harm
    policy, reference = ([brute_force(model, trainer.data_collator, row) for row in rows] for model in plain)
    told = trainer.compute_ref_log_probs(trainer.ref_model, batch)
    torch.testing.assert_close(torch.stack(told, 1).double(), torch.tensor(reference).double(), rtol=1e-4, atol=1e-4)
    margins = [(win - win0) - (lose - lose0) for (win, lose), (win0, lose0) in zip(policy, reference, strict=True)]
    assert max(map(abs, margins)) > 0.1
    expected = -torch.nn.functional.logsigmoid(0.3 * torch.tensor(margins)).mean()
    torch.testing.assert_close(trainer.compute_loss(trainer.model, batch), expected, rtol=1e-3, atol=1e-4)
    means = [sum(side) / len(rows) for side in zip(*policy, strict=True)]
    logged = [trainer._metrics["train"][f"logps/{side}"][-1] for side in ("chosen", "rejected")]
    assert logged == pytest.approx(means, rel=1e-4)


def test_other_losses_and_the_weight_of_the_chosen(place: Path, tmp_path: Path) -> None:
    """The hinge of SLiC, the square of IPO over mean log-ratios, and the chosen answers' own likelihood a token."""
    losses: dict[str, float] = {}
    for name, changes in {
        "sigmoid": {}, "hinge": {"loss_type": "hinge"}, "ipo": {"loss_type": "ipo"}, "sft": {"sft_weight": 0.5},
    }.items():  # fmt: skip
        with workspace(tmp_path / name, place) as session:
            trainer, _ = made_by(make_dpo, Job.of(settings(place, beta=0.3, **changes), session))
        moved(trainer.model)
        row = trainer.train_dataset[0]
        batch = trainer.data_collator([row])
        losses[name] = float(trainer.compute_loss(trainer.model, batch).detach())
        policy = brute_force(trainer.model, trainer.data_collator, row)
        reference = brute_force(trainer.ref_model, trainer.data_collator, row)
        tokens = batch["completion_mask"].sum(1).tolist()
    ratios = [one - other for one, other in zip(policy, reference, strict=True)]
    assert losses["hinge"] == pytest.approx(max(0.0, 1 - 0.3 * (ratios[0] - ratios[1])), rel=1e-3)
    ipo = (ratios[0] / tokens[0] - ratios[1] / tokens[1] - 1 / (2 * 0.3)) ** 2
    assert losses["ipo"] == pytest.approx(ipo, rel=1e-3)
    assert losses["sft"] - losses["sigmoid"] == pytest.approx(-0.5 * policy[0] / tokens[0], rel=1e-3)


@pytest.mark.parametrize("start", ["llava", "arr"])
def test_the_reference_without_adapters_is_the_copy(place: Path, tmp_path: Path, start: str) -> None:
    losses = []
    for free in (True, False):
        with workspace(tmp_path / str(free), place) as session:
            given = settings(place, start=str(place / start), lora={"r": 4}, reference_free=free)
            trainer, _ = made_by(make_dpo, Job.of(given, session))
        moved(trainer.model)
        assert (trainer.ref_model is None) == free
        assert set(trainer.model.peft_config) == {"default"}
        batch = trainer.data_collator([trainer.train_dataset[place] for place in range(2)])
        losses.append(float(trainer.compute_loss(trainer.model, batch).detach()))
    assert losses[0] == losses[1]
    assert abs(losses[0] - 0.6931) > 1e-3, "the model differs from what it is compared with"


def test_every_preference_comes_once_an_epoch_by_the_seed(place: Path, tmp_path: Path) -> None:
    count = len(read_preferences(str(place / "data/preferences/train.jsonl")).records)
    orders = []
    for seed in (0, 0, 1):
        with workspace(tmp_path, place) as session:
            trainer, _ = made_by(make_dpo, Job.of(settings(place, seed=seed, steps=count, batch=2), session))
        orders.append(trainer.train_dataset[COLUMN][:])
    assert sorted(orders[0][:count]) == sorted(orders[0][count:]) == list(range(count))
    assert orders[0][:count] != orders[0][count:]
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("start", ["llava", pytest.param("arr", marks=pytest.mark.slow)])
def test_a_few_preferences_are_learnt_by_heart(place: Path, tmp_path: Path, start: str) -> None:
    """Of two pictures, the one is to be called red, the other blue: no text tells which."""
    pictures = sorted((place / "data/coco_captions/train2014").glob("*.jpg"))[:2]
    lines = [
        {"image": str(picture), "prompt": "what color is this ?", "chosen": right, "rejected": wrong}
        for picture, right, wrong in zip(pictures, ("red", "blue"), ("blue", "red"), strict=True)
    ]
    (tmp_path / "two.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = settings(
        place, start=str(place / start), preferences=str(tmp_path / "two.jsonl"), steps=80, batch=2,
        learning_rate=3e-3, save={"every": 80}, track={"every": 20},
    )  # fmt: skip
    with workspace(tmp_path / "home", place) as session:
        carry_out(given, run, session)
        curves = session.trainings.curves(session.trainings.all()[0])
    assert curves["rewards/accuracies"][-1][1] == 1.0
    assert curves["rewards/margins"][-1][1] > 0.5
    assert curves["loss"][-1][1] < 0.5


def test_a_text_with_the_placeholder_is_refused_before_training(place: Path, tmp_path: Path) -> None:
    picture = next((place / "data").rglob("*.jpg"))
    record = {"image": str(picture), "prompt": "Is it?", "chosen": "yes <image>", "rejected": "no"}
    (tmp_path / "told.jsonl").write_text(json.dumps(record))
    given = settings(place, preferences=str(tmp_path / "told.jsonl"))
    with workspace(tmp_path, place) as session, pytest.raises(DataError, match=r"told\.jsonl:1: .*holds '<image>'"):
        made_by(make_dpo, Job.of(given, session))


# ---------------------------------------------------------------- going on


def break_off(trainer: type, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The process dies in the step after so many."""
    compute = trainer.compute_loss

    def stop(self: Any, *args: Any, **kwargs: Any) -> Any:
        if self.state.global_step == step:
            raise Killed
        return compute(self, *args, **kwargs)

    monkeypatch.setattr(trainer, "compute_loss", stop)


def assert_goes_on(
    given: AlignStage, trainer: type, place: Path, homes: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Made, Made]:
    with workspace(homes / "whole", place) as session:
        whole = carry_out(given, run, session)
        unbroken = weights(whole, session)
    with workspace(homes / "broken", place) as session:
        with monkeypatch.context() as patched:
            break_off(trainer, 3, patched)
            with pytest.raises(Killed):
                carry_out(given, run, session)
        (folder,) = (homes / "broken" / "training").glob("*/trainer")
        assert [path.name for path in folder.glob("checkpoint-*")] == ["checkpoint-2"]
        resumed = carry_out(given, run, session)
        again = weights(resumed, session)
    begun = load_file(Path(given.start) / "model.safetensors")
    assert unbroken.keys() == again.keys()
    assert any(not torch.equal(unbroken[name], begun[name]) for name in begun if name in unbroken)
    assert all(torch.equal(unbroken[name], again[name]) for name in unbroken)
    return whole, resumed


def test_preferences_learnt_with_an_interruption(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings(place, start=str(place / "arr"), steps=4, batch=2, lora={"r": 4, "dropout": 0.1})
    assert_goes_on(given, PreferenceTrainer, place, tmp_path, monkeypatch)


class Letters:
    """A reward of nothing but letters: every answer of an untaught model has some."""

    name = "letters"

    def __init__(self, reward: Any) -> None:
        self.asked = reward.asked

    def worth(self, asked: Sequence[Any], texts: Sequence[str]) -> list[float | None]:
        return [float(sum(map(ord, text)) % 7) for text in texts]


@pytest.mark.parametrize("start", ["llava", pytest.param("arr", marks=pytest.mark.slow)])
def test_rewards_learnt_with_an_interruption(
    place: Path, tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = grpo.make_reward
    monkeypatch.setattr(grpo, "make_reward", lambda *given: Letters(make(*given)))
    given = rlhf(place, start=str(place / start), accumulate=2, batch=4)
    assert_goes_on(given, GroupTrainer, place, tmp_path, monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("start", ["llava", "arr"])
def test_what_is_rewarded_is_said_more_often(
    place: Path, tmp_path: Path, start: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = grpo.make_reward
    monkeypatch.setattr(Letters, "worth", lambda self, asked, texts: [float("e" in text) for text in texts])
    monkeypatch.setattr(grpo, "make_reward", lambda *given: Letters(make(*given)))
    given = rlhf(place, start=str(place / start), steps=60, batch=16, learning_rate=3e-3, save={"every": 60})
    with workspace(tmp_path, place) as session:
        carry_out(given, run, session)
        rewards = [value for _, value in session.trainings.curves(session.trainings.all()[0])["reward"]]
    assert sum(rewards[-10:]) / 10 > sum(rewards[:10]) / 10 + 0.2


# ---------------------------------------------------------------- before and after


def test_the_effect_is_told_and_the_first_figure_kept(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    ask = effect.ask
    monkeypatch.setattr(effect, "ask", lambda *given: asked.append(1) or ask(*given))
    given = settings(place, steps=4, evaluate=EVALUATE)
    whole, resumed = assert_goes_on(given, PreferenceTrainer, place, tmp_path, monkeypatch)
    assert len(asked) == 2  # once a workspace, however many attempts
    with workspace(tmp_path / "whole", place) as session:
        start = find_start(given.start, session)
        before = session.live("hf", ["pope"], Options(limit=4, batch=4)).scores(*_ready(load(start)))
        curves = session.trainings.curves(session.trainings.all()[0])
    facts = whole.version.metadata
    expected = {name: score.value for name, score in before.items() if not _clocked(name)}
    assert {name: value for name, value in facts["before"].items() if not _clocked(name)} == expected
    assert len(expected) > 5
    assert facts["after"] == {name: score["value"] for name, score in facts["scores"].items()}
    for when in ("before", "after"):
        again, once = resumed.version.metadata[when], facts[when]
        assert [(name, again[name]) for name in once if not _clocked(name)] == [
            (name, once[name]) for name in once if not _clocked(name)
        ]
    assert curves["eval_pope.accuracy"] == [(0, facts["before"]["pope.accuracy"]), (4, facts["after"]["pope.accuracy"])]


def _clocked(name: str) -> bool:
    return "latency" in name or "second" in name


def _ready(loaded: tuple[Any, Any]) -> tuple[Any, Any]:
    return loaded[0].eval(), loaded[1]


def test_the_first_figure_travels_with_the_checkpoint(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = settings(place, steps=4, evaluate=EVALUATE)
    with workspace(tmp_path, place) as session:
        with monkeypatch.context() as patched:
            break_off(PreferenceTrainer, 3, patched)
            with pytest.raises(Killed):
                carry_out(given, run, session)
        (kept,) = (tmp_path / "training").glob("*/before.json")
        before = json.loads(kept.read_text())
        kept.unlink()
        assert carry_out(given, run, session).version.metadata["before"] == before


# ---------------------------------------------------------------- rewards


@pytest.mark.parametrize("score", ["gqa.accuracy", "pope.hallucination_rate"])
def test_a_reward_is_the_benchmark_s_score_of_the_answer(place: Path, tmp_path: Path, score: str) -> None:
    """Against what `harness eval` stores of each answer."""
    benchmark, _, metric = score.partition(".")
    with workspace(tmp_path, place) as session:
        (document,) = session.evaluate(["arr-coc:" + str(place / "arr")], [benchmark], Options(limit=30))
        reward = ScoreReward(session, score, session.benchmark(benchmark).benchmark.info.split)
    frame = load_run(document["run"], tmp_path).frame
    assert [one.sample.id for one in reward.asked[:30]] == list(frame["sample_id"])
    sign = -1 if metric == "hallucination_rate" else 1
    stored = [None if math.isnan(value) else sign * value for value in frame[f"score_{metric}"]]
    assert reward.worth(reward.asked[:30], list(frame["answer"])) == stored
    right = [one.sample.references[0] for one in reward.asked[:30]]
    assert set(reward.worth(reward.asked[:30], right)) <= ({1.0} if metric == "accuracy" else {0.0, None})


def test_a_reward_that_cannot_be_is_refused(place: Path, tmp_path: Path) -> None:
    with workspace(tmp_path, place) as session:
        with pytest.raises(UnknownName, match="acuracy"):
            ScoreReward(session, "gqa.acuracy", "train")
        with pytest.raises(ConfigError, match="is no score of a single answer"):
            ScoreReward(session, "coco_captions.cider", "train")
        with pytest.raises(ConfigError, match="is no score of a single answer"):
            ScoreReward(session, "pope.yes_rate", "test")


@pytest.mark.parametrize("start", MODELS)
def test_the_policy_is_asked_as_the_harness_asks(place: Path, tmp_path: Path, start: str) -> None:
    with workspace(tmp_path, place) as session:
        given = rlhf(place, start=str(place / start))
        trainer, processor = made_by(make_grpo, Job.of(given, session))
        task = session.benchmark("gqa", split="train")
        plugin = session.catalog.find("model", "arr-coc" if start == "arr" else "hf").load()
        preparer = plugin.live(*_ready(load(find_start(given.start, session)))).preparer()
        requests = [task.request(sample) for sample in task.samples()]
    taken: dict[str, Any] = {}
    tokenize = trainer._tokenize_prompts

    def listen(prompts: Any) -> Any:
        taken["ids"], _, taken["fields"] = found = tokenize(prompts)
        return found

    trainer._tokenize_prompts = listen
    rows = [trainer.train_dataset[place] for place in (0, 1)]
    batch = trainer._generate_and_score_completions([row for row in rows for _ in range(4)])
    assert batch["completion_ids"].shape[0] == 8
    for number, row in enumerate(rows):
        prepared = preparer.prepare(requests[row["asked"]])
        ids = prepared.ids if start == "arr" else prepared.tensors["input_ids"]
        pixels = prepared.pixels if start == "arr" else prepared.tensors["pixel_values"]
        assert list(taken["ids"][4 * number]) == ids[0].tolist()
        torch.testing.assert_close(torch.as_tensor(taken["fields"]["pixel_values"][4 * number]), pixels[0])
        torch.testing.assert_close(batch["pixel_values"][4 * number], pixels[0])
    assert processor.chat_template is None or start == "llava"


def test_a_reward_model_is_made_and_used(place: Path, tmp_path: Path) -> None:
    with workspace(tmp_path, place) as session:
        file = place / "data" / "preferences" / "some.jsonl"
        lines = (file.parent / "train.jsonl").read_text().splitlines(keepends=True)
        file.write_text("".join([*lines[:12], lines[0]]))
        changes = {"preferences": str(file), "on_bad": "skip", "lora": {"r": 4}, "steps": 2}
        judge = settings(place, alignment_method="reward", name="judge", **changes)
        made = carry_out(judge, run, session)
        folder = session.checkpoints.resolve("judge", "latest").checkout()
        model = AutoModelForSequenceClassification.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        records = judge.read_preferences().records[:8]
        reward = ModelReward(find_start("judge:latest", session), records, torch.device("cpu"))
        worth = reward.worth(reward.asked, [record.chosen for record in records])
        for record, value in zip(records, worth, strict=True):
            ids = [*tokenizer(f"{record.prompt}\n{record.chosen}")["input_ids"], tokenizer.eos_token_id]
            with torch.no_grad():
                assert value == pytest.approx(float(model(input_ids=torch.tensor([ids])).logits), rel=1e-4, abs=1e-5)
        given = rlhf(place, reward={"model": "judge:latest"}, preferences=judge.preferences, on_bad="skip", steps=1)
        policy = carry_out(given, run, session)
    assert made.version.metadata["preferences"] == {"used": 12, "skipped": {"duplicate": 1}}
    assert made.version.digest in policy.version.parents
    curves = {name for name, _ in _losses(tmp_path, place)}
    assert {"loss", "accuracy", "rewards/reward_model/mean"} <= curves


def test_a_reward_model_that_lacks_weights_is_named(place: Path, tmp_path: Path) -> None:
    small = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1}
    config = LlamaConfig(**small, vocab_size=9, num_labels=1, pad_token_id=0)
    whole = LlamaForSequenceClassification(config)
    AutoTokenizer.from_pretrained(place / "llava").save_pretrained(tmp_path / "torn")

    def torn(tensor: str) -> Any:
        kept = {name: value for name, value in whole.state_dict().items() if name != tensor}
        whole.save_pretrained(tmp_path / "torn", state_dict=kept)
        with workspace(tmp_path / "home", place) as session:
            return find_start(str(tmp_path / "torn"), session)

    for tensor in ("score.weight", "model.layers.0.mlp.up_proj.weight"):
        with pytest.raises(CheckpointError, match=f"torn: 1 of the model's tensors .* such as {tensor}"):
            ModelReward(torn(tensor), (), torch.device("cpu"))
    assert judge_from(torn("score.weight")).score.weight.shape == (1, 8), "a head is new by design"
    with pytest.raises(CheckpointError, match=r"such as model\.layers\.0\.mlp\.up_proj"):
        judge_from(torn("model.layers.0.mlp.up_proj.weight"))


def _losses(home: Path, place: Path) -> list[tuple[str, Any]]:
    with workspace(home, place) as session:
        return [item for training in session.trainings.all() for item in session.trainings.curves(training).items()]


def test_a_reward_model_learns_to_tell(place: Path, tmp_path: Path) -> None:
    """Of what texts alone can tell: the same word is the better one each time."""
    path = tmp_path / "told.jsonl"
    picture = next((place / "data").rglob("*.jpg"))
    lines = [
        {"image": str(picture), "prompt": f"what is {word} ?", "chosen": "red", "rejected": "blue"}
        for word in ("the dog", "the cat", "a horse", "on the table")
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    given = settings(place, alignment_method="reward", preferences=str(path), steps=30, learning_rate=1e-2)
    with workspace(tmp_path / "home", place) as session:
        carry_out(given, run, session)
        accuracy = session.trainings.curves(session.trainings.all()[0])["accuracy"]
    assert accuracy[-1][1] == 1.0


# ---------------------------------------------------------------- settings


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"preferences": None}, "preferences: dpo learns from them"),
        ({"reward": "gqa.accuracy"}, "reward: is for alignment_method: rlhf"),
        ({"beta": 0}, "beta: must be above 0"),
        ({"reference_free": True}, "reference_free: needs adapters"),
        ({"alignment_method": "reward", "loss_type": "ipo"}, "loss_type: is for alignment_method: dpo"),
        ({"alignment_method": "reward", "beta": 1}, "beta: a reward model has none"),
        ({"alignment_method": "reward", "evaluate": EVALUATE}, "evaluate: a reward model answers no questions"),
        ({"alignment_method": "rlhf"}, "reward: rlhf needs one"),
        ({"alignment_method": "rlhf", "reward": "gqa"}, "must be BENCHMARK.SCORE"),
        ({"alignment_method": "rlhf", "reward": {"model": "judge:v0"}}, "a reward model says nothing of what is asked"),
        ({"alignment_method": "rlhf", "reward": "gqa.accuracy", "batch": 6}, "no whole groups of num_generations: 8"),
        (
            {"alignment_method": "rlhf", "reward": "gqa.accuracy", "scale": {"strategy": "fsdp"}},
            "rlhf generates while it trains",
        ),
        ({"alignment_method": "ppo"}, "'dpo', 'rlhf' or 'reward'"),
        ({"betta": 1}, "betta"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_settings_that_cannot_be_are_refused(place: Path, change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        settings(place, **change)
