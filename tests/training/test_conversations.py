"""What is learnt of a conversation, token by token, against what the harness asks at inference."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_models import IMAGE, make_tiny_arr_coc, make_tiny_idefics3, make_tiny_llava, make_tokenizer
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    PaliGemmaProcessor,
    PreTrainedTokenizerFast,
)
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from harness import ConfigError, DataError, Generation, ImageError, Request
from plugins.models.arr_coc import QuestionPreparer
from plugins.models.hf import ProcessorPreparer
from training.conversations import IGNORED, ConversationCollator, check_lessons
from training.lessons import Draw, Lesson, Picture

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% if message['content'] is string %}"
    "{{ message['content'] }}{% else %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""A turn of its own for each, ended by a token and a new line."""
LLAVA = (
    "{{ bos_token }}{% for message in messages %}{{ message['role'] | upper }}: {% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<image>\n{% else %}{{ part['text'] }}{% endif %} {% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
"""As LLaVA-1.5's on the hub: nothing ends an answer, and the first token stands in the template."""
ENDING = (
    "{% for message in messages %}{% if message['role'] == 'assistant' %}answer : {{ message['content'] | trim }}</s>"
    "{% else %}question : {% for part in message['content'] %}{% if part['type'] == 'image' %}<image>{% else %} "
    "{{ part['text'] }} {% endif %}{% endfor %}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}answer :{% endif %}"
)
"""The end token after the answer, which is taken as a text."""
TEMPLATES = {"chatml": CHATML, "llava": LLAVA, "ending": ENDING, "none": None}
MODELS = {"llava": make_tiny_llava, "idefics3": make_tiny_idefics3, "arr_coc": make_tiny_arr_coc}
MARKS = {"<|im_start|>", "<|im_end|>"}
PROMPT = "what color is the ball in the picture ?"


@dataclass(frozen=True)
class Drawn:
    """A picture of noise."""

    name: str = "pictures/7.png"
    size: tuple[int, int] = (40, 30)

    def read(self) -> bytes:
        encoded = io.BytesIO()
        noise = np.random.default_rng(0).integers(0, 256, (self.size[1], self.size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(encoded, "PNG")
        return encoded.getvalue()


@dataclass(frozen=True)
class Missing:
    name: str = "pictures/absent.png"

    def read(self) -> bytes:
        raise ImageError(f"{self.name}: there is no such file")


def draw(prompt: str, answer: str, *, seen: bool = True, image: Any = Drawn()) -> Draw:
    picture = Picture(image, (Lesson("asked", prompt, (answer,)),))
    return Draw(picture, (prompt,), (answer,), (seen,))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name)) for name, make in MODELS.items()}


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def processor_of(folder: Path, template: str) -> Any:
    processor = AutoProcessor.from_pretrained(folder)
    processor.chat_template = TEMPLATES[template]
    processor.tokenizer.add_tokens(sorted(MARKS), special_tokens=True)
    return processor


def asked(processor: Any, folder: Path, prompt: str, images: tuple[Any, ...]) -> list[int]:
    """The prompt's tokens as `harness eval` gives them to the model."""
    request = Request(images, prompt, Generation(8))
    if "arr_coc" in folder.name:
        return QuestionPreparer(processor, 28).prepare(request).ids[0].tolist()  # type: ignore[no-any-return]
    config = AutoModelForImageTextToText.from_pretrained(folder).config
    found: list[int] = ProcessorPreparer(processor, config).prepare(request).tensors["input_ids"][0].tolist()
    return found


def end_of(processor: Any, template: str) -> int:
    token = "<|im_end|>" if template == "chatml" else "</s>"
    return int(processor.tokenizer.convert_tokens_to_ids(token))


ROWS = [("red", True), ("a dog and a man", True), ("no", False)]
"""Answers of differing lengths, and one whose prompt goes without a picture."""


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("name", MODELS)
def test_only_the_answer_is_learnt(folders: dict[str, Path], name: str, template: str) -> None:
    """Every token of the batch: the prompt as the harness asks it, then the answer and its end, then padding."""
    processor = processor_of(folders[name], template)
    end = end_of(processor, template)
    collate = ConversationCollator(processor, (end,))
    batch = collate([draw(PROMPT, answer, seen=seen) for answer, seen in ROWS])
    assert batch["input_ids"].shape == batch["labels"].shape == batch["attention_mask"].shape
    mark = int(processor.tokenizer.convert_tokens_to_ids(IMAGE))
    for row, (answer, seen) in enumerate(ROWS):
        prompt = asked(processor, folders[name], PROMPT, (Drawn(),) if seen else ())
        said = [processor.tokenizer.convert_tokens_to_ids(word) for word in answer.split()] + [end]
        padding = batch["input_ids"].shape[1] - len(prompt) - len(said)
        assert batch["input_ids"][row].tolist() == prompt + said + [processor.tokenizer.pad_token_id] * padding
        assert batch["labels"][row].tolist() == [IGNORED] * len(prompt) + said + [IGNORED] * padding
        assert batch["attention_mask"][row].tolist() == [1] * (len(prompt) + len(said)) + [0] * padding
        assert (mark in prompt) == seen
    learnt = batch["labels"][batch["labels"] != IGNORED]
    assert not set(learnt.tolist()) & {mark, processor.tokenizer.pad_token_id, processor.tokenizer.bos_token_id}


