# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""ARR-COC as a Hugging Face model: an encoder, the four components, and a causal language model."""

import math
from typing import Any, cast

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    GenerationMixin,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers import initialization as init
from transformers.cache_utils import Cache
from transformers.modeling_outputs import BaseModelOutput

from arr_coc_model.assembling import IGNORED, Sequence, assemble
from arr_coc_model.attending import Allocation, Attending, Bounds, attend, leaves_of
from arr_coc_model.balancing import Balancing
from arr_coc_model.configuration import ArrCocConfig
from arr_coc_model.encoding import encode
from arr_coc_model.knowing import Knowing, Knowledge, Question
from arr_coc_model.outputs import ArrCocOutput, Gating
from arr_coc_model.realizing import Realizing
from arr_coc_model.regions import RegionTree
from arr_coc_model.routing import Routing, describe


class ArrCocForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Adaptive relevance realization: spends a budget of visual tokens where the question needs them."""

    config_class = ArrCocConfig
    config: ArrCocConfig
    base_model_prefix = "model"
    main_input_name = "input_ids"
    input_modalities = ("image", "text")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_attention_backend = True

    def __init__(
        self,
        config: ArrCocConfig,
        vision_encoder: PreTrainedModel | None = None,
        language_model: PreTrainedModel | None = None,
    ) -> None:
        super().__init__(config)
        text_size = config.get_text_config().hidden_size
        self.tree = RegionTree(config.regions)
        self.vision_encoder = vision_encoder or AutoModel.from_config(config.vision_config)
        self.knowing = Knowing(config, text_size)
        self.balancing = Balancing(config)
        self.attending = Attending(config)
        self.realizing = Realizing(config, text_size)
        self.language_model = language_model or AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    @classmethod
    def from_parts(
        cls,
        vision_encoder_name: str,
        llm_name: str,
        *,
        parts: dict[str, Any] | None = None,
        **settings: Any,
    ) -> "ArrCocForConditionalGeneration":
        """A new model around a pretrained encoder and language model, by hub name or folder.

        The vision tower of a dual model (CLIP, SigLIP) is taken out of it. `parts` goes to both
        `from_pretrained` (dtype, revision, local_files_only...); `settings` are those of ArrCocConfig.
        """
        given = parts or {}
        whole = AutoConfig.from_pretrained(vision_encoder_name, **given)
        vision_config: PreTrainedConfig = getattr(whole, "vision_config", whole)
        encoder = AutoModel.from_pretrained(vision_encoder_name, config=vision_config, **given)
        language_model = AutoModelForCausalLM.from_pretrained(llm_name, **given)
        config = ArrCocConfig(
            vision_config=encoder.config,
            text_config=language_model.config,
            vision_encoder_name=vision_encoder_name,
            llm_name=llm_name,
            **settings,
        )
        return cls(config, encoder, language_model)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, RegionTree):
            for name, table in module.tables().items():
                init.copy_(getattr(module, name), table)
        elif isinstance(module, Question):
            # Words begin as themselves, and learn what their neighbours make of them.
            init.zeros_(module.context.weight)
        elif isinstance(module, Balancing):
            init.copy_(module.prior, module.log_prior())

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return cast(nn.Module, self.language_model.get_input_embeddings())

    def set_input_embeddings(self, value: nn.Module) -> None:
        """The language model's."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module | None:
        """The language model's."""
        return cast("nn.Module | None", self.language_model.get_output_embeddings())

    @property
    def base_model(self) -> Any:
        """The model without its head, called as a whole model is: hidden states [Q, L, d] at the places of input_ids.

        For loops that apply the head themselves (trl's fused one). They hold back the labels, so such a loop must give
        `question_mask`, or the router reads the answers too.
        """
        return self._hidden

    def _hidden(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        question_mask: Tensor | None = None,
        token_budget: int | Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        sequence, _ = self.prepare(
            input_ids,
            attention_mask,
            self.get_patch_features(pixel_values),
            image_index,
            question_mask=question_mask,
            token_budget=token_budget,
        )
        output = self.language_model.base_model(
            inputs_embeds=sequence.embeddings,
            attention_mask=sequence.attention_mask(),
            position_ids=sequence.positions,
            **kwargs,
        )
        return BaseModelOutput(last_hidden_state=_at(sequence.ends, output.last_hidden_state))

    def get_patch_features(self, pixel_values: Tensor | None) -> Tensor | None:
        """Pictures [P, C, H, W] -> patch features [P, N, D] in raster order, N over all tiles."""
        if pixel_values is None:
            return None
        return encode(
            self.vision_encoder,
            pixel_values.to(self.dtype),
            layer=self.config.vision_feature_layer,
            grid=cast(tuple[int, int], tuple(self.config.patch_grid or ())),
            tiles=(math.isqrt(self.config.tiles),) * 2,
        )

    def route(
        self,
        features: Tensor,
        picture: Tensor,
        words: Tensor,
        mask: Tensor,
        *,
        budget: Tensor,
        gating: Gating | None = None,
        splits: Tensor | None = None,
    ) -> tuple[Knowledge, Allocation, Routing]:
        """Knowing, balancing and attending.

        features [B, N, D] of the pictures, picture [Q] which of them each question is about, words [Q, L, d]
        with the mask [Q, L] of those before the answer, budget [Q]; splits [Q, S] are taken as they are.
        """
        config, tree = self.config, self.tree
        known: Knowledge = self.knowing(features, words, mask, picture, tree)
        balance = self.balancing(known, tree)
        bounds = Bounds(least=cast(int, config.min_tokens_per_patch), most=cast(int, config.max_tokens_per_patch))
        chosen = attend(
            self.attending(known, balance, tree),
            budget,
            tree,
            bounds,
            temperature=None if gating is None else gating.temperature,
            hard=gating is not None and gating.hard,
        )
        if splits is not None:
            chosen = Allocation(chosen.gains, splits, leaves_of(splits, tree), None)
        return known, chosen, describe(known, balance, chosen, tree)

    def prepare(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None,
        features: Tensor | None,
        image_index: Tensor | None,
        *,
        question_mask: Tensor | None = None,
        token_budget: int | Tensor | None = None,
        gating: Gating | None = None,
        splits: Tensor | None = None,
    ) -> tuple[Sequence, Routing | None]:
        """Texts and patch features as the sequence that the language model sees. Arguments as in `forward`."""
        mask = torch.ones_like(input_ids, dtype=torch.bool) if attention_mask is None else attention_mask.bool()
        placeholder = (input_ids == self.config.image_token_id) & mask
        words = self.get_input_embeddings()(input_ids.masked_fill(placeholder, 0))
        rows, picture = self._pictures(placeholder, 0 if features is None else len(features), image_index)
        visual, routing = None, None
        if features is not None and len(rows):
            before = mask & ~placeholder
            if question_mask is not None:
                before = before & question_mask.bool()
            budget = self._budgets(token_budget, len(input_ids), input_ids.device)[rows]
            known, chosen, found = self.route(
                features,
                picture,
                words[rows],
                before[rows],
                budget=budget,
                gating=gating,
                splits=None if splits is None else splits[rows],
            )
            floor = 0.0 if gating is None else gating.floor
            visual = self.realizing(features, picture, known, chosen, self.tree, gate_floor=floor)
            routing = found.among(rows, len(input_ids))
        sequence = assemble(
            words,
            input_ids,
            mask,
            visual,
            image_token_id=self.config.image_token_id,
            full_tokens=self.config.full_tokens,
        )
        return sequence, routing

    def forward(
        self,
        input_ids: Tensor | None = None,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        labels: Tensor | None = None,
        image_index: Tensor | None = None,
        question_mask: Tensor | None = None,
        token_budget: int | Tensor | None = None,
        gating: Gating | None = None,
        splits: Tensor | None = None,
        learn_gains: bool = False,
        find_words: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        use_cache: bool | None = None,
        **kwargs: Any,
    ) -> ArrCocOutput:
        """Reads pictures and texts.

        Args:
            input_ids: [Q, L], padded on either side; a row about a picture holds one placeholder
                (`image_token_id`).
            pixel_values: [P, C, H, W]; None where no row has a picture.
            attention_mask: [Q, L]; all ones by default.
            labels: [Q, L], -100 everywhere but on the answer.
            image_index: [Q], the picture of each row, -1 for none; several rows may share one, which is
                encoded once. By default the rows with a placeholder take the pictures in order.
            question_mask: [Q, L], what the router reads; by default what comes before the first label, and
                without labels everything.
            token_budget: visual tokens at most, one number or [Q]; the configuration's by default.
            gating: keeps the router's choice soft, so that it learns; None is the hard choice.
            splits: [Q, S] bool, taken instead of the router's choice: what another would have been worth.
            learn_gains: whether `routing.gains` come with their gradient.
            find_words: [V] token ids that are looked for in every picture, each on its own. Without input_ids
                that is all that is done.
            inputs_embeds, position_ids, past_key_values: a prepared sequence, as while generating.
            kwargs: go to the language model; `num_items_in_batch` to the loss.

        Returns:
            Logits [Q, L, V] at the places of input_ids, each those of the token that follows; at the placeholder those
            after the last visual token, at padding anything finite. Hidden states, attentions and cache are those of
            the sequence that the language model read, visual tokens included.

        Raises:
            ValueError: placeholders and pictures do not match, or a budget that cannot be.
        """
        attention = self.language_model.config._attn_implementation
        if gating is not None and attention not in ("eager", "sdpa"):
            raise ValueError(f"gates need attention that takes a float mask: 'sdpa' or 'eager', not {attention!r}")
        routing, likeness, ends = None, None, None
        items = kwargs.pop("num_items_in_batch", None)
        if inputs_embeds is None and past_key_values is None:
            features = self.get_patch_features(pixel_values)
            if features is not None and find_words is not None:
                likeness = self.knowing.find(features, self.get_input_embeddings()(find_words))
            if input_ids is None:
                if likeness is None:
                    raise ValueError("input_ids are missing")
                return ArrCocOutput(likeness=likeness)
            if labels is not None:
                labels = labels.masked_fill(input_ids == self.config.image_token_id, IGNORED)
                if question_mask is None:
                    question_mask = (labels == IGNORED).long().cumprod(1)
            sequence, routing = self.prepare(
                input_ids,
                attention_mask,
                features,
                image_index,
                question_mask=question_mask,
                token_budget=token_budget,
                gating=gating,
                splits=splits,
            )
            if routing is not None and routing.gains is not None and not learn_gains:
                routing.gains = routing.gains.detach()
            inputs_embeds, position_ids, ends = sequence.embeddings, sequence.positions, sequence.ends
            attention_mask, input_ids = sequence.attention_mask(), None
        output = self.language_model(
            input_ids=input_ids,
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            use_cache=use_cache if labels is None else False,
            **kwargs,
        )
        logits, loss = output.logits, None
        if ends is not None:
            logits = _at(ends, logits)
        if labels is not None:
            loss = self.loss_function(logits, labels, vocab_size=logits.shape[-1], num_items_in_batch=items)
        return ArrCocOutput(
            loss=loss,
            logits=logits,
            past_key_values=output.past_key_values,
            hidden_states=output.hidden_states,
            attentions=output.attentions,
            likeness=likeness,
            routing=routing,
        )

    @torch.no_grad()
    def answer(
        self,
        input_ids: Tensor,
        pixel_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        image_index: Tensor | None = None,
        token_budget: int | Tensor | None = None,
        **generation: Any,
    ) -> tuple[Tensor, Routing | None]:
        """`generate`, with the routing: new token ids [Q, new], padded on the right, and where the tokens went."""
        features = self.get_patch_features(pixel_values)
        sequence, routing = self.prepare(input_ids, attention_mask, features, image_index, token_budget=token_budget)
        generated = super().generate(  # type: ignore[misc]
            inputs_embeds=sequence.embeddings,
            attention_mask=sequence.attention_mask(),
            position_ids=sequence.positions,
            **generation,
        )
        return cast(Tensor, generated), routing

    @torch.no_grad()
    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Generates from texts and pictures; gives the new tokens alone, like any generation from embeddings.

        Takes `input_ids`, `pixel_values`, `attention_mask`, `image_index` and `token_budget` as `forward`
        does, and all that `GenerationMixin.generate` takes. `answer` gives the routing too.
        """
        input_ids = args[0] if args else kwargs.pop("input_ids", None)
        if input_ids is None:
            return super().generate(**kwargs)  # type: ignore[misc]
        return self.answer(input_ids, **kwargs)[0]

    def _pictures(self, placeholder: Tensor, pictures: int, image_index: Tensor | None) -> tuple[Tensor, Tensor]:
        """Rows that have a picture, and which one."""
        marks = placeholder.sum(1)
        if int(marks.max()) > 1:
            raise ValueError("a text holds more than one image placeholder: one picture a text is what the model reads")
        rows = marks.nonzero().squeeze(1)
        if image_index is None:
            if len(rows) != pictures:
                raise ValueError(f"{len(rows)} texts hold an image placeholder, but {pictures} pictures were given")
            return rows, torch.arange(pictures, device=rows.device)
        if not torch.equal(image_index >= 0, marks > 0):
            raise ValueError("image_index names a picture (>= 0) for other rows than those with an image placeholder")
        picture = image_index[rows]
        if len(rows) and int(picture.max()) >= pictures:
            raise ValueError(f"image_index names picture {int(picture.max())}, but {pictures} pictures were given")
        return rows, picture

    def _budgets(self, token_budget: int | Tensor | None, rows: int, device: torch.device) -> Tensor:
        budget = torch.as_tensor(token_budget if token_budget is not None else self.config.token_budget, device=device)
        for bound in {int(budget.min()), int(budget.max())}:
            self.config.check_budget(bound)
        return budget.expand(rows)


def _at(places: Tensor, values: Tensor) -> Tensor:
    """values [Q, T, d] at the places [Q, L]: [Q, L, d]."""
    return values.gather(1, places.unsqueeze(-1).expand(-1, -1, values.shape[-1]))
