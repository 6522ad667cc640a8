"""Assembling: visual tokens and words in one left-padded sequence, and back to the words.

Q rows, K visual tokens, L words, T the longest row.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from arr_coc_model.realizing import REMOVED, VisualTokens

IGNORED = -100


@dataclass(frozen=True)
class Sequence:
    """What goes into the language model."""

    embeddings: Tensor  # [Q, T, d]
    mask: Tensor  # [Q, T] bool, False on the left where the row is shorter
    positions: Tensor  # [Q, T]
    log_gate: Tensor | None  # [Q, T]
    ends: Tensor  # [Q, L]: where in T each token of the text ends; the placeholder ends with the last visual token

    def attention_mask(self) -> Tensor:
        """[Q, T] integers, or where tokens are gated [Q, 1, T, T] floats: causal, with the gates on the keys."""
        if self.log_gate is None:
            return self.mask.long()
        length = self.mask.shape[1]
        causal = torch.ones(length, length, dtype=torch.bool, device=self.mask.device).tril()
        seen = causal & self.mask[:, None, None, :]
        gated = self.log_gate[:, None, None, :].expand(-1, -1, length, -1)
        return torch.where(seen, gated, REMOVED).to(self.embeddings.dtype)


def assemble(
    words: Tensor,
    ids: Tensor,
    mask: Tensor,
    visual: VisualTokens | None,
    *,
    image_token_id: int,
    full_tokens: int,
) -> Sequence:
    """Puts visual tokens where the placeholder is.

    words [Q, L, d] with their ids and mask [Q, L]. `visual` has one row for each row of text that holds a
    placeholder, in order. Visual tokens take the positions of a picture with all its patches
    (`full_tokens`), so what follows them is where it would be at any budget.
    """
    placeholder = (ids == image_token_id) & mask
    kept = mask & ~placeholder
    after = placeholder.cumsum(1)
    positions = (kept.cumsum(1) - 1).clamp(min=0) + after * full_tokens
    if visual is None:
        return _left_padded(words, kept, after, positions, log_gate=None, widths=kept.long())
    rows = placeholder.any(1).nonzero().squeeze(1)
    begin = (kept & (after == 0)).sum(1, keepdim=True)[rows]
    there, shape = ids.new_zeros(len(ids), visual.mask.shape[1]), (len(ids), visual.mask.shape[1])
    seen = there.bool().index_copy(0, rows, visual.mask)
    tokens = words.new_zeros(*shape, words.shape[-1]).index_copy(0, rows, visual.embeddings.to(words.dtype))
    log_gate = None
    if visual.log_gate is not None:
        gates = visual.log_gate.new_zeros(shape).index_copy(0, rows, visual.log_gate)
        log_gate = torch.cat([gates, gates.new_zeros(ids.shape)], 1)
    return _left_padded(
        torch.cat([tokens, words], 1),
        torch.cat([seen, kept], 1),
        # Words before the placeholder sort before the visual tokens, which sort before the words after it.
        torch.cat([there + 1, after * 2], 1),
        torch.cat([there.index_copy(0, rows, visual.positions + begin), positions], 1),
        log_gate=log_gate,
        widths=torch.where(placeholder, seen.sum(1, keepdim=True), kept.long()),
    )


def _left_padded(
    embeddings: Tensor,
    kept: Tensor,
    rank: Tensor,
    positions: Tensor,
    *,
    log_gate: Tensor | None,
    widths: Tensor,
) -> Sequence:
    """`widths` [Q, L]: how many tokens of the sequence each token of the text is."""
    order = rank.masked_fill(~kept, -1).argsort(dim=1, stable=True)[:, -int(kept.sum(1).max()) :]
    mask = kept.gather(1, order)

    def sorted_or(values: Tensor, padding: int) -> Tensor:
        return values.gather(1, order).masked_fill(~mask, padding)

    # Padding of the text ends with a token of its row, so that what is read there is a number.
    begin = (mask.shape[1] - widths.sum(1, keepdim=True)).clamp(max=mask.shape[1] - 1)
    return Sequence(
        embeddings.gather(1, order.unsqueeze(-1).expand(-1, -1, embeddings.shape[-1])),
        mask,
        sorted_or(positions, 0),
        None if log_gate is None else sorted_or(log_gate, 0),
        begin + (widths.cumsum(1) - 1).clamp(min=0),
    )
