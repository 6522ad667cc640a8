"""Ready-made configurations, each with its hyperparameters in one place."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from arr_coc_model.configuration import ArrCocConfig
from arr_coc_model.presets.micro import micro, micro_processor
from arr_coc_model.processing import ArrCocProcessor


@dataclass(frozen=True)
class Preset:
    """How an architecture is made: the processor around a tokenizer, then the configuration around the processor."""

    processor: Callable[[PreTrainedTokenizerBase], ArrCocProcessor]
    configuration: Callable[..., ArrCocConfig]

    def __call__(self, tokenizer: PreTrainedTokenizerBase, **settings: Any) -> tuple[ArrCocProcessor, ArrCocConfig]:
        """Both at once."""
        processor = self.processor(tokenizer)
        return processor, self.configuration(processor, **settings)


PRESETS = {"micro": Preset(micro_processor, micro)}

__all__ = ["PRESETS", "Preset", "micro", "micro_processor"]
