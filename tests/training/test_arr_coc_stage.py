"""The ARR-COC stage on a handful of made pictures."""

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from transformers import AutoModelForImageTextToText, AutoProcessor, set_seed

from arr_coc_model import ArrCocForConditionalGeneration, ArrCocProcessor
from arr_coc_model.balancing import Balancing
from harness import (
    ConfigError,
    DataError,
    DataSource,
    Generation,
    ImageError,
    ImageRef,
    Request,
    Sample,
    Session,
    read_yaml,
)
from training.arr_coc.alignment import Region, Scene, Vocabulary, alignment_loss, read_scenes
from training.arr_coc.collate import Collator
from training.arr_coc.distilling import gain_loss, two_splits
from training.arr_coc.steps import learning_rate, plan_step
from training.conversations import ConversationCollator
from training.job import Job
from training.lessons import Draws, read_pictures
from training.modelling.tokenizer import word_tokenizer
from training.resuming import newest_complete
from training.stages.arr_coc import ArrCocStage, make_trainer, run

COLOURS = {"red": (220, 30, 30), "blue": (30, 30, 220), "green": (30, 180, 30), "white": (240, 240, 240)}
TAIL = "\nAnswer in a word."


@dataclass(frozen=True)
class Drawn:
    """A picture of one colour."""

    colour: str
    name: str

    def read(self) -> bytes:
        encoded = io.BytesIO()
        Image.new("RGB", (40, 30), COLOURS[self.colour]).save(encoded, "PNG")
        return encoded.getvalue()


@dataclass(frozen=True)
class Made:
    """A benchmark of coloured pictures: questions, or captions."""

    name: str
    captions: bool
    data: DataSource
    empty: bool = False
    profile: str = "short"

    def samples(self) -> Iterator[Sample]:
        for index, colour in enumerate(() if self.empty else COLOURS):
            image = Drawn(colour, f"{self.name}/{index}.png")
            if self.captions:
                yield Sample(f"c{index}", (image,), "", (f"A {colour} wall.", f"All is {colour}."), colour)
            else:
                for question in ("What color is it?", "Which color has the wall?"):
                    yield Sample(f"{question}{index}", (image,), question, (colour,) * 10, colour)

    def request(self, sample: Sample) -> Request:
        prompt = sample.question + TAIL if sample.question else "Say what is there."
        return Request(sample.images, prompt, Generation(4))

    def digest(self) -> str:
        return f"digest of {self.name}"


class Benchmarks:
    """As much of a session as training needs."""

    def __init__(self, data: DataSource = DataSource(Path("made")), empty: bool = False) -> None:  # noqa: B008
        self.data = data
        self.empty = empty
        self.store = self

    def hash_image(self, image: ImageRef) -> str:
        return image.name

    def benchmark(self, name: str, *, split: str | None = None) -> Made:
        assert split == "train"
        return Made(name, captions=name == "told", data=self.data, empty=self.empty)


SESSION = cast(Session, Benchmarks())


def made(settings: ArrCocStage, session: Session, home: Path) -> Path:
    """The folder of the finished checkpoint, worked out in a workspace of its own."""
    workspace = Session(home)
    workspace.__dict__["benchmark"] = session.benchmark
    try:
        return run(Job.of(settings, workspace)).folder
    finally:
        workspace.database.close()


SETTINGS = ArrCocStage.model_validate(
    {
        "shares": {"asked": 3, "told": 1},
        "steps": 6,
        "batch": 2,
        "prompts": 3,
        "warmup": 2,
        "save": {"every": 3},
        "rare": 1,
        "instruction": 4,
        "router": {"start": 0.3, "every": 2, "hard": 0.8},
    }
)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AutoModelForImageTextToText.from_pretrained(folder).state_dict())


def test_a_picture_in_two_benchmarks_is_one() -> None:
    pictures = read_pictures(SESSION, ["asked", "told"], split="train")
    assert len(pictures) == 4
    assert [len(picture.lessons) for picture in pictures] == [3] * 4
    assert {lesson.benchmark for lesson in pictures[0].lessons} == {"asked", "told"}
    assert pictures[0].scene is None


