# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""What the model is told of its router's choice, and what it gives."""

from dataclasses import dataclass

from torch import Tensor
from transformers.cache_utils import Cache
from transformers.utils.generic import ModelOutput

from arr_coc_model.routing import Routing


@dataclass
class ArrCocOutput(ModelOutput):
    """Loss, logits, what the language model tells of the whole sequence (visual tokens included), and the routing."""

    loss: Tensor | None = None
    logits: Tensor | None = None  # [Q, L, V], one for each of input_ids; of the sequence where there are none
    past_key_values: Cache | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
    likeness: Tensor | None = None  # [P, V, N] of patches and `find_words`
    routing: Routing | None = None


@dataclass(frozen=True)
class Gating:
    """How the router's choice is made while it learns.

    Args:
        temperature: of the soft gates.
        hard: forward the hard choice, backward the soft one (straight-through).
        floor: regions with a smaller gate are left out of the sequence; 0 keeps all levels in it.
    """

    temperature: float = 1.0
    hard: bool = False
    floor: float = 0.0

    def __post_init__(self) -> None:
        if not self.temperature > 0 or not 0 <= self.floor < 1:
            raise ValueError(f"temperature must be above 0 and floor in 0..1, got {self.temperature} and {self.floor}")
