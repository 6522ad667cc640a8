"""What a sweep costs beside its trials: many short ones, and the same commands started by a bare loop of threads.

    python -P perf/sweep.py [TRIALS] [WORKERS]

The trials sleep 10 ms and print one line of JSON.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SHELL = 'sleep 0.01; echo "{\\"loss\\": $0}"'
SWEEP = """
method: grid
metric: {{name: loss}}
parameters:
  number: {{min: 1, max: {trials}}}
command: [sh, -c, '{shell}', "${{args_no_hyphens}}"]
"""


def sweep(trials: int, workers: int) -> float:
    """Seconds of `harness sweep`; nothing may be lost or done twice."""
    with tempfile.TemporaryDirectory() as folder:
        shell = 'sleep 0.01; n=${0#number=}; echo $n >> seen; echo "{\\"loss\\": $n}"'
        config = Path(folder, "many.yaml")
        config.write_text(SWEEP.format(trials=trials, shell=shell), encoding="utf-8")
        command = [sys.executable, "-P", "-m", "harness", "sweep", "many.yaml", "--workers", str(workers), "--json"]
        began = time.perf_counter()
        result = subprocess.run(
            command, cwd=folder, env={**os.environ, "HARNESS_HOME": str(Path(folder, "home"))}, capture_output=True,
            text=True, check=True,
        )  # fmt: skip
        seconds = time.perf_counter() - began
        told = json.loads(result.stdout)
        seen = sorted(map(int, Path(folder, "seen").read_text(encoding="utf-8").split()))
        assert told["counts"] == {"all": trials, "done": trials}, told["counts"]
        assert seen == list(range(1, trials + 1)), "a trial was lost or done twice"
        assert [trial["value"] for trial in told["trials"]] == seen
    return seconds


def bare(trials: int, workers: int) -> float:
    """Seconds of the same commands, started by threads that share a counter and keep nothing."""
    numbers = iter(range(1, trials + 1))
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                number = next(numbers, None)
            if number is None:
                return
            subprocess.run(["sh", "-c", SHELL, str(number)], stdout=subprocess.DEVNULL, check=True)

    began = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - began


def main() -> None:
    """Print both, and their ratio."""
    trials, workers = (int(text) for text in [*sys.argv[1:], *("1000", "4")[len(sys.argv) - 1 :]])
    ours, loop = sweep(trials, workers), bare(trials, workers)
    print(
        f"{trials} trials of 10 ms, {workers} at once: {ours:.2f} s; a bare loop: {loop:.2f} s; ratio {ours / loop:.2f}"
    )


if __name__ == "__main__":
    main()
