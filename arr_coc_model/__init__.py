# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""ARR-COC: a vision-language model that spends visual tokens where the question needs them.

Importing the package registers it with AutoConfig, AutoProcessor and AutoModelForImageTextToText.
"""

from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from arr_coc_model.configuration import TENSIONS, WAYS_OF_KNOWING, ArrCocConfig
from arr_coc_model.modeling import ArrCocForConditionalGeneration
from arr_coc_model.outputs import ArrCocOutput, Gating
from arr_coc_model.processing import ArrCocProcessor
from arr_coc_model.routing import Routing

AutoConfig.register("arr_coc", ArrCocConfig)
AutoProcessor.register(ArrCocConfig, ArrCocProcessor)
AutoModelForImageTextToText.register(ArrCocConfig, ArrCocForConditionalGeneration)

__all__ = [
    "TENSIONS",
    "WAYS_OF_KNOWING",
    "ArrCocConfig",
    "ArrCocForConditionalGeneration",
    "ArrCocOutput",
    "ArrCocProcessor",
    "Gating",
    "Routing",
]