def test_an_empty_split_is_an_error() -> None:
    with pytest.raises(DataError, match="made: the split 'train' of asked holds nothing to learn"):
        read_pictures(cast(Session, Benchmarks(empty=True)), ["asked"], split="train")


@pytest.mark.parametrize("references", [(), ("", " ")])
def test_a_sample_without_an_answer_is_named(references: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    samples = Made.samples
    monkeypatch.setattr(
        Made,
        "samples",
        lambda self: (msgspec.structs.replace(sample, references=references) for sample in samples(self)),
    )
    with pytest.raises(DataError, match=r"made: sample 'What color is it\?0' of asked has no answer"):
        read_pictures(SESSION, ["asked"], split="train")


def test_empty_answers_beside_others_are_not_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    samples = Made.samples
    monkeypatch.setattr(
        Made, "samples", lambda self: (msgspec.structs.replace(each, references=("", "a")) for each in samples(self))
    )
    pictures = read_pictures(SESSION, ["asked"], split="train")
    assert {lesson.answers for picture in pictures for lesson in picture.lessons} == {("a",)}


@dataclass(frozen=True)
class Spoilt:
    """A picture whose file is gone, or holds a part of it."""

    name: str
    content: bytes | None

    def read(self) -> bytes:
        if self.content is None:
            raise ImageError(f"{self.name}: there is no such file")
        return self.content


@pytest.mark.parametrize("content", [None, Drawn("red", "").read()[:50]], ids=["missing", "half"])
def test_a_picture_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    trainer = make_trainer(SETTINGS, read_pictures(SESSION, ["asked"], split="train"), tmp_path)
    drawn = replace(draws()[0], seen=(True, True))
    spoilt = replace(drawn, picture=replace(drawn.picture, image=Spoilt("pictures/7.png", content)))
    for collate in (trainer.data_collator, ConversationCollator(trainer.processor)):
        with pytest.raises(ImageError, match=r"pictures/7\.png: "):
            collate([drawn, spoilt])


def draws(**settings: Any) -> Draws:
    pictures = read_pictures(SESSION, ["asked", "told"], split="train")
    given: dict[str, Any] = {
        "shares": {"asked": 3, "told": 1}, "prompts": 2, "image_drop": 0.1, "length": 400, "seed": 0
    }  # fmt: skip
    return Draws(pictures, **{**given, **settings})


def test_draws_depend_on_seed_and_place_alone() -> None:
    first, second = draws(), draws()
    assert [second[place] for place in (7, 3, 5)] == [first[place] for place in (7, 3, 5)]
    assert [draws(seed=1)[place] for place in range(8)] != [first[place] for place in range(8)]


def test_every_picture_comes_once_an_epoch() -> None:
    drawn = draws()
    for epoch in range(3):
        assert len({drawn[4 * epoch + place].picture.image.name for place in range(4)}) == 4


def test_shares_and_dropped_pictures() -> None:
    drawn = [draws(prompts=1)[place] for place in range(400)]
    told = np.mean([draw.prompts[0].startswith("Say") for draw in drawn])
    dropped = np.mean([not draw.seen[0] for draw in drawn])
    assert told == pytest.approx(0.25, abs=0.06)
    assert dropped == pytest.approx(0.1, abs=0.04)


def test_the_tokenizer_keeps_instructions_whole_and_says_what_it_read() -> None:
    tokenizer = word_tokenizer(["What is it?" + TAIL, "Why?" + TAIL], ["A cat."], rare=1, instruction=2)
    assert tokenizer.tokenize("What is a cat?" + TAIL) == ["what", "is", "a", "cat", "?", "Answer in a word."]
    assert tokenizer.tokenize("What dog?") == ["what", "<unk>", "?"]
    assert tokenizer.decode(tokenizer("a cat")["input_ids"]) == "a cat"


def test_rare_words_are_unknown() -> None:
    tokenizer = word_tokenizer(["one two two"], ["three", "three"], rare=2, instruction=9)
    assert tokenizer.tokenize("one two three") == ["<unk>", "two", "three"]


def test_batches_come_picture_by_picture(tmp_path: Path) -> None:
    trainer = make_trainer(SETTINGS, read_pictures(SESSION, ["asked", "told"], split="train"), tmp_path)
    assert isinstance(trainer.data_collator, Collator)
    batch = trainer.data_collator([draws()[place] for place in range(3)])
    assert batch["pixel_values"].shape == (3, 3, 128, 128)
    assert not batch["described"].any()
    owners = batch["image_index"]
    assert bool(((owners == torch.arange(6) // 2) | (owners == -1)).all())


def test_targets_are_the_patches_that_a_box_touches() -> None:
    random = np.random.default_rng(0)
    tokenizer = word_tokenizer([], ["red wall dog"], rare=1, instruction=9)
    regions = []
    for word in ("red", "wall", "red", "dog", "unicorn"):
        left, top, width, height = random.uniform(0.01, 0.45, 4)
        regions.append(Region((word,), (left, top, left + width, top + height)))
    scene = Scene(tuple(regions))
    vocabulary = Vocabulary([scene], tokenizer)
    assert list(vocabulary.place) == ["dog", "red", "wall"]
    rows, cols = 6, 9
    target = vocabulary.targets([scene, None], (rows, cols))
    assert target.shape == (2, 3, rows * cols)
    assert not target[1].any()
    for word, place in vocabulary.place.items():
        for y in range(rows):
            for x in range(cols):
                touched = any(
                    region.box[0] < (x + 1) / cols and region.box[2] > x / cols
                    and region.box[1] < (y + 1) / rows and region.box[3] > y / rows
                    for region in regions if word in region.words
                )  # fmt: skip
                assert bool(target[0, place, y * cols + x]) == touched


def test_words_that_are_never_together_exclude_each_other() -> None:
    tokenizer = word_tokenizer([], ["red blue wall sunny"], rare=1, instruction=9)
    whole, half = (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 0.5, 1.0)
    scenes = [Scene((Region(("sunny",), whole), Region((colour, "wall"), half))) for colour in ("red", "blue")]
    vocabulary = Vocabulary(scenes, tokenizer)
    names = list(vocabulary.place)
    pairs = {(names[a], names[b]) for a, b in vocabulary.excluding.nonzero().tolist()}
    assert pairs == {("red", "blue"), ("blue", "red")}


def test_a_word_competes_with_those_it_excludes() -> None:
    """Against the definition, patch by patch and word by word."""
    likeness = torch.randn(3, 4, 5)
    excluding = torch.zeros(4, 4)
    excluding[0, 1] = excluding[1, 0] = 1
    target = torch.zeros(3, 4, 5)
    target[0, 0, :2] = target[0, 2, 1:3] = target[1, 1, 4] = target[1, 3, :] = 1
    described = torch.tensor([True, True, False])
    missed: dict[int, list[float]] = {}
    unsaid = []
    for picture in range(2):
        for patch in range(5):
            scores, true = likeness[picture, :, patch].double(), target[picture, :, patch].bool()
            for word in true.nonzero()[:, 0].tolist():
                rivals = [other for other in range(4) if excluding[word, other] and not true[other]]
                total = 1 + scores[[word, *rivals]].exp().sum()
                missed.setdefault(word, []).append(float(total.log() - scores[word]))
            open_words = [
                word for word in range(4)
                if not true[word] and not any(excluding[word, other] and true[other] for other in range(4))
            ]  # fmt: skip
            unsaid.append(float((1 + scores[open_words].exp().sum()).log()))
    expected = np.mean([np.mean(losses) for losses in missed.values()]) + np.mean(unsaid)
    found = alignment_loss(likeness, target, excluding, described)
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_pictures_without_a_scene_count_for_nothing() -> None:
    likeness = torch.randn(2, 3, 4, requires_grad=True)
    target, excluding = torch.zeros(2, 3, 4), torch.zeros(3, 3)
    target[0, 0, 0] = 1
    alignment_loss(likeness, target, excluding, torch.tensor([True, False])).backward()
    assert likeness.grad is not None
    assert likeness.grad[0].any()
    assert not likeness.grad[1].any()
    assert alignment_loss(likeness, target, excluding, torch.tensor([False, False])) == 0


def scene_graphs(folder: Path) -> Path:
    """Scene graphs of all pictures but one."""
    graphs = {
        colour: {
            "width": 40,
            "height": 30,
            "weather": "sunny",
            "objects": {"1": {"name": "wall", "attributes": [colour], "x": 0, "y": 0, "w": 20, "h": 30}},
        }
        for colour in list(COLOURS)[1:]
    }
    path = folder / "scenes.json"
    path.write_text(json.dumps(graphs), encoding="utf-8")
    return path


def test_scene_graphs_are_read_and_bad_ones_named(tmp_path: Path) -> None:
    scenes = read_scenes(scene_graphs(tmp_path))
    everywhere, wall = scenes["blue"].regions
    assert everywhere == Region(("sunny",), (0.0, 0.0, 1.0, 1.0))
    assert wall == Region(("wall", "blue"), (0.0, 0.0, 0.5, 1.0))
    with pytest.raises(DataError, match=r"absent\.json: cannot be read"):
        read_scenes(tmp_path / "absent.json")
    for content in ("[1", "[1]", '{"1": {"width": 4}}', '{"1": {"width": 0, "height": 1, "objects": {"1": {}}}}'):
        (tmp_path / "bad.json").write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match=r"bad\.json: not a scene graph file"):
            read_scenes(tmp_path / "bad.json")


def test_first_it_only_aligns(tmp_path: Path) -> None:
    scene_graphs(tmp_path)
    session = cast(Session, Benchmarks(DataSource(tmp_path)))
    settings = ArrCocStage.model_validate(
        {**SETTINGS.model_dump(), "alignment": {"benchmark": "asked", "scenes": "scenes.json", "first": 4}}
    )
    steps = [plan_step(settings, step) for step in range(6)]
    assert [step.budget is None for step in steps] == [True] * 4 + [False] * 2
    assert settings.data_digests(session).keys() == {"asked", "told", "scenes.json"}
    found = read_scenes(tmp_path / "scenes.json")
    scenes = {("asked", picture): scene for picture, scene in found.items()}
    pictures = read_pictures(session, ["asked", "told"], split="train", scenes=scenes)
    assert [picture.scene is not None for picture in pictures] == [False, True, True, True]
    trainer = make_trainer(settings, pictures, tmp_path)
    before = {name: value.clone() for name, value in trainer.taught.named_parameters()}
    batch = trainer.data_collator([trainer.train_dataset[place] for place in range(2)])
    trainer.compute_loss(trainer.taught, batch).backward()
    taught = {name.split(".")[0] for name, value in trainer.taught.named_parameters() if value.grad is not None}
    assert taught == {"vision_encoder", "knowing", "language_model"}
    learnt = [name for name, value in trainer.taught.named_parameters() if value.grad is not None]
    assert [name for name in learnt if name.startswith("language_model")] == [
        "language_model.model.embed_tokens.weight"
    ]
    finished = weights(made(settings, session, tmp_path / "run"))
    assert any(not torch.equal(value, finished[name]) for name, value in before.items() if name in finished)


def test_alignment_needs_its_scene_graphs(tmp_path: Path) -> None:
    session = cast(Session, Benchmarks(DataSource(hub="org/name", revision="0" * 40)))
    settings = ArrCocStage.model_validate(
        {**SETTINGS.model_dump(), "alignment": {"benchmark": "asked", "scenes": "scenes.json"}}
    )
    with pytest.raises(ConfigError, match="scene graphs need a folder"):
        made(settings, session, tmp_path)


def test_steps_are_hard_then_soft_then_straight_through() -> None:
    settings = SETTINGS.model_copy(update={"steps": 100})
    steps = [plan_step(settings, step) for step in range(100)]
    assert steps == [plan_step(settings, step) for step in range(100)]
    soft = [(index, step) for index, step in enumerate(steps) if step.gating is not None]
    assert [index for index, _ in soft] == list(range(30, 100, 2))
    assert {step.gating.hard for index, step in soft if step.gating and index < 80} == {False}
    assert {step.gating.hard for index, step in soft if step.gating and index >= 80} == {True}
    temperatures = [step.gating.temperature for _, step in soft if step.gating]
    assert temperatures == sorted(temperatures, reverse=True)
    budgets = [step.budget for step in steps if step.gating is None]
    assert min(budgets) >= settings.budgets.low
    assert max(budgets) <= settings.budgets.high


def test_the_learning_rate_starts_anew_when_the_language_model_joins() -> None:
    aligned = {"benchmark": "asked", "scenes": "scenes.json", "first": 40}
    settings = ArrCocStage.model_validate({**SETTINGS.model_dump(), "steps": 100, "warmup": 10, "alignment": aligned})
    rates = [learning_rate(settings, step) for step in range(100)]
    for phase in (rates[:40], rates[40:]):
        assert phase[0] == pytest.approx(0.1)
        assert max(phase) > 0.8
        assert max(phase) == max(phase[5:15])
        assert phase[-1] < 0.06
    plain = settings.model_copy(update={"alignment": None})
    assert np.argmax([learning_rate(plain, step) for step in range(100)]) < 15


def test_it_trains_and_the_checkpoint_answers(tmp_path: Path) -> None:
    folder = made(SETTINGS, SESSION, tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    processor = AutoProcessor.from_pretrained(folder)
    assert isinstance(model, ArrCocForConditionalGeneration)
    assert isinstance(processor, ArrCocProcessor)
    inputs = processor(images=[Image.new("RGB", (40, 30), "red")], text=["What color is it?" + TAIL])
    tokens, routing = model.answer(**inputs, max_new_tokens=2)
    assert tokens.shape[0] == 1
    assert routing is not None
    assert routing.visual_tokens is not None
    assert routing.visual_tokens.tolist() == [28]
    assert made(SETTINGS, SESSION, tmp_path) == folder


class Interrupted(RuntimeError):
    pass


@pytest.mark.parametrize(
    "broken", [pytest.param(False, id="clean", marks=pytest.mark.slow), pytest.param(True, id="half-written")]
)
def test_an_interrupted_training_ends_as_an_unbroken_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: bool
) -> None:
    whole = weights(made(SETTINGS, SESSION, tmp_path / "whole"))

    def stop(settings: ArrCocStage, step: int) -> Any:
        if step == 4:
            raise Interrupted
        return plan_step(settings, step)

    with monkeypatch.context() as patched:
        patched.setattr("training.arr_coc.trainer.plan_step", stop)
        with pytest.raises(Interrupted):
            made(SETTINGS, SESSION, tmp_path / "broken")
    (trainer,) = (tmp_path / "broken" / "training").glob("*/trainer")
    if broken:
        (trainer / "checkpoint-5").mkdir()
        (trainer / "checkpoint-5" / "trainer_state.json").write_text('{"global_step": 5', encoding="utf-8")
    assert newest_complete(trainer) == trainer / "checkpoint-3"
    resumed = weights(made(SETTINGS, SESSION, tmp_path / "broken"))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_schedule_than_its_own_is_refused() -> None:
    with pytest.raises(ValidationError, match="this stage has its own schedule"):
        ArrCocStage.model_validate({**SETTINGS.model_dump(), "schedule": "linear"})
    assert ArrCocStage.model_validate({**SETTINGS.model_dump(), "schedule": "cosine"}) == SETTINGS


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": {"token_budget": 2}}, "token_budget=2 is outside"),
        ({"budgets": {"low": 1, "high": 8}}, "token_budget=1 is outside"),
    ],
)
def test_a_model_that_cannot_be_is_a_configuration_error(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    settings = ArrCocStage.model_validate({**SETTINGS.model_dump(), **change})
    with pytest.raises(ConfigError, match=message):
        made(settings, SESSION, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"learning_rat": 1},
        {"preset": "macro"},
        {"shares": {}},
        {"shares": {"asked": 0}},
        {"budgets": {"low": 9, "high": 8}},
        {"gains": {}, "scale": {"strategy": "fsdp"}},
    ],
)
def test_settings_that_cannot_be_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        ArrCocStage.model_validate({**SETTINGS.model_dump(), **change})


