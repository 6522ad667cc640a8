"""What tests of several rooms share."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from harness.stats import CONFIDENCE, FloatArray, IntArray, Interval, distinct, percentile_interval, resampled_sums

ROOT = Path(__file__).resolve().parents[1]
Command = Callable[..., "subprocess.CompletedProcess[str]"]


def write_trivia(folder: Path, n: int = 40, pictures: int = 4) -> Path:
    """Questions whose last word is the answer of about every second one, in clusters of four, with real pictures."""
    folder.mkdir(parents=True, exist_ok=True)
    chance = random.Random(0)
    for index in range(pictures):
        colour = (50 * index % 256, 120, 200)
        Image.new("RGB", (10 + index, 8), colour).save(folder / f"{index}.jpg")
    rows = []
    for index in range(n):
        word = f"word{index % 7}"
        answer = word if chance.random() < 0.5 else "other"
        row = {
            "id": f"q{index}", "question": f"What{index} is {word}", "answers": [answer],
            "group": f"g{index // 4}", "topic": ["art", "sport", None][index % 3],
        }  # fmt: skip
        if pictures:
            row["picture"] = f"{index % pictures}.jpg"
        rows.append(row)
    (folder / "trivia.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def write_settings(workspace: Path, metrics: Sequence[str] = ("exact",)) -> None:
    """A benchmarks.yaml for the third-party benchmark."""
    (workspace / "benchmarks.yaml").write_text(
        "benchmarks:\n  acme-trivia:\n    data: ./trivia\n    metrics: [" + ", ".join(metrics) + "]\n"
        "suites:\n  all: [acme-trivia]\n"
    )


def clustered_bootstrap(
    statistics: FloatArray,
    reduce: Callable[[FloatArray], FloatArray],
    clusters: IntArray,
    *,
    confidence: float = CONFIDENCE,
    **options: Any,
) -> Interval | None:
    """The interval of a corpus score, made of the same parts as the host's own."""
    sums = resampled_sums(statistics, clusters, **options)
    return None if sums is None else percentile_interval(reduce(sums), distinct(clusters), confidence)
