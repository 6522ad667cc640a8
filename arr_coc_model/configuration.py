# mypy: allow-untyped-calls
# Parts of transformers carry no annotations.

"""Configuration of ARR-COC."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

from transformers import AutoConfig, PreTrainedConfig
from transformers.configuration_utils import SubConfigSpec

from arr_coc_model.encoding import as_pair, measure_encoder
from arr_coc_model.regions import ROOT_SIZE, Regions

WAYS_OF_KNOWING = ("propositional", "perspectival", "participatory")
TENSIONS = ("compress_particularize", "exploit_explore", "focus_diversify")


class ArrCocConfig(PreTrainedConfig):
    """What an ARR-COC model is made of.

    Args:
        vision_config: configuration of any encoder that `AutoModel` builds and that gives patch features.
        text_config: configuration of any causal language model that `AutoModelForCausalLM` builds.
        vision_encoder_name: where the encoder's weights came from; a record, never needed to load the model.
        llm_name: where the language model's weights came from; likewise.
        vision_feature_layer: hidden layer of the encoder that is read; -1 is its last hidden state.
        image_size: pixels of one tile, an edge or (height, width); the encoder's own by default.
        tiles: pictures are cut into this many tiles (a square number), each encoded on its own; 1 means none.
        num_patches: patches N that the encoder gives for one tile. Measured on the encoder; checked where
            given.
        patch_grid: rows and columns of those patches. Measured.
        feature_size: the encoder's feature size D. Measured.
        min_tokens_per_patch: least tokens of a block. A block is a tile where `tiles > 1` (default 64 =
            8x8), and else a root region of 8x8 patches (default 1).
        max_tokens_per_patch: most tokens of a block; default 400 = 20x20 for a tile, 64 for a root region.
        knowing_weights: prior weight of propositional, perspectival and participatory relevance, as three
            numbers or by name; normalised to a sum of 1. A weight of 0 takes that way of knowing out.
        token_budget: visual tokens B of a picture, from the least to all its patches; a ninth of them by
            default.
        knowing_size: width of the router.
        query_slots: referents of a question that are told apart.
        image_token_id: id of the placeholder that visual tokens replace; it is never embedded, so it may lie
            outside the language model's vocabulary.

    Raises:
        ValueError: a value that cannot be, with what it would have to be.
    """

    model_type = "arr_coc"
    sub_configs_defaults: ClassVar[dict[str, SubConfigSpec]] = {
        "vision_config": SubConfigSpec(config_class=AutoConfig, model_type="clip_vision_model"),
        "text_config": SubConfigSpec(config_class=AutoConfig, model_type="llama"),
    }

    vision_config: dict[str, Any] | PreTrainedConfig | None = None
    text_config: dict[str, Any] | PreTrainedConfig | None = None
    vision_encoder_name: str | None = None
    llm_name: str | None = None
    vision_feature_layer: int = -1
    image_size: int | list[int] | tuple[int, ...] | None = None
    tiles: int = 1
    num_patches: int | None = None
    patch_grid: list[int] | tuple[int, ...] | None = None
    feature_size: int | None = None
    min_tokens_per_patch: int | None = None
    max_tokens_per_patch: int | None = None
    knowing_weights: dict[str, float] | list[float] | tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    token_budget: int | None = None
    knowing_size: int = 64
    query_slots: int = 2
    image_token_id: int = 0
    initializer_range: float = 0.02
    tie_word_embeddings: bool = False

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.tie_word_embeddings = bool(getattr(self.text_config, "tie_word_embeddings", False))
        self._settle_grid()
        self.knowing_weights = self._normalised(self.knowing_weights)
        self._settle_bounds()
        if self.knowing_size < 1 or self.query_slots < 1:
            raise ValueError(
                f"knowing_size and query_slots must be at least 1, got {self.knowing_size} and {self.query_slots}"
            )

    def _settle_grid(self) -> None:
        assert isinstance(self.vision_config, PreTrainedConfig)
        if self.tiles < 1 or math.isqrt(self.tiles) ** 2 != self.tiles:
            raise ValueError(f"tiles must be a square number (1, 4, 9...), got {self.tiles}")
        size = self.image_size if self.image_size is not None else getattr(self.vision_config, "image_size", None)
        if size is None:
            raise ValueError(f"give image_size: a {self.vision_config.model_type} configuration does not tell it")
        self.image_size = list(as_pair(size))
        if self.patch_grid is None or self.feature_size is None:
            rows, cols, features = measure_encoder(self.vision_config, self.vision_feature_layer, as_pair(size))
            self.patch_grid, self.feature_size = [rows, cols], features
        rows, cols = self.patch_grid
        if self.num_patches not in (None, rows * cols):
            raise ValueError(
                f"num_patches={self.num_patches}, but the encoder gives {rows}x{cols} = {rows * cols} patches for "
                f"{self.image_size[0]}x{self.image_size[1]} pixels: leave num_patches out, or change image_size"
            )
        self.num_patches = rows * cols

    @staticmethod
    def _normalised(weights: Mapping[str, float] | list[float] | tuple[float, ...]) -> list[float]:
        if isinstance(weights, Mapping):
            if set(weights) != set(WAYS_OF_KNOWING):
                raise ValueError(f"knowing_weights must name {', '.join(WAYS_OF_KNOWING)}, got {', '.join(weights)}")
            weights = [weights[name] for name in WAYS_OF_KNOWING]
        if len(weights) != len(WAYS_OF_KNOWING):
            raise ValueError(f"knowing_weights takes three numbers ({', '.join(WAYS_OF_KNOWING)}), got {weights}")
        if not all(0 <= weight < math.inf for weight in weights) or not any(weights):
            raise ValueError(f"knowing_weights must be finite, not negative and not all zero, got {list(weights)}")
        return [float(weight) / sum(weights) for weight in weights]

    def _settle_bounds(self) -> None:
        tiled = self.tiles > 1
        size = int(self.num_patches or 0) if tiled else ROOT_SIZE**2
        if self.min_tokens_per_patch is None:
            self.min_tokens_per_patch = min(64, size) if tiled else 1
        if self.max_tokens_per_patch is None:
            self.max_tokens_per_patch = min(400, size) if tiled else size
        low, high = self.min_tokens_per_patch, self.max_tokens_per_patch
        what = f"a tile of {size} patches" if tiled else f"a root region of {ROOT_SIZE}x{ROOT_SIZE} patches"
        if not 1 <= low <= high <= size:
            raise ValueError(
                f"min_tokens_per_patch={low} and max_tokens_per_patch={high} bound the tokens of {what}: "
                f"1 <= min <= max <= {size} is needed"
            )
        if tiled and high < (roots := len(self.regions.roots) // self.tiles):
            raise ValueError(f"max_tokens_per_patch={high} is below the {roots} root regions of a tile")
        if self.token_budget is None:
            self.token_budget = max(self.least_budget, round(self.full_tokens / 9))
        self.check_budget(self.token_budget)

    @property
    def regions(self) -> Regions:
        """The region tree of a picture."""
        assert self.patch_grid is not None
        rows, cols = self.patch_grid
        side = math.isqrt(self.tiles)
        return Regions(rows=rows, cols=cols, tile_rows=side, tile_cols=side)

    @property
    def full_tokens(self) -> int:
        """Visual tokens of a picture without compression: all its patches, in all its tiles."""
        return self.tiles * int(self.num_patches or 0)

    @property
    def least_budget(self) -> int:
        """The smallest budget: one token a root region, or what `min_tokens_per_patch` asks of all blocks."""
        return self.regions.least_tokens(int(self.min_tokens_per_patch or 1))

    def check_budget(self, budget: int) -> None:
        """Raises ValueError unless least_budget <= budget <= full_tokens."""
        least = self.least_budget
        if not least <= budget <= self.full_tokens:
            roots = len(self.regions.roots)
            raise ValueError(
                f"token_budget={budget} is outside {least}..{self.full_tokens}: a picture has {roots} root regions "
                f"(min_tokens_per_patch={self.min_tokens_per_patch}) and {self.full_tokens} patches"
            )
