"""A tracker that writes what it is told into a file of the workspace, a JSON object a line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from harness import FinishedRun, Json


class Diary:
    def __init__(self, home: Path, *, samples: int = 2, mood: str = "calm") -> None:
        self.file = home / "diary.jsonl"
        self.samples = samples
        self.mood = mood

    def run_finished(self, run: FinishedRun) -> None:
        if self.mood == "angry":
            raise RuntimeError("not today")
        samples = [
            {
                **sample.cells,
                "pictures": [picture.size for picture in sample.pictures(6)],
                "heatmaps": {name: drawn.caption for name, drawn in sample.heatmaps(6).items()},
            }
            for sample in run.samples(self.samples)
        ]
        self._write({"run": run.document, "facts": dict(run.facts), "samples": samples})

    def verdict_given(self, verdict: Mapping[str, Json], runs: Sequence[FinishedRun]) -> None:
        self._write({"verdict": verdict, "runs": [run.id for run in runs]})

    def _write(self, entry: Json) -> None:
        with self.file.open("a") as file:
            file.write(json.dumps(entry) + "\n")
