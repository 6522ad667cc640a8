"""The embedded world as files: the same everywhere, complete or absent, in official layouts, true to its pictures."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, product
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageChops

from harness import UsageError
from training.microworld import WorldSummary, build
from training.microworld.render import draw
from training.microworld.scene import Scene, sample_scene

ROOT = Path(__file__).resolve().parents[2]
KNOWN = ("square", "circle", "triangle", "diamond", "cross", "ring")
NOVEL = ("star", "heart", "moon", "arrow")

# Contents of the first scenes of seed 0: a change here makes every published number another world's.
GOLDEN = {
    ("train", 0, "in-domain"): "5a54f02571679b3767839d0cd17c79f05f861e93565bdff641b37ff48d51a3f1",
    ("train", 1, "in-domain"): "0eb98789db0fa1f3052117afcf1888f1659dd9a4b84fb1a40438b4f662a25a81",
    ("val", 0, "in-domain"): "046872d55fe1ce8c1f91d341245db2f2e1c0b6213b70d222f4469feb90a41df4",
    ("near-domain", 0, "near-domain"): "9de8925e8630e6ab397cedc5750b786c7fb9679fdf32934d52bf8b1733db72e1",
    ("out-domain", 0, "out-domain"): "e0fa0ba937a36cc0dfc2dd66e320cda19aaf5101843b6cac0d503e3f28e567b5",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("microworld") / "world"
    build(out, images=60, evaluation_images=40, seed=3)
    return out


def load(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def bytes_of(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def changed_pixels(one: Image.Image, other: Image.Image, least: int) -> int:
    """How many pixels differ by `least` or more in some channel."""
    red, green, blue = ImageChops.difference(one, other).split()
    return sum(ImageChops.lighter(ImageChops.lighter(red, green), blue).histogram()[least:])


def some_scenes() -> Iterator[Scene]:
    for domain in ("in-domain", "near-domain", "out-domain"):
        for index in range(150):
            yield sample_scene(11, domain, index, domain)


# ---------------------------------------------------------------- the same everywhere


def test_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed(tmp_path: Path) -> None:
    build(tmp_path / "here", images=10, evaluation_images=10, seed=5)
    code = "import pathlib, sys, training.microworld as m; m.build(pathlib.Path(sys.argv[1]), 10, 10, 5)"
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-P", "-c", code, str(tmp_path / "there")], check=True, env=environment)
    assert bytes_of(tmp_path / "here") == bytes_of(tmp_path / "there")


def test_another_seed_gives_other_scenes(tmp_path: Path) -> None:
    digests = {build(tmp_path / str(seed), images=4, evaluation_images=5, seed=seed).digest for seed in range(3)}
    assert len(digests) == 3


@pytest.mark.parametrize("key", GOLDEN, ids=lambda key: f"{key[0]}-{key[1]}")
def test_golden_scenes(key: tuple[str, int, str]) -> None:
    stream, index, domain = key
    assert sample_scene(0, stream, index, domain).digest() == GOLDEN[key]


def test_a_scene_and_its_picture_do_not_depend_on_how_many_are_made(tmp_path: Path, world: Path) -> None:
    build(tmp_path / "small", images=5, evaluation_images=10, seed=3)
    for name in ("train2014/COCO_train2014_000000000005.jpg", "val2014/COCO_val2014_000001000008.jpg"):
        assert (tmp_path / "small/vqav2" / name).read_bytes() == (world / "vqav2" / name).read_bytes()
    small = load(tmp_path / "small/gqa/train_balanced_questions.json")
    large = load(world / "gqa/train_balanced_questions.json")
    assert small == {number: large[number] for number in small}


# ---------------------------------------------------------------- complete or absent


def test_the_same_arguments_again_are_recognised_at_once(tmp_path: Path) -> None:
    first = build(tmp_path / "world", images=40, evaluation_images=None)
    assert not first.reused
    assert first.images == {"train": 40, "evaluation": 10}
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "world").rglob("*")}
    again = build(tmp_path / "world", images=40, evaluation_images=10)
    assert again == dataclasses.replace(first, seconds=again.seconds, images_per_second=0.0, reused=True)
    assert again.seconds < first.seconds / 5
    assert stamps == {path: path.stat().st_mtime_ns for path in (tmp_path / "world").rglob("*")}


@pytest.mark.parametrize(("images", "evaluation"), [(1, 8), (32, 8), (100, 25), (2000, 500), (9000, 500)])
def test_default_number_of_evaluation_images(
    images: int, evaluation: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(out: Path, identity: dict[str, int], progress: object) -> dict[str, Any]:
        return {**identity, "counts": {}, "digest": ""}

    monkeypatch.setattr("training.microworld.world._build_aside", asked)
    assert build(tmp_path / "world", images=images).images["evaluation"] == evaluation


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"images": 7}, "images 6 instead of 7"),
        ({"seed": 1}, "seed 0 instead of 1"),
        ({"evaluation_images": 9}, "evaluation_images 8"),
    ],
)
def test_another_world_is_refused_and_kept(tmp_path: Path, arguments: dict[str, int], told: str) -> None:
    build(tmp_path / "world", images=6)
    before = bytes_of(tmp_path / "world")
    asked = {"images": 6, "evaluation_images": 8, "seed": 0, **arguments}
    with pytest.raises(UsageError, match=told):
        build(tmp_path / "world", asked["images"], asked["evaluation_images"], asked["seed"])
    assert bytes_of(tmp_path / "world") == before


def test_foreign_files_are_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"holds other files and no world\.json"):
        build(tmp_path, images=4)
    with pytest.raises(UsageError, match="is a file"):
        build(tmp_path / "notes.txt", images=4)
    (tmp_path / "world.json").write_text("[]")
    with pytest.raises(UsageError, match="no world's manifest"):
        build(tmp_path, images=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["notes.txt", "world.json"]


def test_an_empty_folder_may_be_there(tmp_path: Path) -> None:
    (tmp_path / "world").mkdir()
    build(tmp_path / "world", images=4, evaluation_images=5)
    assert (tmp_path / "world/world.json").is_file()


@pytest.mark.parametrize(("images", "evaluation"), [(0, 8), (10, 4), (1_000_000, 8)])
def test_impossible_numbers_are_refused(tmp_path: Path, images: int, evaluation: int) -> None:
    with pytest.raises(UsageError, match="images"):
        build(tmp_path / "world", images=images, evaluation_images=evaluation)


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def interrupt(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "world", images=10, progress=interrupt)
    assert list(tmp_path.iterdir()) == []


def test_a_killed_build_leaves_nothing_that_looks_complete(tmp_path: Path) -> None:
    code = "from pathlib import Path; import sys; from training.microworld import build; build(Path(sys.argv[1]), 5000)"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen([sys.executable, "-P", "-c", code, str(tmp_path / "world")], env=environment)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".world.*.partial/gqa/images/*.jpg")) and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert list(tmp_path.glob(".world.*.partial/gqa"))
    assert not (tmp_path / "world").exists()
    assert not build(tmp_path / "world", images=4, evaluation_images=5).reused


def test_progress_counts_every_picture(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    build(tmp_path / "world", images=4, evaluation_images=6, progress=lambda done, total: told.append((done, total)))
    assert told == [(done, 10) for done in range(1, 11)]


# ---------------------------------------------------------------- scenes and pictures


def test_splits_share_no_scene(world: Path) -> None:
    def contents(name: str) -> set[str]:
        graphs = load(world / "gqa" / f"{name}_sceneGraphs.json")
        return {
            json.dumps(
                [[thing[key] for key in ("name", "x", "y", "w", "attributes")] for thing in graph["objects"].values()]
            )
            for graph in graphs.values()
        }

    train, testdev = contents("train"), contents("testdev")
    assert (len(train), len(testdev)) == (60, 32)
    assert not train & testdev


def test_objects_do_not_overlap_and_lie_in_the_picture() -> None:
    for scene in some_scenes():
        assert 3 <= len(scene.things) <= 6
        for thing in scene.things:
            assert min(thing.x, thing.y) >= 0
            assert max(thing.x, thing.y) + thing.extent <= 128
            assert 14 <= thing.extent <= 18 if thing.size == "small" else 28 <= thing.extent <= 36
        for one, other in combinations(scene.things, 2):
            apart_x = one.x + one.extent < other.x or other.x + other.extent < one.x
            apart_y = one.y + one.extent < other.y or other.y + other.extent < one.y
            assert apart_x or apart_y


def test_several_small_things_share_a_block() -> None:
    def block(x: int, y: int) -> tuple[int, int]:
        return x // 64, y // 64

    crowded = 0
    for scene in some_scenes():
        small = [thing for thing in scene.things if thing.size == "small"]
        blocks = Counter(block(thing.x + thing.extent // 2, thing.y + thing.extent // 2) for thing in small)
        crowded += max(blocks.values(), default=0) >= 2
    assert crowded > 90  # of 450: detail that pooling blurs is there, and most scenes are easy


def test_a_thing_is_drawn_where_its_box_says() -> None:
    for scene in list(some_scenes())[::9]:
        whole = draw(scene)
        for number, thing in enumerate(scene.things):
            others = scene.things[:number] + scene.things[number + 1 :]
            without = draw(dataclasses.replace(scene, things=others))
            left, top, right, bottom = ImageChops.difference(whole, without).getbbox() or (0, 0, 0, 0)
            assert thing.x <= left
            assert thing.y <= top
            assert right <= thing.x + thing.extent
            assert bottom <= thing.y + thing.extent
            # A moon or a ring leaves some of its box free, but no outline keeps far from it.
            assert right - left >= 0.8 * thing.extent
            assert bottom - top >= 0.8 * thing.extent


def test_every_attribute_shows() -> None:
    """Changing any one attribute of a thing, or the place or weather, changes the picture there clearly."""
    scene = sample_scene(0, "train", 0)
    values = {
        "shape": (*KNOWN, *NOVEL),
        "color": ("red", "green", "blue", "yellow", "orange", "purple", "pink", "white"),
        "material": ("rubber", "metal", "glass"),
        "pattern": ("plain", "striped", "dotted", "checked"),
    }
    for (size, extent), color in product((("small", 14), ("large", 28)), values["color"]):
        thing = dataclasses.replace(scene.things[0], color=color)
        for key, choices in values.items():
            pictures = []
            for choice in choices:
                changed = dataclasses.replace(
                    thing, size=size, extent=extent, x=40, y=40, **{"pattern": "plain", key: choice}
                )
                pictures.append(
                    draw(dataclasses.replace(scene, things=(changed,))).crop((40, 40, 40 + extent, 40 + extent))
                )
            for one, other in combinations(pictures, 2):
                assert changed_pixels(one, other, 24) > 0.06 * extent * extent, (key, color, size)
    grounds = [
        draw(dataclasses.replace(scene, things=(), location=location, weather=weather))
        for location in ("beach", "field", "street", "deck", "pool")
        for weather in ("sunny", "cloudy")
    ]
    for one, other in combinations(grounds, 2):
        assert changed_pixels(one, other, 6) > 0.3 * 128 * 128


def test_every_image_file_decodes_and_is_named_by_its_benchmark(world: Path) -> None:
    pictures = list(world.rglob("*.jpg"))
    for path in pictures:
        with Image.open(path) as picture:
            picture.load()
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "RGB", (128, 128))
    folders = Counter(str(path.parent.relative_to(world)) for path in pictures)
    assert folders == {
        "vqav2/train2014": 60, "vqav2/val2014": 32, "okvqa/train2014": 60, "okvqa/val2014": 32, "gqa/images": 92,
        "coco_captions/train2014": 60, "coco_captions/val2014": 32, "pope/val2014": 32, "nocaps/images": 16,
    }  # fmt: skip


def test_a_picture_of_several_benchmarks_is_one_file(world: Path) -> None:
    name = "val2014/COCO_val2014_000001000001.jpg"
    places = [
        world / "vqav2" / name,
        world / "okvqa" / name,
        world / "coco_captions" / name,
        world / "gqa/images/1000001.jpg",
    ]
    assert len({path.stat().st_ino for path in places}) == 1


def test_manifest_and_summary_agree(world: Path) -> None:
    manifest = load(world / "world.json")
    summary = build(world, images=60, evaluation_images=40, seed=3)
    assert isinstance(summary, WorldSummary)
    assert (summary.digest, summary.counts) == (manifest["digest"], manifest["counts"])
    assert manifest["counts"]["vqav2"] == {
        f"{split}_questions": len(load(world / f"vqav2/v2_OpenEnded_mscoco_{split}2014_questions.json")["questions"])
        for split in ("train", "val")
    }
