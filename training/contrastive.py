# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""The contrastive objective: a picture is more like its own text than like the others of the batch.

P pairs of all processes together, d the size of the language model's states.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, distributed, nn
from torch.nn.functional import cross_entropy, logsigmoid, normalize
from torch.optim import Optimizer
from transformers import Trainer

from arr_coc_model import ArrCocForConditionalGeneration
from harness import ConfigError
from training.conversations import ConversationCollator, padded
from training.lessons import Draw

Kind: TypeAlias = Literal["clip", "siglip"]
FILE = "contrast.pt"
"""In a trainer's checkpoint: what of the loss is learnt."""
NAMES = ("text_ids", "text_mask", "pairs")
"""What a batch has for it."""


class PairCollator(ConversationCollator):
    """Draws to batches, with the answers alone as texts beside them."""

    def __call__(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        """As `ConversationCollator`, and text_ids and text_mask [P, l]; pairs [P, 2]: a number for each picture and
        text, the same for the same."""
        texts = [
            [*self.tokenizer(draw.answers[0].strip(), add_special_tokens=False)["input_ids"], self.end]
            for draw in draws
        ]
        return {
            **super().__call__(draws),
            "text_ids": padded(texts, self.padding),
            "text_mask": padded([[1] * len(text) for text in texts], 0),
            "pairs": torch.tensor([[_number(draw.picture.image.name), _number(draw.answers[0])] for draw in draws]),
        }


def _number(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=7).digest(), "big")


def clip_loss(likeness: Tensor, rivals: Tensor) -> Tensor:
    """Which text of all is a picture's, and which picture a text's (Radford et al. 2021, arXiv:2103.00020, figure 3).

    Args:
        likeness: [P, P] of pictures (rows) and texts, scaled.
        rivals: [P, P] bool, which others count as others.
    """
    own = torch.eye(len(likeness), dtype=torch.bool, device=likeness.device)
    likeness = likeness.masked_fill(~(rivals | own), -math.inf)
    target = torch.arange(len(likeness), device=likeness.device)
    return (cross_entropy(likeness, target) + cross_entropy(likeness.T, target)) / 2


def siglip_loss(likeness: Tensor, rivals: Tensor) -> Tensor:
    """Whether each picture and each text belong together (Zhai et al. 2023, arXiv:2303.15343, equation in section 3.2).

    Args:
        likeness: [P, P] of pictures (rows) and texts, scaled and shifted.
        rivals: [P, P] bool, which others count as others.
    """
    own = torch.eye(len(likeness), device=likeness.device)
    said = logsigmoid(likeness * (2 * own - 1)) * (rivals | own.bool())
    return -said.sum() / len(likeness)


class Contrast(nn.Module):
    """The loss over the pairs of all processes, with what of it is learnt.

    It is no part of the model. The loss is that of all pairs, the same in each process, and so is the gradient of what
    is learnt here; the model's is the mean of those of all processes, which is what data-parallel training takes.

    Args:
        kind: of loss; the temperature begins as its authors have it, 0.07 or 0.1, and SigLIP's bias at -10.
    """

    def __init__(self, kind: Kind) -> None:
        super().__init__()
        self.kind = kind
        self.scale = nn.Parameter(torch.tensor(math.log(1 / 0.07) if kind == "clip" else math.log(10)))
        self.bias = nn.Parameter(torch.tensor(-10.0)) if kind == "siglip" else None
        self._batch: dict[str, Tensor] = {}
        self._asked: Tensor | None = None
        self._pictures: Tensor | None = None

    def forward(self, pictures: Tensor, texts: Tensor, pairs: Tensor) -> Tensor:
        """The loss of this process's pictures and texts [p, d] with `pairs` [p, 2], among those of all."""
        pictures, texts = (gathered(normalize(states.float(), dim=-1)) for states in (pictures, texts))
        pairs = gathered(pairs)
        rivals = (pairs[:, None] != pairs[None]).all(-1)
        # No larger than 100, as CLIP has it.
        likeness = self.scale.clamp(max=math.log(100)).exp() * (pictures @ texts.T)
        if self.bias is None:
            return clip_loss(likeness, rivals)
        return siglip_loss(likeness + self.bias, rivals)

    def attach(self, model: Any) -> None:
        """Has a model compute it wherever a batch has texts; its output is then `loss` and `contrastive` alone.

        All of it happens within the model's own forward pass, so that what wraps the model for several processes sees
        what is computed.

        Raises:
            ConfigError: the model does not show which of its states are pictures'.
        """
        ours = isinstance(model, ArrCocForConditionalGeneration)
        if not ours and not isinstance(getattr(model.config, "image_token_id", None), int):
            raise ConfigError(f"objectives.contrastive: a {type(model).__name__} gives pictures no places in the text")
        model.register_forward_pre_hook(self._before, with_kwargs=True)
        model.register_forward_hook(self._after)
        if ours:
            model.realizing.register_forward_hook(self._realized)
        else:
            model.get_decoder().register_forward_pre_hook(self._read, with_kwargs=True)

    def _before(self, model: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        self._batch = {name: kwargs.pop(name) for name in NAMES if name in kwargs}
        self._asked, self._pictures = kwargs.get("input_ids"), None
        if self._asked is not None and not isinstance(model, ArrCocForConditionalGeneration):
            self._asked = self._asked == model.config.image_token_id
        return args, kwargs

    def _read(self, decoder: Any, args: Any, kwargs: dict[str, Any]) -> None:
        """Pictures are where the placeholders were in what the language model reads first."""
        if self._batch and self._pictures is None:
            assert self._asked is not None
            self._pictures = pooled(kwargs["inputs_embeds"], self._asked)

    def _realized(self, realizing: Any, args: Any, visual: Any) -> None:
        if self._batch:
            self._pictures = pooled(visual.embeddings, visual.mask)

    def _after(self, model: Any, args: Any, output: Any) -> Any:
        if not self._batch:
            return output
        batch, pictures = self._batch, self._pictures
        self._batch, self._asked, self._pictures = {}, None, None
        assert pictures is not None
        words = model.get_input_embeddings()(batch["text_ids"])
        states = model.get_decoder().base_model(inputs_embeds=words, attention_mask=batch["text_mask"], use_cache=False)
        texts = pooled(states.last_hidden_state, batch["text_mask"])
        # A mapping of its own: what wraps the model makes outputs anew, and theirs have no such name.
        return {"loss": output.loss, "contrastive": self(pictures, texts, batch["pairs"])}


def pooled(states: Tensor, mask: Tensor) -> Tensor:
    """The mean [P, d] of those states [P, L, d] that the mask [P, L] has."""
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1)


