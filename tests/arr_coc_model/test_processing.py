from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoProcessor
from trl.trainer.dpo_trainer import DataCollatorForVisionPreference

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


TEMPLATE = (
    "{% for message in messages %}{% for part in message.content %}"
    "{{ '<image> ' if part.type == 'image' else part.text }}{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %} ?{% endif %}"
)


def test_it_takes_what_other_processors_take(processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    text = ["what color", "is the cube red"]
    plain = processor(images=pictures[:2], text=text)
    styled = processor(
        images=[[picture] for picture in pictures[:2]],
        text=text,
        text_kwargs={"padding": True, "padding_side": "right"},
        images_kwargs={"size": {"height": 32, "width": 32}},
        return_tensors="pt",
    )
    assert styled["attention_mask"].tolist() == [[1, 1, 1, 0, 0], [1] * 5]
    assert torch.equal(styled["input_ids"][0][:3], plain["input_ids"][0][2:])
    assert styled["pixel_values"].shape == (2, 3, 32, 32)
    assert "image_index" not in styled, "loops that repeat rows would not repeat it"
    mixed = processor(images=[[pictures[0]], [], [pictures[1]]], text=["what", "color", "is"])
    assert (mixed["input_ids"] == processor.image_token_id).any(1).tolist() == [True, False, True]
    assert len(mixed["pixel_values"]) == 2
    rows = processor(text=text, padding=False, return_tensors=None)["input_ids"]
    assert [len(row) for row in rows] == [2, 4]
    assert processor(text=text, truncation=True, max_length=3)["input_ids"].shape == (2, 3)


def test_a_chat_template_gives_lists_or_tensors(processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    talks = [
        [{"role": "user", "content": [{"type": "image", "image": picture}, {"type": "text", "text": text}]}]
        for picture, text in zip(pictures, ["what color", "is the cube red"], strict=False)
    ]
    asked = {"chat_template": TEMPLATE, "add_generation_prompt": True, "tokenize": True, "return_dict": True}
    lists = processor.apply_chat_template(talks, **asked)
    assert [processor.decode(ids) for ids in lists["input_ids"]] == [
        "<image> what color ?",
        "<image> is the cube red ?",
    ]
    tensors = processor.apply_chat_template(talks, return_tensors="pt", **asked)
    assert tensors["attention_mask"].tolist() == [[0, 0, 1, 1, 1, 1], [1] * 6]
    assert tensors["pixel_values"].shape == (2, 3, 64, 64)


def test_preference_pairs_are_collated_by_trl(processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    pairs = [
        {"images": [picture], "prompt": f"<image> {prompt}", "chosen": "red </s>", "rejected": "yes no </s>"}
        for picture, prompt in zip(pictures, ["what color", "is the cube red"], strict=False)
    ]
    batch = DataCollatorForVisionPreference(processor)(pairs)
    assert batch["pixel_values"].shape == (4, 3, 64, 64)
    completions = [ids[mask.bool()] for ids, mask in zip(batch["input_ids"], batch["completion_mask"], strict=True)]
    assert processor.batch_decode(completions) == ["red </s>"] * 2 + ["yes no </s>"] * 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"text": ["what", "is the"], "padding": False}, "several lengths make no tensor"),
        ({"text": "what", "videos": [1]}, "no videos"),
        ({"text": ["what"], "images": [[1, 2]]}, "one picture a text"),
        ({}, "give text="),
    ],
)
def test_what_it_cannot_do_is_said(processor: ArrCocProcessor, asked: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        processor(**asked)