def test_the_shipped_config_is_read() -> None:
    micro = read_yaml(Path("training/configs/arr_coc/micro.yaml"), ArrCocStage)
    assert micro.stage == "arr_coc"
    assert replace(plan_step(micro, 0), budget=8).gating is None


def stepped(tmp_path: Path, **change: Any) -> tuple[Any, dict[str, torch.Tensor]]:
    """A trainer and a batch of two pictures, the first step under way."""
    settings = ArrCocStage.model_validate({**SETTINGS.model_dump(exclude_unset=True), **change})
    torch.manual_seed(0)
    trainer = make_trainer(settings, read_pictures(SESSION, ["asked", "told"], split="train"), tmp_path)
    assert trainer.train_dataset is not None
    return trainer, trainer.data_collator([trainer.train_dataset[place] for place in range(2)])


def parts(trainer: Any) -> dict[str, float]:
    """The losses of the last step."""
    return {name: float(value) for name, value in trainer._since_logged[-1][1].items()}


def still(model: Any) -> Any:
    """In training, but without what makes its passes differ: noise, and batch norms of the batch."""
    for part in model.modules():
        part.training = part is model
    return model


ROUTING_PARTS = [
    "knowing.propositional.0.weight",
    "knowing.perspectival.0.weight",
    "knowing.participatory.weight",
    "balancing.weigh.weight",
    "attending.gain.0.weight",
]
SOFT = {"start": 0, "every": 1, "hard": 1, "floor": 0}


