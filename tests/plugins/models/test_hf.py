"""The `hf` plugin, on tiny models of two architectures."""

import gc
import json
import pickle
import shutil
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from harness import CheckpointError, FileImage, Generation, ImageError, Output, Request, UnknownName, UsageError, decode
from plugins.models.hf import GeneratingModel, HuggingFace, HuggingFaceSpec, ProcessorPreparer
from tests.plugins.models.asking import QUESTIONS, Folders, answers, ask, loaded
from tests.tiny_models import make_tiny_idefics3, make_tiny_llava

PLUGIN = HuggingFace()
STORE: Any = Folders({})
MAKERS = {"llava": make_tiny_llava, "idefics3": make_tiny_idefics3}


def resolve(folder: Path, **options: str) -> Any:
    return PLUGIN.resolve(str(folder), options, STORE)


@pytest.fixture(params=["llava", "idefics3"])
def model(request: pytest.FixtureRequest) -> Path:
    folder: Path = request.getfixturevalue(f"tiny_{request.param}")
    return folder


def mixed(pictures: Sequence[FileImage]) -> list[Request]:
    """Prompts of unequal length, on one picture, two pictures and none."""
    shown = [pictures[:1], pictures[3:4], pictures[1:3], (), pictures[4:5], (pictures[3], pictures[0])]
    return [ask(shown[index % 6], QUESTIONS[index % 5]) for index in range(20)]


def test_batches_of_any_size_give_the_same_answers(model: Path, pictures: Sequence[FileImage]) -> None:
    requests = mixed(pictures)
    alone, together = answers(resolve(model), requests, 1), answers(resolve(model), requests, 16)

    texts = [output.text for output in alone]
    assert texts == [output.text for output in together]
    assert len(set(texts)) > len(texts) // 2
    counts = [(out.usage.prompt_tokens, out.usage.visual_tokens, out.usage.generated_tokens) for out in alone]
    assert counts == [
        (out.usage.prompt_tokens, out.usage.visual_tokens, out.usage.generated_tokens) for out in together
    ]


def test_batches_of_real_photographs_give_the_same_answers(model: Path, photographs: Sequence[FileImage]) -> None:
    requests = [ask([image], QUESTIONS[index % 5]) for index, image in enumerate(photographs[:32])]
    texts = [output.text for output in answers(resolve(model), requests, 1)]
    assert texts == [output.text for output in answers(resolve(model), requests, 16)]
    assert len(set(texts)) > 16


@pytest.mark.parametrize("architecture", MAKERS)
@pytest.mark.parametrize("chat", [True, False])
def test_an_answer_is_what_transformers_says(
    architecture: str, chat: bool, tmp_path: Path, pictures: Sequence[FileImage]
) -> None:
    """The oracle is the documented use of the model: one sample, nothing padded, the tokens cut by hand."""
    folder = MAKERS[architecture](tmp_path / "model", chat=chat)
    processor, model = loaded(folder)
    shown = pictures[3:5]
    for question in QUESTIONS:
        text = f"user: <image><image> {question} assistant:" if chat else f"<image><image>{question}"
        inputs = processor(text=[text], images=[decode(image) for image in shown], return_tensors="pt")
        said = model.generate(**inputs, max_new_tokens=8, do_sample=False)[0, inputs["input_ids"].shape[1] :]
        (output,) = answers(resolve(folder), [ask(shown, question)], 1)

        assert output.text == processor.decode(said, skip_special_tokens=True)
        ended = [*said.tolist(), model.config.text_config.eos_token_id]
        assert output.usage.generated_tokens == ended.index(model.config.text_config.eos_token_id)
        visual = int((inputs["input_ids"] == model.config.image_token_id).sum())
        assert output.usage.visual_tokens == output.usage.full_visual_tokens == visual
        assert output.usage.prompt_tokens == inputs["input_ids"].shape[1] - visual
        assert output.usage.seconds > 0


