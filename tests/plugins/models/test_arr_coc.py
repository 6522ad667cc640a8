"""The `arr-coc` plugin, on a tiny model with random weights."""

import json
import math
import pickle
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from arr_coc_model import TENSIONS, ArrCocForConditionalGeneration
from harness import CheckpointError, DataError, FileImage, ImageError, Output, Request, UnknownName, UsageError, decode
from plugins.models.arr_coc import ArrCoc
from tests.plugins.models.asking import QUESTIONS, Folders, answers, ask, loaded

PLUGIN = ArrCoc()
STORE: Any = Folders({})
FULL = 256


def resolve(folder: Path, **options: str) -> Any:
    return PLUGIN.resolve(str(folder), options, STORE)


def mixed(pictures: Sequence[FileImage]) -> list[Request]:
    """Prompts of unequal length; several about one picture, some about none."""
    shown = [pictures[:1], pictures[1:2], (), pictures[:1], pictures[4:5], pictures[:1], pictures[5:6]]
    return [ask(shown[index % 7], QUESTIONS[index % 5]) for index in range(32)]


def facts(output: Output) -> tuple[Any, ...]:
    usage = output.usage
    return (
        output.text,
        usage.prompt_tokens,
        usage.visual_tokens,
        usage.full_visual_tokens,
        usage.generated_tokens,
        output.trace,
    )


