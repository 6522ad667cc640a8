# mypy: allow-untyped-calls
# Parts of wandb carry no annotations.

"""What runs the SDK, as a process of its own: `stage` writes a run's folder, `send` sends one and sees that it arrived.

The answer is one JSON document on stdout.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec

from plugins.trackers.arrival import missing
from plugins.trackers.children import AGAIN, SDK, UNREACHABLE
from plugins.trackers.content import Content
from plugins.trackers.transcript import Transcript, make_relative
from plugins.wandb_sdk import knock, server, silent

TIMEOUT: Final = 20
"""Seconds that an answer may take, its retries among them."""
QUIET: Final = 600.0
"""Seconds without a change after which a run that was never ended is taken for one whose process was killed."""
PICTURES: Final = "pictures"


def stage(folder: Path, *, again: bool) -> dict[str, Any]:
    """Write the content of a run's folder down as an offline run, with everything that it needs beside it.

    Args:
        again: whether the run is at the server already: its summary says something else then, its history nothing.
    """
    import wandb

    content = msgspec.json.decode((folder / "content.json").read_bytes(), type=Content)
    run = wandb.init(
        **content.run,
        config=content.whole_config(),
        resume="allow",
        mode="offline",
        settings=wandb.Settings(**silent()),
    )

    def cell(value: Any) -> Any:
        if isinstance(value, dict) and "picture" in value:
            return wandb.Image(str(folder / PICTURES / value["picture"]), caption=value["caption"])
        return value

    tables = {
        name: wandb.Table(columns=table["columns"], data=[[cell(value) for value in row] for row in table["rows"]])
        for name, table in content.whole_tables().items()
    }
    shown = {**tables, **{name: cell(value) for name, value in content.pictures.items()}}
    (run.summary.update if again else run.log)(shown)
    run.summary.update(content.whole_summary())
    run.finish()
    wandb.teardown()
    source = Path(run.dir).parent
    make_relative(source, folder / SDK)
    _refuse_leaks(source, [str(folder), os.environ.get("WANDB_API_KEY", "")])
    return {"run": str(source)}


def _refuse_leaks(source: Path, private: list[str]) -> None:
    """See that the SDK has written nothing down that must not leave this machine: a later one may write more.

    Raises:
        RuntimeError: it has.
    """
    (log,) = source.glob("*.wandb")
    content = log.read_bytes()
    if any(word.encode() in content for word in private if word):
        raise RuntimeError("the SDK would send a local path or a key; nothing is sent: use another version of wandb")


def send(folder: Path, source: Path, used: str) -> dict[str, Any]:
    """Send an offline run's folder, unless it is there already, and say what of it has not arrived.

    Args:
        used: the artifact that the run is to have for an input; empty where there is none.
    """
    import wandb

    transcript = Transcript.read(source)
    if not transcript.ended and time.time() - max(path.stat().st_mtime for path in source.glob("*.wandb")) < QUIET:
        raise RuntimeError("it is still being written: its process has not ended it")
    api = _connect()
    used = used if used and api.artifact_exists(used) else ""  # it may be deleted; the configuration names it still
    entity = transcript.entity or api.default_entity
    path = f"{entity}/{transcript.project}/{transcript.id}"
    scratch = folder / SDK / "arrived"
    synced = [*source.glob("*.wandb.synced")]
    faults = missing(api, path, transcript, source, used, scratch) if synced else ["everything"]
    if faults and not (lost := transcript.lost(source, folder / SDK)):
        for mark in (*synced, *source.glob("*.wandb.syncstate")):
            mark.unlink()
        _sync(source)
        if used:
            api.run(path).use_artifact(api.artifact(used))
        faults = missing(wandb.Api(timeout=TIMEOUT), path, transcript, source, used, scratch)
    elif faults:
        return {"missing": [f"{name} is lost on this machine" for name in lost], "lost": True, "url": ""}
    return {"missing": faults, "lost": False, "url": api.run(path).url if not faults else ""}


def _connect() -> Any:
    """The SDK's `Api`.

    Raises:
        NoAnswer: the server says nothing, or only errors.
    """
    import wandb

    if (reason := knock(server())) is not None:
        raise NoAnswer(reason)
    try:
        return wandb.Api(timeout=TIMEOUT)
    except Exception as error:
        raise NoAnswer(f"{server()}: {' '.join(str(error).split())}") from error


def _sync(source: Path) -> None:
    """Have the SDK's command send a folder. What it makes of that is looked up afterwards, not believed."""
    from wandb.cli.cli import cli

    with suppress(Exception, SystemExit):
        cli(["sync", str(source)], standalone_mode=False)


class NoAnswer(Exception):
    """The server does not answer, or only with errors: others that are sent to it now would fare no better."""


def _end_with(life: int) -> None:
    """Wait for the end of whoever has called, and end this process then, with all that it has started."""
    while os.read(life, 1):
        pass
    os.killpg(0, signal.SIGKILL)


def main(arguments: list[str]) -> None:
    """Carry out an action and answer on what is stdout now; what the SDK prints goes to stderr.

    What is stdin now ends with whoever has called.
    """
    answer, life = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    threading.Thread(target=_end_with, args=(life,), daemon=True).start()
    action, folder, *rest = arguments
    os.chdir(Path(folder) / SDK)  # for the SDK's service, which finds there what the run's log names
    try:
        if action == "stage":
            done = stage(Path(folder), again=rest == [AGAIN])
        else:
            done = send(Path(folder), Path(rest[0]), rest[1])
    except NoAnswer as error:
        print(error, file=sys.stderr)
        sys.exit(UNREACHABLE)
    except Exception as error:  # noqa: BLE001 - one line for whoever has called
        print(f"{type(error).__name__}: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
    with os.fdopen(answer, "wb") as out:
        out.write(msgspec.json.encode(done))


if __name__ == "__main__":
    main(sys.argv[1:])