@pytest.mark.parametrize(("option", "hard"), [("none", False), ("none", True), ("distill", False), ("gains", False)])
def test_every_part_of_the_router_learns(tmp_path: Path, option: str, hard: bool) -> None:
    """From a soft step's answers, with and without each option."""
    options = {} if option == "none" else {option: {"weight": 1.0, "every": 1}}
    trainer, batch = stepped(tmp_path, router={**SOFT, "hard": 0 if hard else 1}, image_drop=0, **options)
    trainer.compute_loss(trainer.taught, batch).backward()
    assert parts(trainer).keys() == {"answer"} | ({option} - {"none"})
    for name in ROUTING_PARTS:
        gradient = trainer.taught.get_parameter(name).grad
        assert gradient is not None, name
        assert gradient.abs().max() > 0, name
    tensions = trainer.taught.balancing.tension.weight.grad
    assert (tensions.abs().amax(1) > 0).all(), "compress, exploit and focus"


def test_distillation_is_the_divergence_from_the_pass_with_all_tokens(tmp_path: Path) -> None:
    trainer, batch = stepped(
        tmp_path, router={"start": 1}, distill={"weight": 3, "temperature": 2}, budgets={"low": 16, "high": 16}
    )
    model = still(trainer.taught)
    loss = trainer.compute_loss(model, dict(batch))
    inputs = {name: value for name, value in batch.items() if name not in ("target", "described")}
    with torch.no_grad():
        few, full = (model(**inputs, token_budget=budget).logits.double() for budget in (16, 256))
    expected = []
    for row, at in (batch["labels"] != -100).nonzero().tolist():
        known, told = ((logits[row, at - 1] / 2).softmax(-1) for logits in (full, few))
        expected.append(float((known * (known / told).log()).sum()) * 4)
    found = parts(trainer)
    assert found["distill"] == pytest.approx(np.mean(expected), rel=1e-3)
    assert found["distill"] > 1e-4
    assert float(loss.detach()) == pytest.approx(found["answer"] + 3 * found["distill"])
    loss.backward()
    assert model.training, "as it was"


