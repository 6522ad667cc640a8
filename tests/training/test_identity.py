"""What makes two trainings the same one: whatever changes the result, and nothing else."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import Benchmark, Request, Sample, Session, Task
from tests.training.trainings import arr_coc, carried_out, one_thread, workspace, world
from training import job as job_module
from training import loop
from training.aligning.settings import AlignStage
from training.job import Job
from training.microworld import build
from training.recipe import Result, carry_out
from training.stages import majority
from training.stages.arr_coc import ArrCocStage
from training.stages.majority import MajorityStage
from training.stages.pretrain import PretrainStage

__all__ = ["one_thread", "world"]

LEARN = {"name": "net", "steps": 2, "batch": 2}
STAGES = {
    "arr_coc": ArrCocStage.model_validate({**LEARN, "shares": {"gqa": 1}}),
    "rlhf": AlignStage.model_validate(
        {**LEARN, "alignment_method": "rlhf", "start": "./none", "reward": "gqa.accuracy", "num_generations": 2}
    ),
    "pretrain": PretrainStage.model_validate(
        {
            **LEARN,
            "shares": {"coco_captions": 1},
            "model": {"architecture": "arr_coc", "preset": "micro", "tokenizer": {"benchmarks": ["gqa"]}},
        }
    ),
    "majority": MajorityStage(benchmarks=("gqa",)),
}


@dataclass(frozen=True)
class Reworded:
    """A benchmark that asks in other words."""

    benchmark: Benchmark

    def __getattr__(self, name: str) -> Any:
        return getattr(self.benchmark, name)

    def request(self, sample: Sample, profile: str) -> Request:
        request = self.benchmark.request(sample, profile.removesuffix(" told otherwise"))
        return replace(request, prompt=request.prompt + " Please.")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    build(tmp_path / "data", images=4, evaluation_images=5)
    names = "".join(f"  {name}: {{data: {tmp_path / 'data' / name}}}\n" for name in ("gqa", "coco_captions"))
    (tmp_path / "benchmarks.yaml").write_text(f"benchmarks:\n{names}")
    made = Session(tmp_path / "home", tmp_path)
    try:
        yield made
    finally:
        made.database.close()


def digests(stage: str, session: Session) -> dict[str, str]:
    found: dict[str, str] = STAGES[stage].data_digests(session)
    return {name: digest for name, digest in found.items() if name.startswith("gqa")}


def alter(session: Session, change: Callable[[Task], Task]) -> None:
    """From now on the session gives other tasks."""
    one, several = session.benchmark, session.tasks
    session.__dict__["benchmark"] = lambda *given, **named: change(one(*given, **named))
    session.__dict__["tasks"] = lambda *given, **named: [change(task) for task in several(*given, **named)]


def picture(session: Session) -> Path:
    task = session.benchmark("gqa", split="train")
    image: Any = task.request(next(iter(task.samples()))).images[0]
    return Path(image.path)


@pytest.mark.parametrize("stage", STAGES)
def test_nothing_changed_is_the_same_training(stage: str, session: Session) -> None:
    assert digests(stage, session) == digests(stage, session) != {}


@pytest.mark.parametrize("stage", STAGES)
def test_another_prompt_is_another_training(stage: str, session: Session) -> None:
    before = digests(stage, session)
    alter(session, lambda task: replace(task, benchmark=Reworded(task.benchmark)))
    assert digests(stage, session) != before


@pytest.mark.parametrize("stage", ["arr_coc", "rlhf"])
def test_another_picture_is_another_training(stage: str, session: Session) -> None:
    before = digests(stage, session)
    file = picture(session)
    file.write_bytes(file.read_bytes() + b"\0")
    changed = digests(stage, session)
    file.unlink()
    absent = digests(stage, session)
    assert len({str(found) for found in (before, changed, absent)}) == 3


@pytest.mark.parametrize("stage", ["pretrain", "majority"])
def test_pictures_that_nobody_looks_at_change_nothing(stage: str, session: Session) -> None:
    before = digests(stage, session)
    picture(session).unlink()
    assert digests(stage, session) == before


def test_a_profile_is_part_of_it_whatever_it_asks(session: Session) -> None:
    alter(session, lambda task: replace(task, benchmark=Reworded(task.benchmark)))
    before = digests("majority", session)
    alter(session, lambda task: replace(task, profile=f"{task.profile} told otherwise"))
    assert digests("majority", session) != before


def test_a_picture_is_hashed_once(session: Session) -> None:
    asked = []
    hash_image = session.store.hash_image
    session.store.hash_image = lambda image: (asked.append(image.name), hash_image(image))[1]  # type: ignore[method-assign, func-returns-value]
    digests("arr_coc", session)
    assert len(asked) == len(set(asked)) > 1


@pytest.mark.parametrize("stage", ["arr_coc", "rlhf"])
def test_the_rules_of_a_reward_are_part_of_it(stage: str, session: Session) -> None:
    """Where answers are learnt from, it does not matter how others would be scored."""
    before = digests(stage, session)
    alter(session, lambda task: replace(task, protocol="another"))
    assert (digests(stage, session) == before) == (stage == "arr_coc")


def test_what_a_rewards_metric_depends_on_is_part_of_it(session: Session) -> None:
    def with_options(task: Task) -> Task:
        return replace(task, metrics=tuple(replace(choice, options={"more": 1}) for choice in task.metrics))

    class Fingerprinted:
        def __init__(self, fingerprint: str) -> None:
            self.fingerprint = fingerprint

    def with_file(content: str) -> Callable[[Task], Task]:
        def change(task: Task) -> Task:
            for choice in task.metrics:
                choice.__dict__["metric"] = Fingerprinted(content)
            return task

        return change

    found = [digests("rlhf", session)]
    for change in (with_file("1"), with_file("2")):
        alter(session, change)
        found.append(digests("rlhf", session))
    alter(session, lambda task: with_file("2")(with_options(task)))
    found.append(digests("rlhf", session))
    assert len({str(each) for each in found}) == len(found)


# ---------------------------------------------------------------- processes


def test_another_number_of_processes_goes_on_and_says_so(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The training is the same one, whose versions say by how many they were made."""
    settings = arr_coc(steps=4)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with workspace(tmp_path / "home", world) as session:
        for processes, said in (
            (1, []),
            (3, ["was trained by 1 process(es), goes on with 3: a step now has 6 samples"]),
        ):
            with monkeypatch.context() as patched:
                patched.setattr(loop, "WORLD", processes)
                patched.setattr(job_module, "WORLD", processes)
                patched.setattr(loop, "export", stop)
                with pytest.raises(KeyboardInterrupt):
                    carried_out(settings, session)
                assert Job.of(settings, session).metadata()["processes"] == processes
            assert [text.partition(": ")[2] for text in caplog.messages if "process(es)" in text] == said
        (training,) = session.trainings.all()
        assert training.facts["processes"] == 3


