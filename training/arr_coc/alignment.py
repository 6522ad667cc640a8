"""Alignment of patches with words: supervision by the names and attributes of objects and their boxes.

Each word is looked for on its own. Its likeness should be high in the patches of the objects that it describes, and
nowhere else. Scene graphs are read as GQA publishes them.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from harness import DataError


@dataclass(frozen=True, slots=True)
class Region:
    """Where some words are true: left, top, right and bottom as shares of the picture."""

    words: tuple[str, ...]
    box: tuple[float, float, float, float]

    @property
    def everywhere(self) -> bool:
        return self.box == (0.0, 0.0, 1.0, 1.0)


@dataclass(frozen=True, slots=True)
class Scene:
    """What is where in a picture."""

    regions: tuple[Region, ...]


def read_scenes(path: Path) -> dict[str, Scene]:
    """A GQA scene graph file: picture id -> what is where. Location and weather are true everywhere.

    Raises:
        DataError: the file is missing or is no scene graph file.
    """
    try:
        graphs = json.loads(path.read_text(encoding="utf-8"))
        return {str(picture): _scene(graph) for picture, graph in graphs.items()}
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); alignment needs the scene graphs") from error
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError) as error:
        raise DataError(f"{path}: not a scene graph file as GQA publishes them ({error!r})") from error


def _scene(graph: Mapping[str, Any]) -> Scene:
    width, height = graph["width"], graph["height"]
    everywhere = tuple(graph[key] for key in ("location", "weather") if graph.get(key))
    regions = [Region(everywhere, (0.0, 0.0, 1.0, 1.0))] if everywhere else []
    for thing in graph["objects"].values():
        left, top = thing["x"], thing["y"]
        box = (left / width, top / height, (left + thing["w"]) / width, (top + thing["h"]) / height)
        regions.append(Region((thing["name"], *thing["attributes"]), box))
    return Scene(tuple(regions))


class Vocabulary:
    """The words of scenes that the tokenizer knows as one token each."""

    def __init__(self, scenes: Sequence[Scene], tokenizer: PreTrainedTokenizerBase) -> None:
        said = sorted({word for scene in scenes for region in scene.regions for word in region.words})
        ids = {word: tokenizer(word, add_special_tokens=False)["input_ids"] for word in said}
        known = [word for word in said if len(ids[word]) == 1 and ids[word][0] != tokenizer.unk_token_id]
        self.place = {word: index for index, word in enumerate(known)}
        self.ids = torch.tensor([ids[word][0] for word in known], dtype=torch.long)
        self.excluding = self._excluding(scenes)

    def _excluding(self, scenes: Sequence[Scene]) -> Tensor:
        """[V, V]: 1.0 where no region, with what is true everywhere around it, has both words."""
        together = torch.eye(len(self.place), dtype=torch.bool)
        for scene in scenes:
            everywhere = [word for region in scene.regions if region.everywhere for word in region.words]
            for region in scene.regions:
                places = [self.place[word] for word in {*region.words, *everywhere} if word in self.place]
                index = torch.tensor(places, dtype=torch.long)
                together[index.unsqueeze(1), index] = True
        return (~together).float()

    def targets(self, scenes: Sequence[Scene | None], grid: tuple[int, int]) -> Tensor:
        """[P, V, rows * cols]: 1.0 in every patch that a region with the word touches."""
        rows, cols = grid
        target = torch.zeros(len(scenes), len(self.place), rows, cols)
        for picture, scene in enumerate(scenes):
            for region in () if scene is None else scene.regions:
                left, top, right, bottom = region.box
                across = slice(int(left * cols), math.ceil(right * cols))
                down = slice(int(top * rows), math.ceil(bottom * rows))
                for word in region.words:
                    if word in self.place:
                        target[picture, self.place[word], down, across] = 1.0
        return target.flatten(2)


def alignment_loss(likeness: Tensor, target: Tensor, excluding: Tensor, described: Tensor) -> Tensor:
    """Cross-entropy of each true word against the words that exclude it, and of no word where none is true.

    A word competes only with what cannot be true of the same thing: "red" with the other colours, not with "circle".
    That needs no list of kinds of words, and is learnt far sooner than a yes or no a word. No word at all is one more
    competitor, of likeness 0, which should win where nothing is.

    Args:
        likeness: [P, V, N] of patches and words.
        target: [P, V, N], 1.0 where a word is true.
        excluding: [V, V], 1.0 where two words are never true of one thing.
        described: [P] (bool); other pictures do not count.
    """
    scores, true = likeness[described].transpose(1, 2), target[described].transpose(1, 2)
    if not len(scores):
        return likeness.sum() * 0
    top = scores.detach().amax(-1, keepdim=True).clamp(min=0)
    mass, nothing = (scores - top).exp(), (-top).exp()
    rivals = (mass * (1 - true)) @ excluding
    missed = ((rivals + mass + nothing).log() + top - scores) * true
    patches = true.sum((0, 1))
    said = (missed.sum((0, 1)) / patches.clamp(min=1))[patches > 0].mean()
    ruled_out = (true @ excluding).clamp(max=1)
    stray = (mass * (1 - true) * (1 - ruled_out)).sum(-1, keepdim=True)
    unsaid = ((stray + nothing).log() + top).mean()
    return said + unsaid
