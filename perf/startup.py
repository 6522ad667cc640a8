"""How long `harness --help` and `harness list` take as whole processes, against a bare interpreter in the same run.

Prints seconds (median of runs), the ratio to the bare interpreter, and the peak memory. Run on a quiet machine.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

RUNS = 15
HARNESS = str(Path(sys.executable).with_name("harness"))
COMMANDS = {
    "python -c pass": [sys.executable, "-c", "pass"],
    "harness --help": [HARNESS, "--help"],
    "harness list": [HARNESS, "list"],
}


def once(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak MB of one process."""
    begin = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Measure in turn, so that a drift of the machine meets all alike."""
    for command in COMMANDS.values():
        once(command)
    runs = [{name: once(command) for name, command in COMMANDS.items()} for _ in range(RUNS)]
    bare = statistics.median(run["python -c pass"][0] for run in runs)
    print(f"{'command':<16} {'median s':>9} {'ratio':>6} {'peak MB':>8}   ({RUNS} runs each, in turn)")
    for name in COMMANDS:
        seconds = statistics.median(run[name][0] for run in runs)
        print(f"{name:<16} {seconds:>9.3f} {seconds / bare:>6.1f} {max(run[name][1] for run in runs):>8.0f}")


if __name__ == "__main__":
    main()