@pytest.mark.parametrize("name", MODELS)
def test_the_loss_is_that_of_the_answer_s_tokens(folders: dict[str, Path], name: str) -> None:
    """The model's loss on a mixed batch against the log-probabilities of the answers, row by row, one at a time."""
    processor = AutoProcessor.from_pretrained(folders[name])
    model = AutoModelForImageTextToText.from_pretrained(folders[name]).eval()
    collate = ConversationCollator(processor)
    draws = [draw(PROMPT, answer, seen=seen) for answer, seen in ROWS]
    with torch.no_grad():
        whole = float(model(**collate(draws)).loss)
        losses = []
        for alone in draws:
            batch = collate([alone])
            labels = batch["labels"][0]
            # With its labels: ARR-COC's router sees what comes before them.
            output = model(**batch)
            (places,) = (labels != IGNORED).nonzero(as_tuple=True)
            likely = output.logits[0].log_softmax(-1)
            losses += [-float(likely[place - 1, labels[place]]) for place in places.tolist()]
    assert whole == pytest.approx(np.mean(losses), rel=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_an_answer_does_not_see_what_follows_it(folders: dict[str, Path], name: str) -> None:
    processor = AutoProcessor.from_pretrained(folders[name])
    model = AutoModelForImageTextToText.from_pretrained(folders[name]).eval()
    collate = ConversationCollator(processor)
    one, other = collate([draw(PROMPT, "a red ball")]), collate([draw(PROMPT, "a red dog")])
    (places,) = (one["labels"][0] != IGNORED).nonzero(as_tuple=True)
    with torch.no_grad():
        first, second = (model(**batch).logits[0] for batch in (one, other))
    before = slice(int(places[0]) - 1, int(places[2]))
    torch.testing.assert_close(first[before], second[before])
    assert not torch.allclose(first[int(places[2])], second[int(places[2])])


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # in PaliGemma's processor
def test_a_model_that_sees_its_prompt_at_once_does_not_see_its_answer_so() -> None:
    """PaliGemma tells by the type of a token what is seen in both directions."""
    small = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1, "num_attention_heads": 2}
    images: Any = SiglipImageProcessorPil(size={"height": 32, "width": 32})
    images.image_seq_length = 16
    assemble: Any = PaliGemmaProcessor
    processor = assemble(images, make_tokenizer())
    config = PaliGemmaConfig(
        vision_config={**small, "model_type": "siglip_vision_model", "image_size": 32, "patch_size": 8},
        text_config={
            **small, "model_type": "gemma", "num_key_value_heads": 1, "head_dim": 16,
            "vocab_size": len(processor.tokenizer),
        },
        image_token_index=processor.image_token_id,
        projection_dim=32,
    )  # fmt: skip
    model = PaliGemmaForConditionalGeneration(config).train()
    collate = ConversationCollator(processor)
    one, other = collate([draw(PROMPT, "a red ball")]), collate([draw(PROMPT, "a red dog")])
    request = ProcessorPreparer(processor, config).prepare(Request((Drawn(),), PROMPT, Generation(8)))
    length = request.tensors["input_ids"].shape[1]
    for name in ("input_ids", "token_type_ids"):
        assert torch.equal(one[name][:, :length], request.tensors[name])
    with torch.no_grad():
        first, second = (model(**batch).logits[0] for batch in (one, other))
    torch.testing.assert_close(first[: length + 2], second[: length + 2])
    assert not torch.allclose(first[length + 2], second[length + 2])


def test_pictures_of_several_tiles_go_with_those_of_one(folders: dict[str, Path]) -> None:
    processor = AutoProcessor.from_pretrained(folders["idefics3"])
    model = AutoModelForImageTextToText.from_pretrained(folders["idefics3"]).eval()
    collate = ConversationCollator(processor)
    small, large = Drawn(size=(30, 30)), Drawn(size=(64, 32))
    draws = [draw(PROMPT, "red", image=image) for image in (small, large)]
    tiles = [collate([alone])["pixel_values"].shape[1] for alone in draws]
    assert tiles[0] != tiles[1]
    with torch.no_grad():
        alone = [float(model(**collate([one])).loss) for one in draws]
        assert float(model(**collate(draws)).loss) == pytest.approx(np.mean(alone), rel=1e-4)


