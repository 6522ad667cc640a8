"""From drawn lessons to a batch."""

from collections.abc import Sequence

from torch import Tensor, tensor

from arr_coc_model import ArrCocProcessor
from harness import decode
from training.arr_coc.alignment import Vocabulary
from training.lessons import Draw


class Collator:
    """Decodes pictures and tokenizes prompts and answers. Prompts about one picture share its encoding."""

    def __init__(self, processor: ArrCocProcessor, vocabulary: Vocabulary, grid: tuple[int, int]) -> None:
        self.processor = processor
        self.vocabulary = vocabulary
        self.grid = grid

    def __call__(self, draws: Sequence[Draw]) -> dict[str, Tensor]:
        """What the processor gives for P pictures and Q prompts, which come picture by picture.

        And `target` [P, V, N]: which words of the vocabulary are true of which patches; `described` [P]: whether
        that is known.
        """
        scenes = [draw.picture.scene for draw in draws]
        batch = self.processor(
            images=[decode(draw.picture.image) for draw in draws],
            text=[prompt for draw in draws for prompt in draw.prompts],
            answers=[answer for draw in draws for answer in draw.answers],
            image_index=[place if seen else -1 for place, draw in enumerate(draws) for seen in draw.seen],
        )
        return {
            **batch,
            "target": self.vocabulary.targets(scenes, self.grid),
            "described": tensor([scene is not None for scene in scenes]),
        }