# ---------------------------------------------------------------- what changes no result

ASK = {"benchmarks": ["gqa"], "limit": 3, "every": 2, "batch": 3}
BEST = {**ASK, "best": "gqa.accuracy"}


def job(session: Session, **changes: Any) -> Job:
    return Job.of(ArrCocStage.model_validate({**LEARN, "shares": {"gqa": 1}, **changes}), session)


def test_how_many_prepare_batches_and_what_is_only_measured_change_no_training(session: Session) -> None:
    same = [{}, {"scale": {"workers": 3}}, {"evaluate": ASK}, {"evaluate": {**ASK, "limit": 2, "every": None}}]
    assert len({job(session, **changes).id for changes in same}) == 1
    other = [{}, {"scale": {"precision": "bfloat16"}}, {"evaluate": BEST}, {"evaluate": {**BEST, "limit": 2}}]
    assert len({job(session, **changes).id for changes in other}) == len(other)


def test_what_chooses_the_best_is_part_of_it(session: Session) -> None:
    """Its data, and the rules by which answers are scored; not where nothing is chosen."""
    found: dict[str, list[str]] = {"best": [], "only measured": []}

    def note() -> None:
        found["best"].append(job(session, evaluate=BEST).id)
        found["only measured"].append(job(session, evaluate=ASK).id)

    note()
    task = session.benchmark("gqa")
    image: Any = task.request(next(iter(task.samples()))).images[0]
    Path(image.path).write_bytes(Path(image.path).read_bytes() + b"\0")
    note()
    alter(session, lambda task: replace(task, protocol="another"))
    note()
    assert [len(set(ids)) for ids in found.values()] == [3, 1]


def test_a_model_that_was_finished_is_measured_anew_where_it_is_asked_otherwise(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    def settings(limit: int) -> ArrCocStage:
        return arr_coc(steps=2, evaluate={**ASK, "limit": limit})

    with workspace(tmp_path / "home", world) as session:
        with monkeypatch.context() as patched:
            patched.setattr("training.recipe._publish", stop)
            with pytest.raises(KeyboardInterrupt):
                carried_out(settings(3), session)
        made = carried_out(settings(4), session)
        assert made.version.metadata["scores"]["gqa.accuracy"]["n"] == 4
        assert len(session.trainings.all()) == 1


# ---------------------------------------------------------------- what is kept


def test_a_version_says_what_it_was_made_with(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """As runs do; a command line's secrets are not kept."""
    monkeypatch.setattr(sys, "argv", ["harness", "train", "track.api_key=abc123"])
    known = job(session).metadata()["environment"]
    assert known["distributions"]["torch"] == version("torch")
    assert known["distributions"]["transformers"] == version("transformers")
    assert {"git", "plugins", "python", "platform", "cpus", "command"} <= known.keys()
    assert (known["device"] == "cpu") == (not torch.accelerator.is_available())
    assert "abc123" not in json.dumps(known)


def test_a_result_that_another_training_had_is_found_again(session: Session) -> None:
    """The registry keeps equal files once, as the version of whoever was first."""
    runs = []

    def run(job: Job) -> Result:
        runs.append(job.id)
        return majority.run(job)

    first, second = (MajorityStage(benchmarks=("gqa",), words=words) for words in (50, 51))
    made = [carry_out(stage, run, session) for stage in (first, second, second, first)]
    assert len({Job.of(stage, session).id for stage in (first, second)}) == len(runs) == 2
    assert {str(each.version) for each in made} == {"majority:v0"}
    assert [each.fresh for each in made] == [True, True, False, False]

    third = carry_out(MajorityStage(benchmarks=("gqa",), words=1), run, session).version
    assert third.digest != made[0].version.digest
    session.checkpoints.alias("majority", "latest", "v1")
    session.checkpoints.delete("majority", "v0", aliased=True)
    again = carry_out(second, run, session)
    assert again.fresh, "what was deleted is not there, whatever was noted"
    assert again.version.digest == made[0].version.digest