def test_a_model_that_sees_all_tokens_has_nothing_to_learn_from_itself(tmp_path: Path) -> None:
    trainer, batch = stepped(tmp_path, router={"start": 1}, distill={}, budgets={"low": 256, "high": 256})
    trainer.compute_loss(still(trainer.taught), batch)
    assert abs(parts(trainer)["distill"]) < 1e-6


def test_gains_are_held_against_the_drops_of_single_splits(tmp_path: Path) -> None:
    """Against each pair of splits asked row by row, each in a pass of its own."""
    trainer, batch = stepped(tmp_path, router={"start": 0, "every": 100}, gains={"weight": 2, "every": 1})
    model, tree = trainer.taught.eval(), trainer.taught.tree
    inputs = {name: value for name, value in batch.items() if name not in ("target", "described")}
    routing = model(**inputs, token_budget=20, learn_gains=True).routing
    rows, two = two_splits(routing.leaves, tree.splittable, np.random.default_rng(5))
    assert len(rows) == int((routing.visual_tokens > 0).sum())
    told, measured = [], []
    for row, pair in zip(rows.tolist(), two.tolist(), strict=True):
        taken = torch.zeros(len(batch["input_ids"]), tree.splits, dtype=torch.bool)
        taken[row] = routing.leaves[row].float() @ tree.ancestors > 0
        drops = []
        for split in (None, *pair):
            tried = taken.clone()
            if split is not None:
                assert routing.leaves[row, tree.splittable[split]], "a leaf, which can be split"
                tried[row, split] = True
            labels = torch.full_like(batch["labels"], -100)
            labels[row] = batch["labels"][row]
            mask = (batch["labels"] == -100).long().cumprod(1)
            asked = {**inputs, "labels": labels, "question_mask": mask}
            with torch.no_grad():
                drops.append(float(model(**asked, splits=tried).loss))
        told.append(float((routing.gains[row, pair[0]] - routing.gains[row, pair[1]]).detach()))
        measured.append((drops[0] - drops[1]) - (drops[0] - drops[2]))
    first, second = np.array(told), np.array(measured)
    expected = 1 - first @ second / np.linalg.norm(first) / np.linalg.norm(second)
    found = gain_loss(model, tree, inputs, routing, np.random.default_rng(5))
    assert float(found.detach()) == pytest.approx(expected, abs=0.02)
    found.backward()
    for name in ROUTING_PARTS:
        assert model.get_parameter(name).grad.abs().max() > 0, name
    compress, _, focus = model.balancing.tension.weight.grad.abs().amax(1)
    assert min(compress, focus) > 0