def test_visual_tokens_follow_the_picture(tiny_llava: Path, tiny_idefics3: Path, pictures: Sequence[FileImage]) -> None:
    shown = [ask(pictures[:1]), ask(pictures[3:4]), ask(pictures[:2]), ask([])]
    assert [output.usage.visual_tokens for output in answers(resolve(tiny_llava), shown, 4)] == [16, 16, 32, 0]
    # Four tiles and the whole; two tiles and the whole of a wide picture; 4 tokens each.
    assert [output.usage.visual_tokens for output in answers(resolve(tiny_idefics3), shown, 4)] == [20, 12, 40, 0]


def test_without_a_picture_the_prompt_has_no_placeholder(model: Path) -> None:
    prepared = resolve(model).preparer().prepare(ask([], "why"))
    assert set(prepared.tensors) == {"input_ids", "attention_mask"}
    processor, _ = loaded(model)
    assert processor.decode(prepared.tensors["input_ids"][0]) == "<s> user : why assistant :"


def test_a_template_that_begins_the_text_itself_does_not_begin_it_twice(tmp_path: Path) -> None:
    folder = make_tiny_llava(tmp_path / "model")
    template = folder / "chat_template.jinja"
    template.write_text("<s>" + template.read_text())
    ids = resolve(folder).preparer().prepare(ask([], "why")).tensors["input_ids"][0].tolist()
    assert ids.count(ids[0]) == 1


def test_preparing_on_many_threads_gives_what_one_gives(model: Path, pictures: Sequence[FileImage]) -> None:
    requests = mixed(pictures) * 6
    preparer = resolve(model).preparer()
    expected = [preparer.prepare(request).tensors["input_ids"] for request in requests]
    shared = resolve(model).preparer()
    with ThreadPoolExecutor(8) as pool:
        prepared = list(pool.map(shared.prepare, requests))
    assert all(torch.equal(item.tensors["input_ids"], ids) for item, ids in zip(prepared, expected, strict=True))


def test_what_is_prepared_can_be_sent_elsewhere(model: Path, pictures: Sequence[FileImage]) -> None:
    spec = pickle.loads(pickle.dumps(resolve(model)))
    assert isinstance(spec, HuggingFaceSpec)
    preparer = spec.preparer()
    prepared = pickle.loads(pickle.dumps(preparer.prepare(ask(pictures[:1]))))
    assert prepared.cost == prepared.tensors["input_ids"].shape[1]
    assert isinstance(spec.load("cpu").generate(preparer.collate([prepared]))[0], Output)


def test_requests_of_different_settings_share_a_batch(model: Path, pictures: Sequence[FileImage]) -> None:
    requests = [ask(pictures[:1], new=2), ask(pictures[1:2], new=9), ask(pictures[2:3], new=2)]
    outputs = answers(resolve(model), requests, 3)
    assert [output.text for output in outputs] == [output.text for output in answers(resolve(model), requests, 1)]
    assert [output.usage.generated_tokens <= new for output, new in zip(outputs, (2, 9, 2), strict=True)] == [True] * 3


