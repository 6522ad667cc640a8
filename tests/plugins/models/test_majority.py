"""The `majority` plugin and the stage that makes its checkpoints: what one writes the other reads."""

import json
import pickle
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from harness import CheckpointError, DataError, Generation, Output, Request, Sample, UnknownName
from plugins.models.majority import Majority, Table
from tests.plugins.models.asking import Folders, answers
from training.job import Job
from training.stages import majority as stage
from training.stages.majority import MajorityStage, learn, typical

INSTRUCTION = "\nAnswer the question using a single word or phrase."
CAPTION = "Provide a one-sentence caption for the provided image."


def learnt(folder: Path, pairs: Sequence[tuple[str, Sequence[str]]], words: int = 5) -> Any:
    learn(pairs, words=words).save(folder)
    return Table.read(folder)


def test_the_longest_known_words_answer(tmp_path: Path) -> None:
    pairs = (
        [("What color is it?", ["red"])] * 3 + [("what color are they", ["blue"])] * 2 + [("is it big", ["yes"])] * 4
    )
    table = learnt(tmp_path, pairs)
    assert table.answer("what color") == table.answer("What  COLOR was that?" + INSTRUCTION) == "red"
    assert table.answer("what color are these" + INSTRUCTION) == "blue"
    assert table.answer("is it big" + INSTRUCTION) == table.answer("never seen") == table.answer("") == "yes"


def test_a_question_has_one_vote(tmp_path: Path) -> None:
    """Ten people who agree on one question weigh as much as one who is asked another."""
    pairs = [("what is this", ["cat"] * 10), ("what is this", ["dog"]), ("what is this", ["dog", "cow"])]
    assert learnt(tmp_path, pairs).answer("what is this") == "dog"


def test_ties_fall_the_same_way_in_any_order(tmp_path: Path) -> None:
    pairs = [("what", ["b"] * 3 + ["a"] * 3 + ["c"] * 4), ("what", ["a"] * 3 + ["b"] * 3 + ["d"] * 4)]
    assert {learnt(tmp_path, order).answer("what") for order in (pairs, pairs[::-1])} == {"a"}


def test_the_saved_table_answers_like_counting_anew(tmp_path: Path) -> None:
    """Words that change nothing are not saved; the oracle counts over all questions for every prompt."""
    dice = random.Random(0)
    questions = [" ".join(dice.choices("abc", k=dice.randint(1, 5))) for _ in range(300)]
    pairs = [(question, [dice.choice(["yes", "no", "2"])]) for question in questions]
    table = learnt(tmp_path, pairs, words=3)

    def count_anew(prompt: str) -> str:
        words = prompt.split()
        for size in range(min(3, len(words)), -1, -1):
            votes = Counter(answer for asked, (answer,) in pairs if asked.split()[:size] == words[:size])
            if votes:
                return min(votes, key=lambda answer: (-votes[answer], answer))
        raise AssertionError

    prompts = [" ".join(dice.choices("abcd", k=dice.randint(1, 6))) for _ in range(300)]
    assert [table.answer(prompt) for prompt in prompts] == [count_anew(prompt) for prompt in prompts]
    every = {" ".join(question.split()[:size]) for question in questions for size in range(1, 4)}
    assert len(table.answers) < len(every)


def test_the_typical_caption_is_like_the_others() -> None:
    captions = [
        ["a dog runs on grass", "a brown dog on the grass"],
        ["a dog on grass", "two dogs play"],
        ["a plane flies", "an airplane in the sky"],
        ["an elephant paints a picture", "zebras"],
    ]
    assert typical(captions) == "a dog on grass"
    assert typical([list(reversed(of_one)) for of_one in reversed(captions)]) == "a dog on grass"


def test_the_typical_caption_beats_others_under_the_official_score() -> None:
    """The oracle is pycocoevalcap's CIDEr of one caption for all pictures."""
    scorer = pytest.importorskip("pycocoevalcap.cider.cider_scorer")
    path = Path(__file__).parents[4] / "shared" / "data" / "okvqa_real" / "captions_val2014.json"
    if not path.is_file():
        pytest.skip(f"the reference data is not at {path.parent}")
    captions: dict[int, list[str]] = {}
    for record in json.loads(path.read_text())["annotations"]:
        captions.setdefault(record["image_id"], []).append(record["caption"].lower().strip(" ."))
    pictures = list(captions.values())

    def cider(caption: str) -> float:
        score = scorer.CiderScorer(n=4, sigma=6.0)
        for references in pictures:
            score += (caption, references)
        return float(score.compute_score()[0])

    others = [cider(of_one[0]) for of_one in pictures[::12]]
    assert cider(typical(pictures)) > max(others)


