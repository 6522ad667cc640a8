"""COCO Captions (Chen et al., 2015), https://cocodataset.org: 40,504 pictures of val2014, five captions each."""

from pathlib import PurePosixPath

import msgspec

from plugins.benchmarks.captions import PROFILES, Captions, Row


class CocoRow(Row, gc=False, kw_only=True):
    """The hub's copy has the picture's file name for an id."""

    image_id: str = msgspec.field(name="question_id")
    captions: list[str] = msgspec.field(name="answer")


def coco_captions() -> Captions:
    return Captions(
        PROFILES,
        names=("annotations/captions_{split}2014.json", "captions_{split}2014.json"),
        folder="{split}2014",
        file_name="COCO_{split}2014_{id:012d}.jpg",
        row=CocoRow,
        image_of_row=image_of_file,
        coco=True,
    )


def image_of_file(name: str) -> str:
    """`COCO_val2014_000000000042.jpg` -> "42"."""
    return str(int(PurePosixPath(name).stem.rpartition("_")[2]))