def test_a_checkpoint_cannot_sneak_its_generation_settings_in(
    model: Path, tmp_path: Path, pictures: Sequence[FileImage]
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(model, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    sneaked = {"do_sample": True, "temperature": 5.0, "num_beams": 3, "repetition_penalty": 3.0, "min_new_tokens": 8}
    (folder / "generation_config.json").write_text(json.dumps({**settings, **sneaked, "guidance_scale": 2.0}))
    requests = mixed(pictures)[:8]
    plain = [output.text for output in answers(resolve(model), requests, 4)]
    assert plain == [output.text for output in answers(resolve(folder), requests, 4)]


def test_a_live_model_is_left_as_it_was_and_given_back(tiny_llava: Path, pictures: Sequence[FileImage]) -> None:
    processor, live = loaded(tiny_llava)
    live.generation_config.do_sample = True
    preparer, model = ProcessorPreparer(processor, live.config), GeneratingModel(live, processor.tokenizer)
    (output,) = model.generate(preparer.collate([preparer.prepare(ask(pictures[:1]))]))
    assert isinstance(output, Output)
    assert output.text == answers(resolve(tiny_llava), [ask(pictures[:1])], 1)[0].text
    assert live.generation_config.do_sample is True
    alive = weakref.ref(live)
    model.close()
    del live
    gc.collect()
    assert alive() is None


def test_the_end_of_an_answer_is_the_checkpoints(
    tiny_llava: Path, tmp_path: Path, pictures: Sequence[FileImage]
) -> None:
    (free,) = answers(resolve(tiny_llava), [ask(pictures[:1])], 1)
    words = free.text.split()
    folder = tmp_path / "model"
    shutil.copytree(tiny_llava, folder)
    settings = json.loads((folder / "generation_config.json").read_text())
    last = loaded(folder)[0].tokenizer.convert_tokens_to_ids(words[2])
    settings["eos_token_id"] = [settings["eos_token_id"], last]
    (folder / "generation_config.json").write_text(json.dumps(settings))
    (ended,) = answers(resolve(folder), [ask(pictures[:1])], 1)
    assert ended.text.split() == words[: words.index(words[2])]
    assert ended.usage.generated_tokens < free.usage.generated_tokens


def test_a_temperature_samples(tiny_llava: Path, pictures: Sequence[FileImage]) -> None:
    request = Request(tuple(pictures[:1]), QUESTIONS[0], Generation(8, temperature=2.0))
    assert len({output.text for output in answers(resolve(tiny_llava), [request] * 8, 8)}) > 1


def test_precision_is_an_option_and_changes_the_identity(tiny_llava: Path, pictures: Sequence[FileImage]) -> None:
    specs = [resolve(tiny_llava), resolve(tiny_llava, dtype="bfloat16"), resolve(tiny_llava, attn="eager")]
    assert len({spec.fingerprint for spec in specs}) == 3
    assert resolve(tiny_llava).fingerprint == specs[0].fingerprint
    for spec in specs:
        assert isinstance(answers(spec, [ask(pictures[:1])], 1)[0], Output)


def test_the_identity_follows_the_weights(tiny_llava: Path, tmp_path: Path) -> None:
    other = make_tiny_llava(tmp_path / "other", seed=1)
    same = tmp_path / "same"
    shutil.copytree(tiny_llava, same)
    assert resolve(same).fingerprint == resolve(tiny_llava).fingerprint != resolve(other).fingerprint
    assert resolve(same).digest == resolve(tiny_llava).digest
    assert resolve(same).version is None


def test_a_checkpoint_of_the_registry(tiny_llava: Path, pictures: Sequence[FileImage]) -> None:
    store: Any = Folders({"mine:v2": tiny_llava, "mine:latest": tiny_llava})
    for ref in ("registry/mine:v2", "registry/mine"):
        spec = PLUGIN.resolve(ref, {}, store)
        assert spec.version == "v1"
        assert spec.fingerprint == resolve(tiny_llava).fingerprint
        assert isinstance(answers(spec, [ask(pictures[:1])], 1)[0], Output)


def test_an_unreadable_picture_fails_alone(model: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        resolve(model).preparer().prepare(ask([FileImage(broken)]))


def test_a_prompt_with_a_placeholder_in_it_is_refused(model: Path, pictures: Sequence[FileImage]) -> None:
    with pytest.raises(Exception, match="holds '<image>'"):
        resolve(model).preparer().prepare(ask(pictures[:1], "what does <image> mean?"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dtypo": "float32"}, "unknown option 'dtypo' (did you mean 'dtype'?)"),
        ({"dtype": "float23"}, "unknown value of dtype= 'float23' (did you mean 'float32'"),
        ({"attn": "sdpaa"}, "unknown value of attn= 'sdpaa' (did you mean 'sdpa'?)"),
    ],
)
def test_unknown_options(tiny_llava: Path, options: dict[str, str], message: str) -> None:
    with pytest.raises(UnknownName) as caught:
        resolve(tiny_llava, **options)
    assert str(caught.value).startswith(message)


def test_a_device_that_is_not_there(tiny_llava: Path) -> None:
    for device in ("cpuu", "cuda:99"):
        with pytest.raises(UsageError, match=device):
            resolve(tiny_llava).load(device)


def _without(name: str) -> Callable[[Path], None]:
    def remove(folder: Path) -> None:
        for path in folder.glob(name):
            path.unlink()

    return remove


def _pickled(folder: Path) -> None:
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")


def _truncated(name: str) -> Callable[[Path], None]:
    def cut(folder: Path) -> None:
        path = folder / name
        path.write_bytes(path.read_bytes()[:-100])

    return cut


def _of_another_kind(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "hidden_size": 32}))


def _unheard_of(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({"model_type": "nothing_of_that_name"}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (shutil.rmtree, "no such folder"),
        (_without("config.json"), "no config.json in it"),
        (_without("*.safetensors"), "no weights"),
        (_pickled, r"pytorch_model\.bin.*use_safetensors=False"),
        (_without("processor_config.json"), "no processor in it"),
        (_truncated("config.json"), r"config\.json: cannot be used"),
        (_of_another_kind, "'llama' is no model for pictures and text"),
        (_unheard_of, "nothing_of_that_name"),
    ],
)
def test_a_broken_folder_is_found_before_anything_is_loaded(
    tiny_llava: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llava, folder)
    damage(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        resolve(folder)
    assert str(folder) in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncated("model.safetensors"), "cannot be loaded"),
        (_without("tokenizer*"), "processor"),
        (_truncated("tokenizer.json"), "processor"),
    ],
)
def test_broken_contents_are_found_when_loaded(
    tiny_llava: Path, tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llava, folder)
    damage(folder)
    spec = resolve(folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        (spec.load("cpu"), spec.preparer())
    assert str(folder) in str(caught.value)


def test_weights_that_lack_a_tensor_are_not_made_up(tiny_llava: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_llava, folder)
    _, model = loaded(folder)
    state = {name: tensor for name, tensor in model.state_dict().items() if "linear_2.weight" not in name}
    model.save_pretrained(folder, state_dict=state)
    with pytest.raises(CheckpointError, match=r"1 of the model's tensors.*linear_2\.weight"):
        resolve(folder).load("cpu")


def test_a_folder_without_its_dot(tiny_llava: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_llava.parent)
    with pytest.raises(UsageError, match=r"hf:\./llava"):
        PLUGIN.resolve("llava", {}, STORE)


def test_a_folder_has_no_revision(tiny_llava: Path) -> None:
    with pytest.raises(UsageError, match="revision= is for models on the hub"):
        resolve(tiny_llava, revision="main")


COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tiny_llava: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the hub in which `maker/tiny` lies, and no network."""
    import huggingface_hub.constants

    snapshot = tmp_path / "models--maker--tiny" / "snapshots" / COMMIT
    shutil.copytree(tiny_llava, snapshot)
    reference = tmp_path / "models--maker--tiny" / "refs" / "main"
    reference.parent.mkdir()
    reference.write_text(COMMIT)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.usefixtures("hub")
def test_a_model_of_the_hub_is_pinned_to_its_commit(tiny_llava: Path, pictures: Sequence[FileImage]) -> None:
    spec = PLUGIN.resolve("maker/tiny", {}, STORE)
    assert (spec.version, spec.digest) == (COMMIT, None)
    assert spec.fingerprint == PLUGIN.resolve("maker/tiny", {"revision": COMMIT}, STORE).fingerprint
    requests = [ask(pictures[:1])]
    assert answers(spec, requests, 1)[0].text == answers(resolve(tiny_llava), requests, 1)[0].text


@pytest.mark.usefixtures("hub")
def test_a_model_that_the_hub_does_not_have() -> None:
    for ref, options in (("maker/unknown", {}), ("maker/tiny", {"revision": "v9"})):
        with pytest.raises(CheckpointError, match=ref):
            PLUGIN.resolve(ref, options, STORE)
