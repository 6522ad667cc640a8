"""The finished folder: what `from_pretrained` loads, and the card that says what it is."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from click.testing import CliRunner
from huggingface_hub import ModelCard
from peft import PeftModel
from transformers import AutoModelForImageTextToText, AutoProcessor, LlavaForConditionalGeneration

from harness import Privacy, Session, Version, digest_directory
from harness.cli.checkpoints import command
from tests.training.trainings import (
    EVALUATE,
    arr_coc,
    carried_out,
    one_thread,
    sft,
    trainer_folder,
    workspace,
    world,
)
from training.card import licence, write_card
from training.identity import seen
from training.job import Job
from training.resuming import complete

__all__ = ["one_thread", "world"]


def published(version: Version, session: Session) -> Path:
    return session.checkpoints.resolve(version.name, f"v{version.number}").checkout()


def tables(card: str) -> dict[str, list[list[str]]]:
    """The rows of the table under each heading, its head apart."""
    found: dict[str, list[list[str]]] = {}
    for section in card.split("\n## ")[1:]:
        heading, *lines = section.splitlines()
        rows = [[cell.strip(" `") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
        found[heading] = rows[2:]
    return found


@pytest.fixture(scope="module")
def licensed(world: Path) -> Path:
    """A start whose card states its licence."""
    folder = world / "licensed"
    shutil.copytree(world / "llava", folder)
    (folder / "README.md").write_text("---\nlicense: apache-2.0\n---\n# Base\n")
    return folder


def test_the_folder_is_what_from_pretrained_loads_with_adapters_merged(world: Path, tmp_path: Path) -> None:
    settings = sft(world / "llava", steps=2, lora={"r": 4, "whole": ["projector"]})
    with workspace(tmp_path / "home", world) as session:
        made = carried_out(settings, session).version
        folder = published(made, session)
        names = {path.name for path in folder.iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "README.md", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pth")) or "adapter" in name]
    load: Any = AutoModelForImageTextToText
    processors: Any = AutoProcessor
    merged, processor = load.from_pretrained(folder), processors.from_pretrained(folder)
    assert isinstance(merged, LlavaForConditionalGeneration)
    adapters = complete(trainer_folder(tmp_path / "home"))[2]
    with warnings.catch_warnings():  # peft asks for a property by its former name
        warnings.simplefilter("ignore", FutureWarning)
        apart = PeftModel.from_pretrained(load.from_pretrained(world / "llava"), str(adapters))
    random = torch.Generator().manual_seed(0)
    ids = torch.cat([torch.full((1, 16), processor.image_token_id), torch.arange(5, 25)[None]], dim=1)
    inputs = {"input_ids": ids, "pixel_values": torch.randn(1, 3, 32, 32, generator=random)}
    with torch.no_grad():
        found, expected = (model.eval()(**inputs).logits for model in (merged, apart))
        untouched = load.from_pretrained(world / "llava").eval()(**inputs).logits
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(found, untouched, atol=1e-2), "something was learnt"


def test_the_card_says_what_it_is_made_of_and_how_good(world: Path, licensed: Path, tmp_path: Path) -> None:
    with workspace(tmp_path / "home", world) as session:
        first = carried_out(sft(licensed, steps=2, name="first"), session).version
        settings = sft(Path("first:latest"), steps=4, evaluate={**EVALUATE, "limit": None})
        second = carried_out(settings, session).version
        card = ModelCard.load(published(second, session) / "README.md")
        data = seen(session, session.benchmark("gqa", split="train"))
    assert card.data.license == "apache-2.0", "handed down by the card of the first start and the version between"
    assert (card.data.library_name, card.data.pipeline_tag) == ("transformers", "image-text-to-text")
    assert card.data.base_model is None, "it is on no hub"
    found = tables(card.text)
    assert found["Made from"] == [["first:v0", first.digest]]
    assert second.parents == (first.digest,)
    assert found["Data"] == [["gqa", data]]
    scores = second.metadata["scores"]
    assert {row[0] for row in found["Results"]} == scores.keys()
    for name, value, interval, n, _ in found["Results"]:
        score = scores[name]
        assert float(value) == pytest.approx(score["value"], rel=1e-3)
        assert int(n) == score["n"]
        known = [end for end in (score["low"], score["high"]) if end is not None]
        assert [float(end) for end in interval.split(" to ") if end != "–"] == pytest.approx(known, rel=1e-3)
    assert any(row[2] != "–" for row in found["Results"])
    in_front = {f"{item.dataset_type}.{item.metric_type}": item.metric_value for item in card.data.eval_results}
    assert in_front == {name: score["value"] for name, score in scores.items()}
    block = card.text.split("```yaml\n")[1].split("```")[0]
    assert yaml.safe_load(block) == second.metadata["settings"]
    assert "made by the stage `sft`" in card.text
    assert ": 4 steps." in card.text
    assert "Supervision" not in card.text


def test_the_card_names_the_best_step_and_how_arr_coc_is_loaded(world: Path, tmp_path: Path) -> None:
    settings = arr_coc(steps=4, batch=1, license="mit", evaluate={**EVALUATE, "best": "gqa.accuracy"})
    with workspace(tmp_path / "home", world) as session:
        version = carried_out(settings, session).version
        card = ModelCard.load(published(version, session) / "README.md")
    assert card.data.license == version.metadata["license"] == "mit"
    best = version.metadata["step"]
    assert best in (2, 4)
    assert (f"the best of 4 steps, that after step {best}" if best == 2 else ": 4 steps.") in card.text
    assert "after `import arr_coc_model`" in card.text
    assert "Nothing: all weights were new." in card.text


def test_supervision_by_boxes_is_named(world: Path, tmp_path: Path) -> None:
    alignment = {"benchmark": "gqa", "scenes": "train_sceneGraphs.json", "first": 1}
    settings = arr_coc(steps=2, batch=1, alignment=alignment)
    with workspace(tmp_path / "home", world) as session:
        version = carried_out(settings, session).version
        card = ModelCard.load(published(version, session) / "README.md")
    assert "## Supervision beside prompts and answers" in card.text
    assert "boxes of objects" in card.text
    assert card.data.license is None
    assert "It was not evaluated." in card.text
    assert "None is stated" in card.text


def test_the_licence_of_a_hubs_model_is_its_cards(
    world: Path, licensed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def download(repository: str, file: str, *, revision: str) -> str:
        asked.append((repository, file, revision))
        return str(licensed / file)

    monkeypatch.setattr("training.card.hf_hub_download", download)
    commit = "0123456789" * 4
    with workspace(tmp_path / "home", world) as session:
        job = Job(sft(world / "llava"), session, {}, {f"org/model@{commit}": commit})
        assert licence(job) == "apache-2.0"
        assert asked == [("org/model", "README.md", commit)]
        monkeypatch.setattr("training.card.hf_hub_download", lambda *arguments, **options: str(world / "none"))
        assert licence(job) is None
        gone = Job(sft(world / "llava"), session, {}, {"gone:v3": "0" * 32})
        assert licence(gone) is None


def test_parts_with_several_licences_are_all_named(world: Path, licensed: Path, tmp_path: Path) -> None:
    tower, silent = tmp_path / "tower", tmp_path / "silent"
    for folder, stated in ((tower, "license: llama3.2"), (silent, "tags: [a]")):
        folder.mkdir()
        (folder / "README.md").write_text(f"---\n{stated}\n---\n# Part\n")
    facts = {"step": 1, "steps": 1}
    with workspace(tmp_path / "home", world) as session:
        for parts, expected in (
            ((licensed, tower, silent), "other"),
            ((licensed, silent), "apache-2.0"),
            ((silent, tower), "llama3.2"),
            ((silent,), None),
        ):
            job = Job(sft(licensed), session, {}, {str(part): "0" * 32 for part in parts})
            assert licence(job) == expected
        job = Job(sft(licensed), session, {}, {str(part): "0" * 32 for part in (licensed, tower, silent)})
        write_card(tmp_path, job, {}, {**facts, "license": licence(job)})
        assert licence(Job(sft(licensed, license="mit"), session, {}, job.parents)) == "mit"
    card = ModelCard.load(tmp_path / "README.md")
    assert card.data.license == "other"
    assert tables(card.text)["Licence"] == [
        [Privacy().said(str(licensed)), "apache-2.0"],
        [Privacy().said(str(tower)), "llama3.2"],
    ]


def test_a_version_is_pulled_to_a_folder_that_loads(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with workspace(tmp_path / "home", world) as session:
        version = carried_out(sft(world / "llava", steps=2), session).version
    monkeypatch.setenv("HARNESS_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(world)
    load: Any = AutoModelForImageTextToText
    found = {}
    for ref in ("tuned:latest", "tuned-steps"):
        out = tmp_path / "out" / ref.partition(":")[0]
        said = CliRunner().invoke(command, ["pull", ref, "--out", str(out), "--json"])
        assert said.exit_code == 0, said.output
        assert json.loads(said.stdout)["folder"] == str(out)
        found[ref] = out
    assert digest_directory(found["tuned:latest"]) == version.digest
    assert isinstance(load.from_pretrained(found["tuned:latest"]), LlavaForConditionalGeneration)
    assert (found["tuned-steps"] / "optimizer.pt").is_file()
