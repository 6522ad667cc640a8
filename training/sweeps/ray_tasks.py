"""Trials as tasks of a Ray cluster. Tasks start in milliseconds, where jobs, which queues use, take seconds."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from harness import HarnessError, Json, MissingExtra
from training.jobs.task import Resources, Task

PIECE: Final = 65_536
GRACE: Final = 30.0
"""Seconds that a trial may take to save what it has when its task is cancelled."""
VANISHED: Final = 128 + signal.SIGKILL
NOT_THERE: Final = 127
MARK: Final = "HARNESS_TRIAL"
"""The variable by which the processes of a trial are known."""


LOCAL: Final = "local"
"""The address that begins a new cluster."""
AUTO: Final = "auto"
"""The address of the cluster that runs here."""
PATIENCE: Final = 30.0
"""Seconds in which a cluster must answer; Ray waits for ever for one that is dead."""
ADVICE: Final = "give --address HOST:PORT of one that runs, or `local` to start one here"


class RayTasks:
    """Starts tasks on a cluster whose machines see the same folders as this one.

    Args:
        address: the cluster's; `auto` for the one that runs here; `local` for a new one that ends with this process.
            Where there is none, it is what `RAY_ADDRESS` says, and else `local`: where a cluster ran before, what is
            left of it would be taken for one.

    Raises:
        MissingExtra: ray is not installed.
        HarnessError: no cluster answers at that address, or none can be started.
    """

    def __init__(self, address: str | None = None) -> None:
        try:
            import ray
        except ImportError as error:
            raise MissingExtra("Ray is not installed: pip install 'vlm-harness[ray]'") from error
        self._ray: Any = ray
        self._own = not ray.is_initialized()
        if self._own:
            self._connect(address or os.environ.get("RAY_ADDRESS") or LOCAL)

    def _connect(self, address: str) -> None:
        quiet = {"log_to_driver": False, "logging_level": "ERROR"}
        if address not in (AUTO, LOCAL):
            _check_reachable(address)
        try:
            if address == LOCAL:
                os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # else Ray tells its makers of it
                with _keeping_signals():
                    self._ray.init(address=LOCAL, include_dashboard=False, **quiet)
            else:
                _within(PATIENCE, lambda: self._ray.init(address=address, **quiet))
        except Exception as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            what = "Ray cannot be started" if address == LOCAL else f"no Ray cluster answers at {address}"
            raise HarnessError(f"{what} ({reason}); {ADVICE}") from error

    def room(self, needs: Resources) -> int:
        """How many such tasks the cluster carries at once, at least one."""
        there: Mapping[str, float] = self._ray.cluster_resources()
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": float(needs.memory or 0), **needs.custom}
        return max(1, min(int(there.get(name, 0.0) / amount) for name, amount in wanted.items() if amount))

    def start(self, task: Task) -> RayTask:
        """Submit it; it begins when the cluster has room.

        Raises:
            HarnessError: no machine of the cluster will ever have room.
        """
        needs = task.resources
        self._check(task)
        task.log.parent.mkdir(parents=True, exist_ok=True)
        # Another attempt is this program's to begin: it knows how often, and what the table says meanwhile.
        remote = self._ray.remote(
            num_cpus=needs.cpus, num_gpus=needs.gpus, memory=needs.memory, resources=dict(needs.custom),
            max_retries=0, num_returns="streaming",
        )(carry_out)  # fmt: skip
        stop = task.log.with_name(f"{task.log.name}.stop")
        stop.unlink(missing_ok=True)
        pieces = remote.remote(list(task.command), str(task.folder), dict(task.environment), str(stop.absolute()))
        return RayTask(self._ray, pieces, task.log, stop)

    def _check(self, task: Task) -> None:
        needs = task.resources
        wanted = {"CPU": needs.cpus, "GPU": needs.gpus, "memory": float(needs.memory or 0), **needs.custom}
        nodes = [node["Resources"] for node in self._ray.nodes() if node["Alive"]]
        if not any(all(node.get(name, 0.0) >= amount for name, amount in wanted.items() if amount) for node in nodes):
            asked = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items() if amount)
            raise HarnessError(
                f"{task.name}: no machine of the Ray cluster has {asked}; ask less under launch.resources"
            )

    def find(self, task: Task, note: Mapping[str, Json]) -> None:
        """Tasks end with the program that submitted them."""

    def close(self) -> None:
        """Leave the cluster; one that was started here ends."""
        if self._own:
            self._ray.shutdown()


def _check_reachable(address: str) -> None:
    """Ray ends the whole process where nothing answers.

    Raises:
        HarnessError: nothing does.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if address.startswith("ray://") or not host or not port.isdigit():
        raise HarnessError(f"--address {address}: a sweep's driver runs on a machine of the cluster; {ADVICE}")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except OSError as error:
        raise HarnessError(f"no Ray cluster answers at {address} ({error.strerror or error}); {ADVICE}") from error


