"""Small datasets in the official layouts, and the reference data where a checkout has it beside it."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests_support import ROOT

Write = Callable[[str, Any], Path]


@pytest.fixture
def reference() -> Path:
    folder = ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the reference data is not at {folder}")
    return folder


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a document under the test's folder: text as it is, anything else as JSON; gzipped where named so."""

    def document(name: str, content: Any) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
        return path

    return document


@pytest.fixture
def vqa_folder(tmp_path: Path, write: Write) -> Path:
    """Three questions about two pictures, in VQA v2's layout, for val and (the first one) for train."""
    questions = [
        {"question_id": 42001, "image_id": 42, "question": "Is there a dog?"},
        {"question_id": 7000, "image_id": 7, "question": "What {colour} is it?"},
        {"question_id": 42000, "image_id": 42, "question": "How many?"},
    ]
    annotations = [
        {
            "question_id": question["question_id"],
            "image_id": question["image_id"],
            "question_type": "is there a",
            "answer_type": "yes/no",
            "answers": [{"answer": f"answer {n}", "answer_id": n} for n in range(10)],
        }
        for question in reversed(questions)
    ]
    for split, rows in (("val", questions), ("train", questions[:1])):
        write(f"v2_OpenEnded_mscoco_{split}2014_questions.json", {"questions": rows, "info": {}})
        write(f"v2_mscoco_{split}2014_annotations.json", {"annotations": annotations, "info": {}})
    return tmp_path


@pytest.fixture
def gqa_record() -> dict[str, Any]:
    return {
        "imageId": "n5",
        "question": "What is it?",
        "answer": "couch",
        "fullAnswer": "It is a couch.",
        "isBalanced": True,
        "types": {"structural": "query", "semantic": "cat", "detailed": "categoryThis"},
        "groups": {"global": "furniture", "local": "13-couch"},
        "entailed": ["8"],
        "equivalent": ["9"],
        "semantic": [{"operation": "select", "dependencies": [], "argument": "couch (1)"}],
        "semanticStr": "select: couch (1)",
        "annotations": {"answer": {}, "question": {}, "fullAnswer": {}},
    }
