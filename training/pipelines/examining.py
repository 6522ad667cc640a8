"""Whether the files that a pipeline names are good, asked of a process of its own: some import PyTorch.

The process reads a JSON list of [kind, file, changes] and says for each what it makes, or what is wrong.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from harness import HarnessError

Question: TypeAlias = tuple[str, str, Sequence[str]]
"""The kind of stage, its file, and changes as `--set` takes them."""


def examine(questions: Sequence[Question]) -> list[dict[str, str]]:
    """For each file its `name` and what it `makes`, or the `error`.

    Raises:
        HarnessError: the process that looks at them ended without a word.
    """
    if not questions:
        return []
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__], input=json.dumps(questions), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise HarnessError(f"the files of the stages could not be looked at: {done.stderr.strip()[-2000:]}")
    found: list[dict[str, str]] = json.loads(done.stdout.splitlines()[-1])
    return found


def _answer(kind: str, file: str, changes: Sequence[str]) -> dict[str, Any]:
    from training.jobs.settings import read_job
    from training.recipe import read_stage
    from training.sweeps.reading import read_sweep

    try:
        if kind == "train":
            settings, _ = read_stage(Path(file), changes)
            return {"name": settings.name, "makes": settings.makes}
        name = read_sweep(Path(file), changes).name if kind == "sweep" else read_job(Path(file), changes).name
    except HarnessError as error:
        return {"error": str(error)}
    return {"name": name}


if __name__ == "__main__":
    print(json.dumps([_answer(*question) for question in json.load(sys.stdin)]))
