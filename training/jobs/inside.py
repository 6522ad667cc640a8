"""Run a command as the run of W&B Launch that its agent was told of: `inside [--sent] -- COMMAND...`.

W&B takes a job for failed whose process opens no run, stops a job by its run alone, and keeps no exit code. So the run
is opened here. In its summary stands in the end, as `harness`, how the command ended, and the last line of its output
that is a JSON object. Runs that the command opens by itself are its own, in a group of that name.

--sent: code came along, and the command works in it. Without, it works in the folder that the agent's variable
HARNESS_FOLDER names, which holds the configs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import IO, Any, Final

from harness import Privacy
from training.jobs.task import PREEMPTED, result_of
from training.wandb_sdk import UNSAID_VARIABLES

LAUNCHED: Final = ("WANDB_ARTIFACTS", "WANDB_CONFIG", "WANDB_LAUNCH", "WANDB_NAME", "WANDB_RESUME", "WANDB_RUN_ID")
"""Variables with which the agent names the run to its process."""
LATE_SECONDS: Final = 5.0
"""What the command has started may hold its output for longer than it lives; so long it is read on."""


def main(arguments: Sequence[str]) -> int:
    """The command's exit code."""
    place = arguments.index("--")
    sent, command = "--sent" in arguments[:place], arguments[place + 1 :]
    folder = None if sent else os.environ.get("HARNESS_FOLDER")
    if folder is None and not sent:
        print("error: no code came along; start the agent with HARNESS_FOLDER=FOLDER, which holds it", file=sys.stderr)
        return 2
    os.environ.update(UNSAID_VARIABLES)
    variables = {name: value for name, value in os.environ.items() if name not in LAUNCHED}
    run = _begun()
    if run is not None:
        variables["WANDB_RUN_GROUP"] = run.id
    with tempfile.TemporaryDirectory() as kept:
        said = Path(kept) / "said"
        code, is_preempted = _run(command, folder, said, variables)
        _end(run, code, result_of(said), is_preempted=is_preempted)
    return code


def _run(
    command: Sequence[str], folder: str | None, said: Path, environment: Mapping[str, str]
) -> tuple[int, bool]:  # fmt: skip
    """The command's exit code, and whether it was ended from outside by anything but a person."""
    try:
        child = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
    except OSError as error:
        print(f"error: {command[0]}: {error.strerror}", file=sys.stderr)
        return 2, False
    heard: list[int] = []

    def end(number: int, frame: FrameType | None) -> None:
        heard.append(number)
        child.terminate()

    for number in (signal.SIGTERM, signal.SIGINT):  # an agent's, and that of W&B's SDK when the run is to stop
        signal.signal(number, end)
    assert child.stdout is not None
    passing = threading.Thread(target=_pass_on, args=(child.stdout, said), daemon=True)
    passing.start()
    code = child.wait()
    passing.join(LATE_SECONDS)
    code = code if code >= 0 else 128 - code
    return code, code in PREEMPTED and signal.SIGINT not in heard


def _pass_on(output: IO[bytes], said: Path) -> None:
    # A file object of its own, since this thread may be at work still when the interpreter ends.
    with said.open("wb") as file, open(sys.stdout.fileno(), "wb", closefd=False) as out:
        while chunk := output.read1(65536):  # type: ignore[attr-defined]
            for place in (file, out):
                place.write(chunk)
                place.flush()


def _begun() -> Any:
    """The run; None where W&B cannot be told, which costs no result."""
    import wandb

    try:
        run = wandb.init(resume="allow")
        if run.resumed:
            run.summary["harness"] = {}  # how it ended when it was preempted
        return run
    except Exception as error:  # noqa: BLE001 - the command is what matters
        print(f"wandb: {error}", file=sys.stderr)
        return None


def _end(run: Any, code: int, result: Mapping[str, Any] | None, *, is_preempted: bool) -> None:
    if run is None:
        return
    run.summary["harness"] = {"exit_code": code, "result": json.dumps(Privacy().said(result))}
    if is_preempted:
        run.mark_preempting()
    run.finish(exit_code=code)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
