from pathlib import Path

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor

from arr_coc_model import ArrCocProcessor


def test_prompts_are_padded_on_the_left(processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    batch = processor(images=pictures[:2], text=["what color", "is the cube red"])
    assert batch["pixel_values"].shape == (2, 3, 64, 64)
    assert batch["image_index"].tolist() == [0, 1]
    assert batch["attention_mask"].tolist() == [[0, 0, 1, 1, 1], [1] * 5]
    assert (batch["input_ids"] == processor.image_token_id).nonzero().tolist() == [[0, 2], [1, 0]]


def test_a_placeholder_stays_where_it_is(processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    batch = processor(images=pictures[0], text="is the <image> red")
    assert processor.tokenizer.convert_ids_to_tokens(batch["input_ids"][0]) == ["is", "the", "<image>", "red"]


def test_without_pictures(processor: ArrCocProcessor) -> None:
    assert set(processor(text=["is the cube red", "what"])) == {"input_ids", "attention_mask"}


def test_prompts_share_pictures_or_have_none(processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    batch = processor(images=pictures[:2], text=["what", "is", "the", "cube"], image_index=[1, 1, -1, 0])
    assert batch["pixel_values"].shape[0] == 2
    marked = (batch["input_ids"] == processor.image_token_id).any(1)
    assert torch.equal(marked, batch["image_index"] >= 0)


def test_labels_hold_the_answer_and_its_end_alone(processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    prompts, answers = ["what color is the cube ?", "is the cube red"], ["red", "yes no"]
    batch = processor(images=pictures[:2], text=prompts, answers=answers)
    learnt = [row[row != -100] for row in batch["labels"]]
    assert processor.batch_decode(learnt) == ["red </s>", "yes no </s>"]
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        assert torch.equal(ids[labels != -100], labels[labels != -100])
    prompt = processor(images=pictures[:2], text=prompts)
    assert torch.equal(batch["input_ids"][0][batch["labels"][0] == -100], prompt["input_ids"][0])


@pytest.mark.parametrize(
    ("count", "prompts", "index", "message"),
    [
        (2, ["what"], None, "2 pictures for 1 prompts"),
        (1, ["what", "is"], [0], "each of 2 prompts"),
        (1, ["what"], [1], "a picture below 1"),
        (0, ["what <image>"], None, "1 <image> in a prompt with 0 picture"),
        (1, ["<image> what <image>"], None, "2 <image> in a prompt with 1 picture"),
    ],
)
def test_what_does_not_fit_is_refused(
    processor: ArrCocProcessor,
    pictures: list[Image.Image],
    count: int,
    prompts: list[str],
    index: list[int] | None,
    message: str,
) -> None:
    with pytest.raises(ValueError, match=message):
        processor(images=pictures[:count], text=prompts, image_index=index)


def test_answers_must_be_as_many_as_prompts(processor: ArrCocProcessor) -> None:
    with pytest.raises(ValueError, match="2 prompts but 1 answers"):
        processor(text=["what", "is"], answers=["red"])


def test_it_is_saved_and_loaded(processor: ArrCocProcessor, pictures: list[Image.Image], tmp_path: Path) -> None:
    processor.save_pretrained(tmp_path)
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, ArrCocProcessor)
    before, after = (each(images=pictures[:1], text=["is the cube red"]) for each in (processor, loaded))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