@dataclass(frozen=True)
class Task:
    """What a session gives for a benchmark."""

    questions: Sequence[tuple[str, Sequence[str]]]
    profile: str = "short"

    def digest(self) -> str:
        return str(len(self.questions))

    def samples(self) -> Iterator[Sample]:
        for index, (question, references) in enumerate(self.questions):
            yield Sample(str(index), (), question, tuple(references), str(index))

    def request(self, sample: Sample) -> Request:
        return Request((), sample.question + INSTRUCTION if sample.question else CAPTION, Generation(16))


@dataclass(frozen=True)
class Workspace:
    """The part of a session that a stage reads."""

    benchmarks: dict[str, Task]
    home: Path

    def benchmark(self, name: str, *, split: str | None = None) -> Task:
        assert split == "train"
        return self.benchmarks[name]


def test_a_stage_makes_a_checkpoint_that_answers(tmp_path: Path) -> None:
    session: Any = Workspace(
        {
            "asked": Task([("Is it red?", ["yes", "yes"]), ("Is it blue?", ["yes"]), ("How many?", ["2"])]),
            "told": Task([("", ["a red cube", "a cube"]), ("", ["a cube", "a blue cube"]), ("", ["it rains"])]),
        },
        tmp_path,
    )
    settings = MajorityStage(benchmarks=("asked", "told"))
    assert settings.data_digests(session).keys() == {"asked", "told"}
    folder = stage.run(Job.of(settings, session)).folder

    store: Any = Folders({"majority:latest": folder})
    spec = Majority().resolve("latest", {}, store)
    assert spec.version == "v1"
    prompts = ["Is it green?" + INSTRUCTION, "how many are there?" + INSTRUCTION, CAPTION, "why?"]
    requests = [Request((), prompt, Generation(16)) for prompt in prompts]
    assert answers(spec, requests, 3) == [Output("yes"), Output("2"), Output("a cube"), Output("yes")]
    assert pickle.loads(pickle.dumps(spec)) == spec


def test_captions_alone_are_enough(tmp_path: Path) -> None:
    session: Any = Workspace(
        {"told": Task([("", ["a cube"]), ("", ["a cube", "a ball"]), ("", ["it rains"])])}, tmp_path
    )
    table = Table.read(stage.run(Job.of(MajorityStage(benchmarks=("told",)), session)).folder)
    assert table.answer(CAPTION) == table.fallback == "a cube"


def test_nothing_to_learn(tmp_path: Path) -> None:
    session: Any = Workspace({"asked": Task([("Is it red?", [])])}, tmp_path)
    with pytest.raises(DataError, match="asked: nothing to learn in the split 'train'"):
        stage.run(Job.of(MajorityStage(benchmarks=("asked",)), session))


def test_the_shipped_config_is_one() -> None:
    from harness import read_yaml

    settings = read_yaml(Path(__file__).parents[3] / "training" / "configs" / "majority.yaml", MajorityStage)
    assert (settings.stage, settings.name, settings.split) == ("majority", "majority", "train")


def test_an_unknown_key_is_an_error() -> None:
    with pytest.raises(ValidationError, match="splt"):
        MajorityStage.model_validate({"benchmarks": ["gqa"], "splt": "train"})


def test_none_was_made_yet() -> None:
    store: Any = Folders({})
    with pytest.raises(CheckpointError, match=r"majority:latest.*harness train training/configs/majority\.yaml"):
        Majority().resolve("latest", {}, store)


def test_it_has_no_options(tmp_path: Path) -> None:
    store: Any = Folders({})
    with pytest.raises(UnknownName, match="unknown option 'dtype'"):
        Majority().resolve(str(tmp_path), {"dtype": "float32"}, store)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cannot be read"),
        ("{", "the file: Invalid JSON"),
        ('{"version": 2, "answers": {}, "fallback": ""}', "version"),
        ('{"version": 1, "answers": {"is": 1}, "fallback": ""}', r"answers\.is"),
        ('{"version": 1, "answers": {}, "fallback": "", "more": 1}', "more"),
    ],
)
def test_a_malformed_file(tmp_path: Path, content: str | None, message: str) -> None:
    if content is not None:
        (tmp_path / "majority.json").write_text(content)
    else:
        (tmp_path / "other").write_text("")
    store: Any = Folders({})
    with pytest.raises(CheckpointError, match=message) as caught:
        Majority().resolve(str(tmp_path), {}, store).load("cpu")
    assert str(tmp_path / "majority.json") in str(caught.value)


def test_no_framework_is_imported() -> None:
    program = (
        "import sys, plugins.models, plugins.models.majority\n"
        "print(sorted({'torch', 'transformers', 'numpy'} & set(sys.modules)))"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