def bytes_tokenizer() -> Any:
    """Bytes, and pairs of them that are joined wherever they meet: also across the end of a prompt."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("s", "a"), ("?", "b"), ("Ġ", "r")]
    vocabulary = {token: index for index, token in enumerate(["<pad>", "</s>", *alphabet, *map("".join, merges)])}
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrap: Any = PreTrainedTokenizerFast
    return wrap(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", extra_special_tokens=[IMAGE])


def joined(template: str | None) -> Any:
    """A Llava processor around the tokenizer that joins."""
    from transformers import LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    assemble: Any = LlavaProcessor
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return assemble(
        image_processor=images, tokenizer=bytes_tokenizer(), patch_size=8, chat_template=template,
        vision_feature_select_strategy="default", num_additional_image_tokens=1,
    )  # fmt: skip


BARE = (
    "{% for message in messages %}{% for part in message['content'] %}{% if part['type'] == 'image' %}<image>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endfor %}"
)
"""An answer directly after the prompt."""


@pytest.mark.parametrize(("prompt", "answer"), [("who is", "ann"), ("what?", "ball"), ("what?", "red")])
def test_a_tokenizer_that_joins_prompt_and_answer_changes_neither(prompt: str, answer: str) -> None:
    processor = joined(BARE)
    tokenizer = processor.tokenizer
    apart = [tokenizer(text)["input_ids"] for text in (prompt, answer)]
    batch = ConversationCollator(processor)([draw(prompt, answer, seen=False)])
    assert batch["input_ids"][0].tolist() == [*apart[0], *apart[1], tokenizer.eos_token_id]
    assert batch["labels"][0].tolist() == [IGNORED] * len(apart[0]) + [*apart[1], tokenizer.eos_token_id]
    together = tokenizer(prompt + answer)["input_ids"]
    assert (together == apart[0] + apart[1]) == (answer == "red")


def test_without_a_template_an_answer_begins_a_new_word() -> None:
    """As the tokenizer splits it after a prompt: the space belongs to the answer's first token."""
    processor = joined(None)
    tokenizer = processor.tokenizer
    batch = ConversationCollator(processor)([draw("what?", "red", seen=False)])
    prompt, whole = (tokenizer(text)["input_ids"] for text in ("what?", "what? red"))
    assert batch["input_ids"][0].tolist() == [*whole, tokenizer.eos_token_id]
    assert batch["labels"][0].tolist() == [IGNORED] * len(prompt) + [*whole[len(prompt) :], tokenizer.eos_token_id]
    assert tokenizer.convert_ids_to_tokens(whole[len(prompt)]) == "Ġr"


def test_a_template_whose_own_end_does_not_stop_the_model_is_followed_by_one_that_does(
    folders: dict[str, Path],
) -> None:
    processor = processor_of(folders["llava"], "chatml")
    tokenizer = processor.tokenizer
    ids = ConversationCollator(processor)([draw(PROMPT, "red")])["input_ids"][0].tolist()
    assert tokenizer.convert_ids_to_tokens(ids[-3:]) == ["red", "<|im_end|>", "</s>"]


def test_a_picture_that_is_missing_is_named(folders: dict[str, Path]) -> None:
    collate = ConversationCollator(AutoProcessor.from_pretrained(folders["llava"]))
    with pytest.raises(ImageError, match=r"pictures/absent\.png"):
        collate([draw(PROMPT, "red", image=Missing())])


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("lesson", "message"),
    [
        (Lesson("gqa", PROMPT, ("red", " ")), r"pictures/7\.png: gqa: 'what color .*: its answer is empty"),
        (Lesson("gqa", PROMPT, ()), r"pictures/7\.png: gqa: 'what color .*: its answer is missing"),
        (Lesson("gqa", "is <image> red ?", ("no",)), r"pictures/7\.png: gqa: .*'is <image> red \?' holds '<image>'"),
        (Lesson("gqa", PROMPT, ("a <image>",)), r"pictures/7\.png: gqa: .*'a <image>' holds '<image>'"),
    ],
    ids=["empty", "missing", "placeholder", "placeholder in the answer"],
)
def test_what_cannot_be_learnt_is_named(folders: dict[str, Path], name: str, lesson: Lesson, message: str) -> None:
    processor = AutoProcessor.from_pretrained(folders[name])
    good = Picture(Drawn("pictures/1.png"), (Lesson("gqa", PROMPT, ("red",)),))
    check_lessons([good], processor)
    with pytest.raises(DataError, match=message):
        check_lessons([good, Picture(Drawn(), (lesson,))], processor)


def test_an_empty_answer_is_never_in_a_batch(folders: dict[str, Path]) -> None:
    collate = ConversationCollator(AutoProcessor.from_pretrained(folders["llava"]))
    with pytest.raises(DataError, match=r"pictures/7\.png: the answer to 'what color .* is empty"):
        collate([draw(PROMPT, " ")])


def test_a_tokenizer_without_an_end_cannot_teach_one(folders: dict[str, Path]) -> None:
    processor = AutoProcessor.from_pretrained(folders["llava"])
    processor.tokenizer.eos_token = None
    with pytest.raises(ConfigError, match="no end-of-sequence token"):
        ConversationCollator(processor)