class _Gathering(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, local: Tensor) -> Tensor:
        parts = [torch.empty_like(local) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, local.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        whole = gradient.clone(memory_format=torch.contiguous_format)
        distributed.all_reduce(whole)
        return whole.chunk(distributed.get_world_size())[distributed.get_rank()]


def gathered(local: Tensor) -> Tensor:
    """The rows of all processes, in their order; the gradients of all flow back to where the rows came from."""
    if not distributed.is_initialized() or distributed.get_world_size() == 1:
        return local
    rows: Tensor = _Gathering.apply(local)
    return rows


class PretrainTrainer(Trainer):
    """A Trainer whose loss is a sum of objectives.

    Attributes:
        weights: of captioning and of the contrastive loss.
        contrast: that loss, where it is taken.
    """

    weights: tuple[float, float] = (1.0, 0.0)
    contrast: Contrast | None = None

    def compute_loss(
        self,
        model: nn.Module,
        inputs: dict[str, Any],
        return_outputs: bool = False,
        num_items_in_batch: Tensor | int | None = None,
    ) -> Any:
        """Captioning and the contrastive loss, by their weights."""
        loss, output = super().compute_loss(model, inputs, True, num_items_in_batch)
        captioning, contrastive = self.weights
        if "contrastive" in output:
            found = output["contrastive"]
            if self.model_accepts_loss_kwargs and num_items_in_batch is not None:
                # Captioning's is a share of all batches of the step; this is one batch's own.
                found = found / self.current_gradient_accumulation_steps
            loss = captioning * loss + contrastive * found if captioning else contrastive * found
        return (loss, output) if return_outputs else loss

    def create_optimizer(self, model: Any = None) -> Optimizer:
        """The optimizer, of what the contrastive loss learns too, which does not decay."""
        made = self.optimizer
        if made is None:
            made = super().create_optimizer(model)
            if self.contrast is not None:
                self.contrast.to(self.args.device)
                made.add_param_group({"params": list(self.contrast.parameters()), "weight_decay": 0.0})
                # The Trainer only forgets the gradients of its model.
                made.register_step_post_hook(lambda *_: self.contrast.zero_grad() if self.contrast else None)
        return made

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """The model's files, and beside them what the contrastive loss has learnt."""
        super().save_model(output_dir, _internal_call)
        if self.contrast is not None and self.args.should_save:
            torch.save(self.contrast.state_dict(), Path(output_dir or str(self.args.output_dir)) / FILE)

    def train(self, resume_from_checkpoint: str | bool | None = None, *args: Any, **kwargs: Any) -> Any:
        """Trains, from a checkpoint where one is named."""
        if self.contrast is not None and isinstance(resume_from_checkpoint, str):
            learnt = torch.load(Path(resume_from_checkpoint) / FILE, map_location="cpu", weights_only=True)
            self.contrast.load_state_dict(learnt)
        return super().train(resume_from_checkpoint, *args, **kwargs)