def test_gains_that_are_all_alike_have_no_steep_gradient(tmp_path: Path) -> None:
    trainer, batch = stepped(tmp_path, gains={"every": 1})
    model, tree = trainer.taught.eval(), trainer.taught.tree
    inputs = {name: value for name, value in batch.items() if name not in ("target", "described")}
    routing = model(**inputs, token_budget=20, learn_gains=True).routing
    slopes = []
    for spread in (1.0, 1e-6, 0.0):
        routing.gains = (routing.gains.detach() * spread).requires_grad_()
        loss = gain_loss(model, tree, inputs, routing, np.random.default_rng(1))
        loss.backward()
        slopes.append(float(routing.gains.grad.norm()))
    assert max(slopes) < 2 / 0.1
    assert loss.detach() == 1, "nothing is told"


def test_gains_learn_to_tell_which_split_helps(tmp_path: Path) -> None:
    """By the regression alone, the model otherwise held: its loss falls."""
    trainer, batch = stepped(tmp_path, gains={"every": 1})
    model, tree = trainer.taught.eval(), trainer.taught.tree
    inputs = {name: value for name, value in batch.items() if name not in ("target", "described")}
    optimizer = torch.optim.Adam(model.attending.parameters(), 0.02)
    found = []
    for _ in range(12):
        routing = model(**inputs, token_budget=7, learn_gains=True).routing
        loss = gain_loss(model, tree, inputs, routing, np.random.default_rng(1))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found.append(float(loss.detach()))
    assert found[-1] < found[0] - 0.3


