"""What the benchmarks' folders have in common: pictures, links to them, and JSON."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from .reference import View

Record = dict[str, Any]

SPLITS = ("train", "val")
INFO: Record = {
    "description": "Embedded world: drawn scenes of simple objects",
    "url": "",
    "version": "1.0",
    "year": 2014,
    "contributor": "",
    "date_created": "2014-01-01 00:00:00",
}
LICENSE: Record = {"url": "https://www.apache.org/licenses/LICENSE-2.0", "name": "Apache License 2.0"}


@dataclass(frozen=True, slots=True)
class Picture:
    """One drawn scene: `split` is "train" or "val", `jpeg` the file that every layout links to."""

    view: View
    split: str
    jpeg: Path

    @property
    def image_id(self) -> int:
        return self.view.image_id

    @property
    def coco_name(self) -> str:
        return f"COCO_{self.split}2014_{self.image_id:012d}.jpg"

    def kinds(self) -> list[str]:
        return [thing.shape for thing in self.view.scene.things]


class Layout(Protocol):
    """A benchmark's folder in the making."""

    def add(self, picture: Picture) -> None: ...

    def write(self) -> dict[str, int]:
        """Writes the files; returns what was written, as name to count."""
        ...


def write_json(path: Path, content: object) -> None:
    """Compact UTF-8 JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, ensure_ascii=False, separators=(",", ":")), encoding="utf-8")


def link(source: Path, target: Path) -> None:
    """The same file under another name; a copy where the file system has no hard links."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