def test_batches_of_any_size_give_the_same_answers(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    requests = mixed(pictures)
    alone, together = answers(resolve(tiny_arr_coc), requests, 1), answers(resolve(tiny_arr_coc), requests, 16)
    assert [facts(output)[:5] for output in alone] == [facts(output)[:5] for output in together]
    # The same question about the same picture comes back after 35 requests only.
    assert len({output.text for output in alone}) > len(requests) * 2 // 3
    for one, other in zip(alone, together, strict=True):
        assert (one.trace is None) == (other.trace is None)
        if one.trace is not None:
            assert one.trace.maps["token_budget"] == other.trace.maps["token_budget"]
            for name, value in one.trace.scalars.items():
                assert other.trace.scalars[name] == pytest.approx(value, abs=2e-3)


def test_batches_of_real_photographs_give_the_same_answers(
    tiny_arr_coc: Path, photographs: Sequence[FileImage]
) -> None:
    requests = [ask([photographs[index // 2]], QUESTIONS[index % 5]) for index in range(48)]
    texts = [output.text for output in answers(resolve(tiny_arr_coc), requests, 1)]
    assert texts == [output.text for output in answers(resolve(tiny_arr_coc), requests, 16)]
    assert len(set(texts)) > 24


def test_an_answer_is_what_the_model_says(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    """The oracle is the model's own `answer` on one sample."""
    processor, model = loaded(tiny_arr_coc)
    end = processor.tokenizer.eos_token_id
    for picture, question in zip(pictures, QUESTIONS, strict=False):
        inputs = processor(images=[decode(picture)], text=[question])
        tokens, routing = model.answer(**inputs, max_new_tokens=8, do_sample=False)
        (output,) = answers(resolve(tiny_arr_coc), [ask([picture], question)], 1)
        assert output.text == processor.decode(tokens[0], skip_special_tokens=True)
        assert output.usage.generated_tokens == [*tokens[0].tolist(), end].index(end)
        assert output.usage.prompt_tokens == inputs["input_ids"].shape[1] - 1
        assert output.usage.visual_tokens == int(routing.visual_tokens[0])
        assert output.usage.seconds > 0


@pytest.mark.parametrize("budget", [4, 28, 64, FULL])
def test_a_budget_bounds_the_visual_tokens(tiny_arr_coc: Path, pictures: Sequence[FileImage], budget: int) -> None:
    for output in answers(resolve(tiny_arr_coc, token_budget=str(budget)), [ask([image]) for image in pictures], 8):
        assert budget - 3 <= output.usage.visual_tokens <= budget
        assert output.usage.full_visual_tokens == FULL


def test_the_trace_tells_where_the_tokens_went(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    requests = [ask([image]) for image in pictures[:4]]
    for output in answers(resolve(tiny_arr_coc), requests, 4):
        assert output.trace is not None
        assert set(output.trace.maps) == {
            "relevance_propositional",
            "relevance_perspectival",
            "relevance_participatory",
            "token_budget",
            "level_of_detail",
        }
        for grid in output.trace.maps.values():
            assert [len(row) for row in grid] == [16] * 16
        spent = sum(map(sum, output.trace.maps["token_budget"]))
        assert spent == pytest.approx(output.usage.visual_tokens, abs=1e-9)
        assert {level for row in output.trace.maps["level_of_detail"] for level in row} <= {0.0, 1.0, 2.0, 3.0}
        assert all(0 <= output.trace.scalars[tension] <= 1 for tension in TENSIONS)
        assert all(math.isfinite(value) for value in output.trace.scalars.values())
        json.dumps(output.trace.maps)


def test_without_a_picture_nothing_visual_is_read(tiny_arr_coc: Path) -> None:
    for output in answers(resolve(tiny_arr_coc), [ask([], question) for question in QUESTIONS], 5):
        assert (output.usage.visual_tokens, output.usage.full_visual_tokens, output.trace) == (0, 0, None)


def test_questions_about_one_picture_share_its_encoding(
    tiny_arr_coc: Path, tmp_path: Path, pictures: Sequence[FileImage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same bytes under another name are the same picture."""
    copy = tmp_path / "copy.png"
    shutil.copy(pictures[0].path, copy)
    encoded: list[int] = []
    whole = ArrCocForConditionalGeneration.answer

    def counted(model: Any, *args: Any, **kwargs: Any) -> Any:
        encoded.append(len(kwargs["pixel_values"]))
        return whole(model, *args, **kwargs)

    monkeypatch.setattr(ArrCocForConditionalGeneration, "answer", counted)
    shown = [pictures[0], pictures[1], FileImage(copy), pictures[0], pictures[1]]
    answers(resolve(tiny_arr_coc), [ask([image], QUESTIONS[index]) for index, image in enumerate(shown)], 5)
    assert encoded == [2]


def test_what_is_prepared_can_be_sent_elsewhere(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    spec = pickle.loads(pickle.dumps(resolve(tiny_arr_coc, token_budget="28")))
    preparer = spec.preparer()
    prepared = pickle.loads(pickle.dumps(preparer.prepare(ask(pictures[:1]))))
    assert prepared.cost == prepared.ids.shape[1] - 1 + 28
    assert isinstance(spec.load("cpu").generate(preparer.collate([prepared]))[0], Output)


def test_options_are_part_of_the_identity(tiny_arr_coc: Path) -> None:
    variants: list[dict[str, str]] = [{}, {"token_budget": "28"}, {"token_budget": "64"}, {"dtype": "bfloat16"}]
    assert len({resolve(tiny_arr_coc, **options).fingerprint for options in variants}) == 4


def test_other_precisions_answer_too(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    for options in ({"dtype": "bfloat16"}, {"attn": "eager"}):
        outputs = answers(resolve(tiny_arr_coc, **options), mixed(pictures)[:4], 4)
        assert all(isinstance(output, Output) for output in outputs)


def test_a_checkpoint_of_the_registry(tiny_arr_coc: Path) -> None:
    store: Any = Folders({"arr-coc:production": tiny_arr_coc})
    spec = PLUGIN.resolve("production", {}, store)
    assert (spec.version, spec.digest) == ("v1", resolve(tiny_arr_coc).digest)


def test_none_was_made_yet() -> None:
    with pytest.raises(CheckpointError, match=r"arr-coc:latest: .*harness train training/configs/arr_coc/micro\.yaml"):
        PLUGIN.resolve("latest", {}, STORE)


def test_another_model(tiny_llava: Path) -> None:
    spec = resolve(tiny_llava, token_budget="28")
    for act in (spec.preparer, lambda: spec.load("cpu")):
        with pytest.raises(CheckpointError, match=f"{tiny_llava}: a 'llava' model, not ARR-COC; name it hf:"):
            act()


def test_several_pictures_are_refused(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    with pytest.raises(DataError, match="2 pictures in one question"):
        resolve(tiny_arr_coc).preparer().prepare(ask(pictures[:2]))


def test_an_unreadable_picture_fails_alone(tiny_arr_coc: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        resolve(tiny_arr_coc).preparer().prepare(ask([FileImage(tmp_path / "broken.jpg")]))


def test_a_way_of_knowing_is_taken_out(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    requests = [ask([image]) for image in pictures[:4]]
    for output in answers(resolve(tiny_arr_coc, perspectival="0"), requests, 4):
        weights = [output.trace.scalars[f"weight_{way}"] for way in ("propositional", "perspectival", "participatory")]
        assert weights[1] == 0
        assert sum(weights) == pytest.approx(1, abs=2e-3)
    for output in answers(resolve(tiny_arr_coc, propositional="0", perspectival="0"), requests, 4):
        assert output.trace.scalars["weight_participatory"] == 1


def test_a_blocks_tokens_are_bounded(tiny_arr_coc: Path, pictures: Sequence[FileImage]) -> None:
    """Seven of 28 tokens at least for each of four root regions: as many for each."""
    for output in answers(resolve(tiny_arr_coc, min_tokens_per_patch="7"), [ask([image]) for image in pictures[:4]], 4):
        spent = output.trace.maps["token_budget"]
        blocks = [sum(sum(row[x : x + 8]) for row in spent[y : y + 8]) for y in (0, 8) for x in (0, 8)]
        assert blocks == pytest.approx([7, 7, 7, 7])


def test_what_an_ablation_changes_is_part_of_the_identity(tiny_arr_coc: Path) -> None:
    variants: list[dict[str, str]] = [{}, {"perspectival": "0"}, {"propositional": "0"}, {"max_tokens_per_patch": "16"}]
    assert len({resolve(tiny_arr_coc, **options).fingerprint for options in variants}) == 4


def test_ablations_that_cannot_be(tiny_arr_coc: Path) -> None:
    with pytest.raises(UsageError, match="perspectival=much: not a number"):
        resolve(tiny_arr_coc, perspectival="much")
    with pytest.raises(UsageError, match="perspectival=-1: a finite number that is not below 0"):
        resolve(tiny_arr_coc, perspectival="-1")
    nothing = {"propositional": "0", "perspectival": "0", "participatory": "0"}
    with pytest.raises(UsageError, match="not all zero"):
        resolve(tiny_arr_coc, **nothing).load("cpu")
    with pytest.raises(UsageError, match=r"min_tokens_per_patch=10: token_budget=28 is outside 40\.\.256"):
        resolve(tiny_arr_coc, min_tokens_per_patch="10").load("cpu")


@pytest.mark.parametrize("text", ["-1", "0", "many", "2.5", "²"])
def test_a_budget_that_is_no_number(tiny_arr_coc: Path, text: str) -> None:
    with pytest.raises(UsageError, match=f"token_budget={text}: not a number"):
        resolve(tiny_arr_coc, token_budget=text)


@pytest.mark.parametrize("budget", [3, FULL + 1])
def test_a_budget_that_no_picture_can_have(tiny_arr_coc: Path, budget: int) -> None:
    with pytest.raises(UsageError, match=rf"token_budget={budget} is outside 4\.\.256"):
        resolve(tiny_arr_coc, token_budget=str(budget)).load("cpu")


def test_unknown_options(tiny_arr_coc: Path) -> None:
    with pytest.raises(UnknownName, match=r"unknown option 'token_budgt' \(did you mean 'token_budget'"):
        resolve(tiny_arr_coc, token_budgt="28")