def test_options_belong_to_their_steps() -> None:
    settings = ArrCocStage.model_validate(
        {
            **SETTINGS.model_dump(exclude_unset=True),
            "steps": 100,
            "distill": {"every": 10},
            "gains": {"every": 7},
            "alignment": {"benchmark": "asked", "scenes": "scenes.json", "first": 15},
        }
    )
    steps = [plan_step(settings, step) for step in range(100)]
    assert [index for index, step in enumerate(steps) if step.distilled] == list(range(20, 100, 10))
    assert [index for index, step in enumerate(steps) if step.measured] == list(range(35, 100, 7))
    plain = [plan_step(settings.model_copy(update={"distill": None, "gains": None}), step) for step in range(100)]
    assert [(step.budget, step.gating) for step in plain] == [(step.budget, step.gating) for step in steps]


def test_curves_say_what_the_steps_were_like(tmp_path: Path) -> None:
    settings = ArrCocStage.model_validate(
        {
            **SETTINGS.model_dump(exclude_unset=True),
            "steps": 4,
            "router": {"start": 0, "every": 2, "hard": 0.5},
            "distill": {"every": 2},
            "gains": {"every": 1},
            "track": {"every": 2},
            "save": {"every": 10},
        }
    )
    workspace = Session(tmp_path)
    workspace.__dict__["benchmark"] = SESSION.benchmark
    job = Job.of(settings, workspace)
    run(job)
    curves = workspace.trainings.curves(workspace.trainings.get(job.id))
    workspace.database.close()
    steps = [plan_step(settings, step) for step in range(4)]
    budgets = [step.budget for step in steps]
    assert curves["token_budget"] == [(2, np.mean(budgets[:2])), (4, np.mean(budgets[2:]))]
    assert curves["gated_share"] == [(2, 0.5), (4, 0.5)]
    assert curves["hard_share"] == [(2, 0.0), (4, 1.0)]
    assert [value for _, value in curves["temperature"]] == pytest.approx(
        [step.gating.temperature for step in steps if step.gating]
    )
    for name in ("answer_loss", "distill_loss", "gains_loss"):
        assert [step for step, _ in curves[name]] == [2, 4]
    total = [
        answer + settings.distill.weight * distil / 2 + settings.gains.weight * gains
        for (_, answer), (_, distil), (_, gains) in zip(
            curves["answer_loss"], curves["distill_loss"], curves["gains_loss"], strict=True
        )
        if settings.distill
        if settings.gains
    ]
    assert [value for _, value in curves["loss"]] == pytest.approx(total, rel=1e-3)


