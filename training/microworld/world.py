"""Builds the embedded world: draws the scenes, asks the questions and writes every benchmark's folder."""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import PIL

from harness import UsageError

from .export_captions import CocoCaptions, Nocaps, Pope
from .export_questions import Gqa, TenAnswers
from .layout import Layout, Picture, write_json
from .preferences import Preferences
from .reference import View
from .render import draw, encode
from .scene import sample_scene

FORMAT = 2
"""Number of the world's version: raised whenever the same arguments would give other files."""

MANIFEST = "world.json"

# Picture numbers: training, evaluation, and evaluation with novel kinds each start after one of these.
_TRAIN, _VAL, _NOVEL = 0, 1_000_000, 2_000_000


@dataclass(frozen=True, slots=True)
class WorldSummary:
    """What was built.

    Attributes:
        path: the world's folder.
        images: pictures a split, "train" and "evaluation".
        counts: for each benchmark, how many questions or captions each of its files holds.
        digest: SHA-256 over the contents of all scenes, in order.
        seconds: time this call took.
        images_per_second: pictures drawn and written a second; 0 where the world was there already.
        reused: whether the world was there already.
    """

    path: Path
    images: dict[str, int]
    counts: dict[str, dict[str, int]]
    digest: str
    seconds: float
    images_per_second: float
    reused: bool


def build(
    out: Path,
    images: int = 2000,
    evaluation_images: int | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> WorldSummary:
    """Build the world in the folder `out`, or recognise it there.

    The work is done in a temporary folder beside `out` and renamed into place, so that `out` is complete or absent.

    Args:
        out: the folder to make; it may exist if it is empty or holds this very world.
        images: training pictures, at least 1.
        evaluation_images: evaluation pictures, at least 5; None means a quarter of `images`, but 8 to 500.
        seed: the world's seed; the same arguments and the same Pillow (it encodes the JPEGs) give the same bytes.
        progress: told (pictures done, pictures in all) after each picture.

    Raises:
        UsageError: `out` holds something else, or a number is out of range.
    """
    started = time.perf_counter()
    out = out.resolve()
    if evaluation_images is None:
        evaluation_images = min(500, max(images // 4, 8))
    if not 1 <= images < _VAL or not 5 <= evaluation_images < _VAL:
        bounds = f"1 to {_VAL - 1} training and 5 to {_VAL - 1} evaluation images"
        raise UsageError(f"a world needs {bounds}, not {images} and {evaluation_images}: choose other numbers")
    identity = {"format": FORMAT, "seed": seed, "images": images, "evaluation_images": evaluation_images}
    manifest = _existing(out, identity)
    reused = manifest is not None
    if manifest is None:
        manifest = _build_aside(out, identity, progress)
    seconds = time.perf_counter() - started
    return WorldSummary(
        path=out,
        images={"train": images, "evaluation": evaluation_images},
        counts=manifest["counts"],
        digest=manifest["digest"],
        seconds=seconds,
        images_per_second=0.0 if reused else (images + evaluation_images) / seconds,
        reused=reused,
    )


def _existing(out: Path, identity: dict[str, int]) -> dict[str, Any] | None:
    """The manifest of this very world in `out`; None where there is room to build it."""
    if not out.exists():
        return None
    if not out.is_dir():
        raise UsageError(f"{out} is a file: choose a folder that is new or empty")
    path = out / MANIFEST
    if not path.is_file():
        if any(out.iterdir()):
            raise UsageError(f"{out} holds other files and no {MANIFEST}: choose a folder that is new or empty")
        return None
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        found = {key: manifest[key] for key in identity}
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{path} is no world's manifest ({error}): choose another folder, or remove this one"
        ) from error
    differing = [f"{key} {found[key]} instead of {identity[key]}" for key in identity if found[key] != identity[key]]
    if differing:
        raise UsageError(
            f"{out} holds another world ({', '.join(differing)}): choose another folder, or remove this one"
        )
    return dict(manifest)


def _build_aside(out: Path, identity: dict[str, int], progress: Callable[[int, int], None] | None) -> dict[str, Any]:
    aside = out.parent / f".{out.name}.{secrets.token_hex(4)}.partial"
    aside.mkdir(parents=True)
    try:
        manifest = _fill(aside, identity, progress)
        try:
            aside.rename(out)
        except OSError:
            # Somebody else may have put a world there meanwhile: the same one is as good as ours.
            other = _existing(out, identity)
            if other is None:
                raise
            manifest = other
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return manifest


def _fill(folder: Path, identity: dict[str, int], progress: Callable[[int, int], None] | None) -> dict[str, Any]:
    seed = identity["seed"]
    everywhere: dict[str, Layout] = {
        "vqav2": TenAnswers.vqav2(folder / "vqav2", seed),
        "gqa": Gqa(folder / "gqa", seed),
        "okvqa": TenAnswers.okvqa(folder / "okvqa", seed),
        "coco_captions": CocoCaptions(folder / "coco_captions", seed),
        "pope": Pope(folder / "pope", seed),
        "preferences": Preferences(folder / "preferences", "coco_captions/train2014", seed),
    }
    nocaps = Nocaps(folder / "nocaps", seed)
    total = identity["images"] + identity["evaluation_images"]
    digest = hashlib.sha256()
    seen: dict[str, str] = {}
    jpeg = folder / "picture.jpg"
    for done, (view, split, captioned) in enumerate(_views(identity), start=1):
        content = view.scene.digest()
        digest.update(content.encode())
        if seen.setdefault(content, split) != split:
            raise RuntimeError(f"the scene {content} is in both splits")
        jpeg.write_bytes(encode(draw(view.scene)))
        picture = Picture(view, split, jpeg)
        if view.scene.domain == "in-domain":
            for layout in everywhere.values():
                layout.add(picture)
        if captioned:
            nocaps.add(picture)
        jpeg.unlink()
        if progress is not None:
            progress(done, total)
    counts = {name: layout.write() for name, layout in (*everywhere.items(), ("nocaps", nocaps))}
    manifest = {**identity, "counts": counts, "digest": digest.hexdigest(), "pillow": PIL.__version__}
    write_json(folder / MANIFEST, manifest)
    return manifest


def _views(identity: dict[str, int]) -> Iterator[tuple[View, str, bool]]:
    """Every picture with its split, and whether NoCaps shows it.

    A fifth of the evaluation pictures shows novel kinds, half of them beside known ones; NoCaps shows
    these and as many pictures of known kinds alone.
    """
    seed = identity["seed"]
    novel = max(2, identity["evaluation_images"] // 5)
    known = identity["evaluation_images"] - novel
    for index in range(identity["images"]):
        yield View(sample_scene(seed, "train", index), _TRAIN + index + 1), "train", False
    for index in range(known):
        yield View(sample_scene(seed, "val", index), _VAL + index + 1), "val", index < novel
    for index in range(novel):
        domain = "near-domain" if index % 2 == 0 else "out-domain"
        yield View(sample_scene(seed, domain, index, domain), _NOVEL + index + 1), "val", True
