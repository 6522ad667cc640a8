"""The whole model: its two paths, its gradients, its batches."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    CLIPConfig,
    CLIPModel,
    LlamaConfig,
    LlamaForCausalLM,
    SiglipConfig,
    SiglipModel,
)
from trl.trainer.utils import add_fused_lm_head

from arr_coc_model import ArrCocConfig, ArrCocForConditionalGeneration, ArrCocProcessor, Gating

Build = Callable[..., ArrCocForConditionalGeneration]
QUESTIONS = ["what color is the cube", "is the sphere left of the cube red ?", "is a sphere blue"]
COLD = Gating(temperature=1.0, hard=True)


def read(output: Any) -> int:
    """Tokens of the sequence that the language model read."""
    return int(output.hidden_states[0].shape[1])


@pytest.fixture
def batch(processor: ArrCocProcessor, pictures: list[Image.Image]) -> Any:
    """Three questions about two pictures, one of them about none, with answers."""
    return processor(
        images=pictures[:2],
        text=[*QUESTIONS, "what color"],
        image_index=[0, 1, 1, -1],
        answers=["red", "no", "yes", "a"],
    )


@pytest.mark.parametrize("kind", ["convnext", "clip", "siglip"])
@pytest.mark.parametrize("pixels", [64, 36])
def test_every_encoder_and_ragged_grids(
    build: Build, processor: ArrCocProcessor, pictures: list[Image.Image], kind: str, pixels: int
) -> None:
    model = build(kind, pixels)
    side = pixels // 4
    inputs = processor(images=pictures[:2], text=QUESTIONS[:2], size={"height": pixels, "width": pixels})
    output = model(**inputs)
    assert model.config.full_tokens == side**2
    assert output.routing.visual_tokens.max() <= model.config.token_budget
    assert output.routing.level_map.shape == (2, side, side)
    torch.testing.assert_close(output.routing.budget_map.sum((1, 2)), output.routing.visual_tokens.float())


def test_tiles_are_encoded_apart_and_laid_side_by_side(build: Build, processor: ArrCocProcessor) -> None:
    model = build(pixels=32, tiles=4, token_budget=64, min_tokens_per_patch=4)
    seen = torch.randn(1, 3, 64, 64)
    text = processor.tokenizer(["<image> what"], return_tensors="pt")
    base = model(pixel_values=seen, **text).routing
    changed = seen.clone()
    changed[:, :, :32, 32:] = torch.randn(3, 32, 32)
    moved = (model(pixel_values=changed, **text).routing.relevance_map - base.relevance_map).abs()
    assert base.level_map.shape == (1, 16, 16)
    # Standardising spreads every change a little; what changed is the second tile.
    assert moved[..., :8, 8:].mean() > 3 * moved[..., 8:, :8].mean()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_gated_and_gathered_sequences_agree_where_gates_are_hard(
    build: Build, batch: Any, attention: str, floor: float
) -> None:
    model = build(token_budget=30)
    model.language_model.set_attn_implementation(attention)
    gathered = model(**batch, output_hidden_states=True)
    gated = model(**batch, gating=Gating(temperature=1.0, hard=True, floor=floor), output_hidden_states=True)
    expected = 340 if floor == 0 else 28
    assert read(gated) - read(gathered) == expected - 28
    torch.testing.assert_close(gated.loss, gathered.loss)
    # Where the last visual token stands differs: among gated ones it may be one of no weight.
    words = batch["attention_mask"].bool() & (batch["input_ids"] != model.config.image_token_id)
    torch.testing.assert_close(gated.logits[words], gathered.logits[words], atol=1e-5, rtol=1e-5)


def test_soft_gates_at_any_floor_are_nearly_the_same(build: Build, batch: Any) -> None:
    model = build(token_budget=30)
    everything, most = (
        model(**batch, gating=Gating(0.1, floor=floor), output_hidden_states=True) for floor in (0.0, 1e-6)
    )
    assert read(most) < read(everything)
    torch.testing.assert_close(everything.loss, most.loss, atol=1e-4, rtol=1e-4)


PARTS = [
    "knowing.enter.1",
    "knowing.question.word",
    "knowing.question.context",
    "knowing.question.choice",
    "knowing.question.meaning",
    "knowing.likeness",
    "knowing.propositional.0",
    "knowing.propositional.2",
    "knowing.perspectival.0",
    "knowing.perspectival.2",
    "knowing.participatory",
    "balancing.context.1",
    "balancing.weigh",
    "attending.gain.0",
    "attending.gain.2",
    "realizing.projector.0",
    "realizing.projector.2",
    "realizing.place",
    "realizing.level",
    "realizing.relevance",
    "vision_encoder.embeddings.patch_embeddings",
    "vision_encoder.encoder.stages.0.layers.0.pwconv1",
    "language_model.model.embed_tokens",
    "language_model.model.layers.0.self_attn.q_proj",
    "language_model.lm_head",
]


@pytest.mark.parametrize("gating", [Gating(0.5), COLD], ids=["soft", "straight-through"])
def test_the_loss_reaches_every_part(build: Build, batch: Any, gating: Gating) -> None:
    model = build(token_budget=30).train()
    model(**batch, gating=gating).loss.backward()
    for name in PARTS:
        gradient = model.get_parameter(f"{name}.weight").grad
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.abs().max() > 1e-9, name
    tensions = model.balancing.tension.weight.grad
    assert tensions is not None
    assert (tensions.abs().amax(1) > 1e-9).all(), "each tension"


def test_only_the_gates_lead_to_the_gains(build: Build, batch: Any) -> None:
    model = build(token_budget=30).train()
    model(**batch).loss.backward()
    assert model.attending.gain[0].weight.grad is None


def test_the_router_reads_nothing_of_the_answer(
    build: Build, processor: ArrCocProcessor, pictures: list[Image.Image]
) -> None:
    model = build()
    routings = []
    for answer in ("red", "blue yes no", "left of the cube"):
        inputs = processor(images=pictures[0], text=QUESTIONS[0], answers=[answer])
        routings.append(model(**inputs).routing)
    inputs = processor(images=pictures[0], text=QUESTIONS[0])
    routings.append(model.answer(**inputs, max_new_tokens=2)[1])
    for routing in routings[1:]:
        torch.testing.assert_close(routing.gains, routings[0].gains, atol=1e-5, rtol=1e-5)
        assert torch.equal(routing.leaves, routings[0].leaves)


def test_the_router_reads_the_question(build: Build, processor: ArrCocProcessor, pictures: list[Image.Image]) -> None:
    inputs = processor(images=[pictures[0]], text=QUESTIONS, image_index=[0, 0, 0])
    gains = build()(**inputs).routing.gains
    assert (gains[0] - gains[1]).abs().max() > 1e-3


def test_words_that_are_unsure_of_everything_outvote_none(build: Build, batch: Any) -> None:
    model = build()
    with torch.no_grad():
        model.knowing.likeness.weight.mul_(1000)
    output = model(**batch)
    assert output.loss.isfinite()
    assert output.routing.gains.isfinite().all()
    assert output.routing.gains.abs().max() < 100


def test_words_are_found_alone_or_beside_an_answer(build: Build, batch: Any) -> None:
    model, words = build(), torch.tensor([9, 13, 14])
    beside = model(**batch, find_words=words).likeness
    alone = model(pixel_values=batch["pixel_values"], find_words=words)
    assert beside.shape == (2, 3, 256)
    assert alone.logits is None
    torch.testing.assert_close(alone.likeness, beside)


def test_a_way_of_knowing_without_weight_counts_for_nothing(build: Build, batch: Any) -> None:
    routing = build(knowing_weights=[0.5, 0.5, 0])(**batch).routing
    assert (routing.weights[:3, 2] == 0).all()
    assert (routing.weights[:3, :2] > 0).all()


def test_shared_pictures_are_as_good_as_copies(
    build: Build, processor: ArrCocProcessor, pictures: list[Image.Image]
) -> None:
    model = build()
    shared = model(**processor(images=pictures[:1], text=QUESTIONS, image_index=[0, 0, 0]))
    copies = model(**processor(images=pictures[:1] * 3, text=QUESTIONS))
    torch.testing.assert_close(shared.logits, copies.logits, atol=1e-5, rtol=1e-5)


def test_rows_without_a_picture_spend_nothing(build: Build, batch: Any, processor: ArrCocProcessor) -> None:
    model = build()
    mixed = model(**batch)
    assert mixed.routing.visual_tokens.tolist() == [28, 28, 28, 0]
    assert mixed.routing.full_visual_tokens.tolist() == [256, 256, 256, 0]
    alone = model(**processor(text=["what color"], answers=["a"]))
    assert alone.routing is None
    torch.testing.assert_close(alone.logits[0, -3:], mixed.logits[3, -3:], atol=1e-5, rtol=1e-5)


def test_budgets_can_differ_by_row(build: Build, batch: Any) -> None:
    model = build()
    tokens = model(**batch, token_budget=torch.tensor([4, 100, 256, 28])).routing.visual_tokens
    assert tokens.tolist() == [4, 100, 256, 0]


def test_one_answer_is_the_same_alone_and_in_a_batch(
    build: Build, processor: ArrCocProcessor, pictures: list[Image.Image]
) -> None:
    model = build()
    texts = [QUESTIONS[index % 3] for index in range(16)]
    inputs = processor(images=pictures, text=texts)
    # Rows that differ only by padding and company: tokens, counts and places must be the same.
    together, routing = model.answer(**inputs, max_new_tokens=6, do_sample=False)
    for row in range(16):
        alone, single = model.answer(
            **processor(images=pictures[row], text=texts[row]), max_new_tokens=6, do_sample=False
        )
        assert processor.batch_decode(alone, skip_special_tokens=True) == processor.batch_decode(
            together[row : row + 1], skip_special_tokens=True
        )
        assert torch.equal(single.leaves[0], routing.leaves[row])


def test_cached_generation_is_the_argmax_of_the_whole_sequence(
    build: Build, processor: ArrCocProcessor, pictures: list[Image.Image]
) -> None:
    model = build()
    inputs = processor(images=pictures[:3], text=[QUESTIONS[0], "<image> what is left", "is the <image> red ?"])
    generated = model.generate(**inputs, max_new_tokens=4, do_sample=False, suppress_tokens=[2, 17])
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    labels = torch.full_like(ids, -100)
    for token in generated.T:
        whole = {**inputs, "input_ids": ids, "attention_mask": mask, "labels": labels}
        logits = model(**whole).logits[:, -1].index_fill(1, torch.tensor([2, 17]), float("-inf"))
        assert torch.equal(logits.argmax(-1), token)
        ids = torch.cat([ids, token[:, None]], 1)
        labels = torch.cat([labels, token[:, None]], 1)
        mask = torch.cat([mask, mask[:, :1] * 0 + 1], 1)


def test_it_is_saved_and_loaded(build: Build, batch: Any, tmp_path: Path) -> None:
    model = build(token_budget=40)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert isinstance(loaded, ArrCocForConditionalGeneration)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), ArrCocConfig)
    before, after = model(**batch), loaded(**batch)
    assert torch.equal(before.logits, after.logits)
    assert torch.equal(before.routing.leaves, after.routing.leaves)


def test_half_precision(build: Build, batch: Any) -> None:
    output = build().to(torch.bfloat16)(**batch, gating=Gating(0.5, floor=0.01))
    assert output.logits.dtype == torch.bfloat16
    assert output.loss.isfinite()


@pytest.mark.parametrize("dual", ["clip", "siglip"])
def test_parts_are_taken_from_pretrained_models(tmp_path: Path, dual: str) -> None:
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 1}
    seen = {**small, "image_size": 32, "patch_size": 4}
    whole: CLIPModel | SiglipModel
    if dual == "clip":
        whole = CLIPModel(CLIPConfig(text_config=small, vision_config=seen))
    else:
        whole = SiglipModel(SiglipConfig(text_config=small, vision_config=seen))
    whole.save_pretrained(tmp_path / "dual")
    language = LlamaForCausalLM(LlamaConfig(vocab_size=20, **small))
    language.save_pretrained(tmp_path / "llm")
    model = ArrCocForConditionalGeneration.from_parts(
        str(tmp_path / "dual"), str(tmp_path / "llm"), token_budget=10, image_token_id=20
    )
    assert model.config.vision_encoder_name == str(tmp_path / "dual")
    assert model.config.num_patches == 64
    taken = dict(model.vision_encoder.named_parameters())
    tower = dict(whole.vision_model.named_parameters())
    assert all(torch.equal(taken[name], value) for name, value in tower.items() if name in taken)
    assert "embeddings.patch_embedding.weight" in taken.keys() & tower.keys()
    assert torch.equal(model.language_model.lm_head.weight, language.lm_head.weight)
    model.save_pretrained(tmp_path / "whole")
    loaded = ArrCocForConditionalGeneration.from_pretrained(tmp_path / "whole")
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), loaded.parameters(), strict=True))


def test_what_does_not_fit_is_refused(build: Build, batch: Any) -> None:
    model = build()
    with pytest.raises(ValueError, match=r"token_budget=3 is outside 4\.\.256"):
        model(**batch, token_budget=3)
    with pytest.raises(ValueError, match="names picture 5, but 2"):
        model(**{**batch, "image_index": torch.tensor([0, 5, 1, -1])})
    with pytest.raises(ValueError, match="other rows than those with an image placeholder"):
        model(**{**batch, "image_index": torch.tensor([0, 1, 1, 0])})
    with pytest.raises(ValueError, match="3 texts hold an image placeholder, but 2 pictures"):
        model(**{name: value for name, value in batch.items() if name != "image_index"})
    with pytest.raises(ValueError, match="give 8x8 patches a tile, but the model is built for 16x16"):
        model(**{**batch, "pixel_values": batch["pixel_values"][:, :, :32, :32]})
    with pytest.raises(ValueError, match="input_ids are missing"):
        model()
    with pytest.raises(ValueError, match="temperature must be above 0"):
        Gating(temperature=0)
    model.language_model.config._attn_implementation = "flash_attention_2"
    with pytest.raises(ValueError, match="'sdpa' or 'eager'"):
        model(**batch, gating=Gating())


def padded_right(batch: Any) -> dict[str, Any]:
    """The same rows with their padding at the other end."""
    order = batch["attention_mask"].argsort(dim=1, descending=True, stable=True)
    rows = ("input_ids", "attention_mask", "labels")
    return {**batch, **{name: batch[name].gather(1, order) for name in rows}}


def test_logits_stand_where_their_tokens_stand(
    build: Build, processor: ArrCocProcessor, pictures: list[Image.Image]
) -> None:
    model = build()
    inputs = processor(images=pictures[:1], text=["what <image> is red"])
    features = model.get_patch_features(inputs["pixel_values"])
    sequence, _ = model.prepare(inputs["input_ids"], inputs["attention_mask"], features, None)
    whole = model.language_model(inputs_embeds=sequence.embeddings, position_ids=sequence.positions).logits[0]
    assert len(whole) == 1 + 28 + 2
    torch.testing.assert_close(model(**inputs).logits[0], whole[[0, 28, 29, 30]])


def test_any_loop_that_pairs_logits_with_input_ids_has_the_loss(build: Build, batch: Any) -> None:
    output = build()(**batch)
    assert output.logits.shape[:2] == batch["input_ids"].shape
    logits, labels = output.logits[:, :-1].flatten(0, 1), batch["labels"][:, 1:].flatten()
    torch.testing.assert_close(torch.nn.functional.cross_entropy(logits, labels), output.loss)


def test_padding_may_be_on_either_side(build: Build, batch: Any) -> None:
    model = build()
    left, right = model(**batch), model(**padded_right(batch))
    torch.testing.assert_close(left.loss, right.loss)
    assert torch.equal(left.routing.leaves, right.routing.leaves)
    assert left.logits.isfinite().all()
    assert right.logits.isfinite().all()
    for at_left, at_right, mask in zip(left.logits, right.logits, batch["attention_mask"], strict=True):
        length = int(mask.sum())
        torch.testing.assert_close(at_left[-length:], at_right[:length])


def test_the_placeholder_is_never_learnt(build: Build, batch: Any) -> None:
    """Loops that learn whole texts label every token of them."""
    model = build()
    everything = torch.where(batch["attention_mask"].bool(), batch["input_ids"], -100)
    apart = everything.masked_fill(batch["input_ids"] == model.config.image_token_id, -100)
    torch.testing.assert_close(model(**{**batch, "labels": everything}).loss, model(**{**batch, "labels": apart}).loss)


def gradients(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.grad for name, value in model.named_parameters() if value.grad is not None}


@pytest.mark.parametrize("kind", ["convnext", "clip"])
def test_gradient_checkpointing_changes_no_gradient(build: Build, batch: Any, kind: str) -> None:
    found = []
    for checkpointing in (False, True):
        model = build(kind, token_budget=30).train()
        if checkpointing:
            model.activation_checkpointing_enable()
        runs: list[int] = []
        model.language_model.model.layers[0].self_attn.register_forward_hook(lambda *_, runs=runs: runs.append(1))
        torch.manual_seed(1)
        model(**batch, gating=Gating(0.5), use_cache=False).loss.backward()
        assert len(runs) == 1 + checkpointing, "computed again for the gradient"
        found.append(gradients(model))
    plain, saved = found
    assert plain.keys() == saved.keys()
    assert len(plain) > 50
    for name, gradient in plain.items():
        torch.testing.assert_close(saved[name], gradient, msg=name)


@pytest.mark.parametrize("temperature", [1.0, 0.2])
def test_it_trains_in_bfloat16_by_autocast(build: Build, batch: Any, temperature: float) -> None:
    model, gating = build(token_budget=30), Gating(temperature)
    exact = model(**batch, gating=gating).loss
    exact.backward()
    expected = {name: float(gradient.norm()) for name, gradient in gradients(model).items()}
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(**batch, gating=gating).loss
    torch.testing.assert_close(loss.float(), exact, atol=0.1, rtol=0.1)
    loss.backward()
    for name, gradient in gradients(model).items():
        assert gradient.isfinite().all(), name
        if name.startswith(("attending", "balancing")):
            assert 0 < float(gradient.norm()) < 4 * expected[name], name


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft's, of transformers
def test_adapters_train_and_are_merged(build: Build, batch: Any, tmp_path: Path) -> None:
    model = build(token_budget=30)
    before = model(**batch).loss
    adapted = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False))
    output = adapted(**batch, gating=Gating(0.5))
    output.loss.backward()
    names = [name for name in gradients(adapted) if "lora_A" in name]
    for part in ("vision_encoder", "knowing", "balancing", "attending", "realizing", "language_model"):
        assert any(f".{part}." in name for name in names), part
    active = adapted(**batch)
    assert (active.loss - before).abs() > 1e-3
    merged = adapted.merge_and_unload()
    assert isinstance(merged, ArrCocForConditionalGeneration)
    torch.testing.assert_close(merged(**batch).loss, active.loss, atol=1e-4, rtol=1e-4)
    merged.save_pretrained(tmp_path)
    loaded = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert torch.equal(loaded(**batch).logits, merged(**batch).logits)


def test_the_body_without_the_head_is_what_the_head_reads(build: Build, batch: Any) -> None:
    model = build()
    whole = model(**batch)
    labels = batch.pop("labels")
    question = (labels == -100).long().cumprod(1)
    hidden = model.base_model(**batch, question_mask=question, use_cache=False).last_hidden_state
    torch.testing.assert_close(model.get_output_embeddings()(hidden), whole.logits, atol=1e-5, rtol=1e-5)


def test_a_fused_head_gives_the_same_log_probabilities(build: Build, batch: Any) -> None:
    model = build()
    logits, labels = model(**batch).logits[:, :-1].log_softmax(-1), batch["labels"][:, 1:]
    question = (batch["labels"] == -100).long().cumprod(1)
    expected = logits.gather(2, labels.clamp(min=0).unsqueeze(-1)).squeeze(-1).masked_fill(labels == -100, 0)
    add_fused_lm_head(model)
    found = model(**batch, question_mask=question, fused_lm_head=True).log_probs
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_the_router_reads_the_question_mask(build: Build, batch: Any) -> None:
    model = build()
    labels = batch.pop("labels")
    leaking = model(**batch).routing.gains
    told = model(**batch, question_mask=(labels == -100).long().cumprod(1)).routing.gains
    torch.testing.assert_close(told, model(**batch, labels=labels).routing.gains)
    assert (told - leaking).abs().max() > 1e-3


def test_other_splits_can_be_tried(build: Build, batch: Any) -> None:
    model = build(token_budget=30)
    own = model(**batch)
    tree = model.tree
    taken = own.routing.leaves.float() @ tree.ancestors > 0
    same = model(**batch, splits=taken)
    torch.testing.assert_close(same.loss, own.loss)
    assert torch.equal(same.routing.leaves, own.routing.leaves)
    none = model(**batch, splits=torch.zeros_like(taken))
    assert none.routing.visual_tokens.tolist() == [4, 4, 4, 0]
    assert none.routing.leaves[0].nonzero().flatten().tolist() == tree.regions.roots.tolist()


def test_gains_carry_their_gradient_where_they_are_learnt(build: Build, batch: Any) -> None:
    model = build(token_budget=30)
    assert not model(**batch).routing.gains.requires_grad
    model(**batch, learn_gains=True).routing.gains.square().sum().backward()
    assert model.attending.gain[0].weight.grad.abs().max() > 0