def _within(seconds: float, connect: Callable[[], object]) -> None:
    """Connects beside the main thread, which alone can still end what never returns.

    Raises:
        TimeoutError: it took longer.
    """
    ended: Future[object] = Future()

    def run() -> None:
        try:
            ended.set_result(connect())
        except BaseException as error:  # noqa: BLE001 - raised by `result`
            ended.set_exception(error)

    threading.Thread(target=run, name="ray", daemon=True).start()
    try:
        ended.result(seconds)
    except FutureTimeout:
        raise TimeoutError(f"nothing after {seconds:g} s") from None


@contextmanager
def _keeping_signals() -> Iterator[None]:
    """Ray takes SIGTERM for itself and ends with an exit code that is none of ours."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class RayTask:
    """A submitted task; what it prints arrives in its log as it is printed.

    Args:
        pieces: what it yields: bytes of its output, and in the end its exit code.
        stop: a file that is made to ask it to end. Ray's own cancelling may hit its worker's inner parts, which then
            ends at once, and nothing is saved.
    """

    def __init__(self, ray: Any, pieces: Any, log: Path, stop: Path) -> None:
        self._ray, self._pieces, self._log, self._stop = ray, pieces, log, stop
        self._code: int | None = None

    @property
    def note(self) -> Mapping[str, Json]:
        return {}

    def wait(self, seconds: float) -> int | None:
        """Its exit code as a shell says it; that of SIGKILL where its worker or machine died."""
        until = time.monotonic() + seconds
        while self._code is None:
            ready, _ = self._ray.wait([self._pieces], timeout=max(0.0, until - time.monotonic()), fetch_local=False)
            if not ready:
                return None
            self._code = self._next()
        return self._code

    def _next(self) -> int | None:
        """Keeps the next piece of output; the exit code where that is what comes."""
        try:
            piece = self._ray.get(next(self._pieces))
        except StopIteration:
            return VANISHED
        except (self._ray.exceptions.TaskCancelledError, SystemExit):  # the latter of a worker that was killed
            return VANISHED
        except self._ray.exceptions.RayError as error:
            lost = (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError,
                    self._ray.exceptions.OutOfMemoryError, self._ray.exceptions.ObjectLostError)  # fmt: skip
            self._keep(f"{error}\n".encode())
            return VANISHED if isinstance(error, lost) else HarnessError.exit_code
        if isinstance(piece, int):
            return piece
        self._keep(piece)
        return None

    def _keep(self, said: bytes) -> None:
        with self._log.open("ab") as file:
            file.write(said)

    def stop(self) -> None:
        """Ask it to save what it has and to end."""
        self._stop.touch()

    def kill(self) -> None:
        """End its worker; what that had started ends when the trial is begun again."""
        self._ray.cancel(self._pieces, force=True)


def carry_out(command: list[str], folder: str, environment: Mapping[str, str], stop: str) -> Iterator[bytes | int]:
    """What a worker of Ray's does: starts the process, passes on what it prints, and gives its exit code last.

    Args:
        stop: where this file comes to be, the process is asked to end.
    """
    _end_orphans(environment.get(MARK, ""))
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    try:
        process = subprocess.Popen(
            command, cwd=folder, env={**inherited, **environment}, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True, bufsize=0,
        )  # fmt: skip
    except OSError as error:
        yield f"{command[0]!r} cannot be started in {folder} ({error.strerror})\n".encode()
        yield NOT_THERE
        return
    assert process.stdout is not None
    asked = False
    try:
        while True:
            if not asked and os.path.exists(stop):  # noqa: PTH110 - ten times a second
                asked = True
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            if select.select([process.stdout], [], [], 0.1)[0]:
                piece = os.read(process.stdout.fileno(), PIECE)
                if not piece:
                    break
                yield piece
        code = process.wait()
        yield code if code >= 0 else 128 - code
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Its group is asked to end, and killed where that takes too long."""
    for number, seconds in ((signal.SIGTERM, GRACE), (signal.SIGKILL, None)):
        if process.poll() is not None:
            break
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(seconds)


def _end_orphans(mark: str) -> None:
    """What a killed worker's trial left behind on this machine must not go on beside the next attempt."""
    if not mark or not sys.platform.startswith("linux"):
        return
    wanted = f"{MARK}={mark}".encode()
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # somebody else's, or gone
            if wanted in (folder / "environ").read_bytes().split(b"\0") and int(folder.name) != os.getpid():
                os.kill(int(folder.name), signal.SIGKILL)