def test_a_finished_checkpoint_goes_on_learning(tmp_path: Path) -> None:
    first = made(SETTINGS, SESSION, tmp_path / "first")
    again = {"shares": {"asked": 1}, "steps": 1, "batch": 2, "start": str(first), "save": {"every": 1}}
    workspace = Session(tmp_path / "second")
    workspace.__dict__["benchmark"] = SESSION.benchmark
    job = Job.of(ArrCocStage.model_validate(again), workspace)
    assert list(job.parents) == [str(first)]
    before, after = weights(first), weights(run(job).folder)
    workspace.database.close()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)
    learnt = [name for name in before if "running" not in name and "batches" not in name]
    assert all((before[name] - after[name]).abs().max() < 1e-3 for name in learnt), "one step away, not made anew"
    with pytest.raises(ValidationError, match="leave out preset"):
        ArrCocStage.model_validate({**again, "preset": "micro"})


def test_the_batches_of_a_step_count_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers differ in length, so a mean of batches' means would be another gradient."""
    seen = []
    for batch, accumulate in ((4, 1), (2, 2), (1, 4)):
        changed = {"batch": batch, "accumulate": accumulate, "steps": 1, "router": {"start": 1}, "track": {"every": 1}}
        settings = ArrCocStage.model_validate({**SETTINGS.model_dump(), **changed})
        set_seed(0)
        pictures = read_pictures(SESSION, ["asked", "told"], split="train")
        trainer = make_trainer(settings, pictures, tmp_path / str(batch))
        for module in trainer.taught.modules():
            if isinstance(module, Balancing):  # which explores
                monkeypatch.setattr(module, "train", lambda mode=True, module=module: module)
                module.training = False
            if isinstance(module, torch.nn.BatchNorm2d):  # whose statistics are those of a batch
                monkeypatch.setattr(module, "forward", lambda features: features)
        trainer.train()
        seen.append([trainer.state.log_history[0][name] for name in ("loss", "answer_loss", "grad_norm")])
    assert seen[1] == pytest.approx(seen[0], rel=1e-5)
    assert seen[2] == pytest.approx(seen[0], rel=1e-5)
