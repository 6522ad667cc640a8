"""Question benchmarks in their official file layouts: VQAv2, OK-VQA and GQA."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from . import gqa, knowledge, vqa
from .balance import Balance
from .dice import Dice
from .layout import INFO, LICENSE, SPLITS, Picture, Record, link, write_json
from .reference import View

GQA_QUESTIONS, VQA_QUESTIONS, KNOWLEDGE_QUESTIONS = 10, 6, 2
"""Questions a picture."""

Asking = Callable[[View, Dice, Balance, int], tuple[list[Record], list[Record]]]


class TenAnswers:
    """VQAv2's and OK-VQA's layout: a question and an annotation file a split, pictures named as COCO's."""

    def __init__(self, folder: Path, ask: Asking, count: int, files: tuple[str, str], seed: int) -> None:
        self._folder, self._ask, self._count, self._files, self._seed = folder, ask, count, files, seed
        self._balance = {split: Balance() for split in SPLITS}
        self._questions: dict[str, list[Record]] = {split: [] for split in SPLITS}
        self._annotations: dict[str, list[Record]] = {split: [] for split in SPLITS}

    @classmethod
    def vqav2(cls, folder: Path, seed: int) -> TenAnswers:
        files = ("v2_OpenEnded_mscoco_{}2014_questions.json", "v2_mscoco_{}2014_annotations.json")
        return cls(folder, vqa.ask, VQA_QUESTIONS, files, seed)

    @classmethod
    def okvqa(cls, folder: Path, seed: int) -> TenAnswers:
        files = ("OpenEnded_mscoco_{}2014_questions.json", "mscoco_{}2014_annotations.json")
        return cls(folder, knowledge.ask, KNOWLEDGE_QUESTIONS, files, seed)

    def add(self, picture: Picture) -> None:
        dice = Dice(self._seed, self._folder.name, picture.image_id)
        questions, annotations = self._ask(picture.view, dice, self._balance[picture.split], self._count)
        self._questions[picture.split] += questions
        self._annotations[picture.split] += annotations
        link(picture.jpeg, self._folder / f"{picture.split}2014" / picture.coco_name)

    def write(self) -> dict[str, int]:
        for split in SPLITS:
            head: Record = {"info": INFO, "license": LICENSE, "data_type": "mscoco", "data_subtype": f"{split}2014"}
            questions, annotations = (self._folder / name.format(split) for name in self._files)
            write_json(questions, {**head, "task_type": "Open-Ended", "questions": self._questions[split]})
            write_json(annotations, {**head, "annotations": self._annotations[split]})
        return {f"{split}_questions": len(self._questions[split]) for split in SPLITS}


class Gqa:
    """GQA: balanced questions by number, scene graphs by picture, pictures named by their number."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._seed = folder, seed
        self._balance = {split: Balance() for split in SPLITS}
        self._questions: dict[str, dict[str, Record]] = {split: {} for split in SPLITS}
        self._graphs: dict[str, dict[str, Record]] = {split: {} for split in SPLITS}

    def add(self, picture: Picture) -> None:
        dice = Dice(self._seed, "gqa", picture.image_id)
        self._questions[picture.split].update(gqa.ask(picture.view, dice, self._balance[picture.split], GQA_QUESTIONS))
        self._graphs[picture.split][str(picture.image_id)] = gqa.scene_graph(picture.view)
        link(picture.jpeg, self._folder / "images" / f"{picture.image_id}.jpg")

    def write(self) -> dict[str, int]:
        for split, name in (("train", "train"), ("val", "testdev")):
            write_json(self._folder / f"{name}_balanced_questions.json", self._questions[split])
            write_json(self._folder / f"{name}_sceneGraphs.json", self._graphs[split])
        return {"train_questions": len(self._questions["train"]), "testdev_questions": len(self._questions["val"])}
