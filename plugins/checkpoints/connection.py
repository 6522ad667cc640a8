# mypy: allow-untyped-calls
# Parts of wandb carry no annotations.

"""The way to a W&B server: who asks, where, how long it may take, and what is said when it fails."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from harness import ConfigError, HarnessError, MissingExtra, StoreError
from plugins.wandb_sdk import is_installed, knock, logged_in, server, silent

PATIENCE: Final = 30.0
"""Seconds that an answer may take, its retries among them, where nothing else is configured."""
FORGIVEN: Final = 600.0
"""Seconds after which a server that gave no answer is asked again for what is known without it."""
SLOWEST: Final = 250_000
"""Bytes a second under which an upload counts as stuck."""
OFFLINE: Final = ("offline", "dryrun", "disabled")
REFUSED: Final = (401, 403)


class Connection:
    """A project of a W&B server. Nothing is asked before something is needed; picklable.

    Args:
        entity, project: of the project; those of WANDB_ENTITY and WANDB_PROJECT, or the SDK's defaults, where None.
        timeout: seconds that an answer may take.
    """

    def __init__(self, entity: str | None, project: str | None, timeout: float = PATIENCE) -> None:
        self._entity = entity
        self._project = project
        self.timeout = timeout
        self._api: Any = None
        self._setup: Any = None
        self._user: str | None = None
        self._in_vain_until = 0.0

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_api": None, "_setup": None, "_in_vain_until": 0.0}

    @property
    def server(self) -> str:
        """The server's URL, with no slash at its end."""
        return server()

    @property
    def named(self) -> tuple[str, str] | None:
        """Entity and project, where both are known without asking."""
        entity = self._entity or os.environ.get("WANDB_ENTITY")
        project = self._project or os.environ.get("WANDB_PROJECT")
        return (entity, project) if entity and project else None

    @property
    def api(self) -> Any:
        """The SDK's `Api`, made when it is first needed, and anew where somebody tore the SDK down.

        Raises:
            ConfigError: there is no login, it is refused, or the SDK is set to stay offline.
            StoreError: the server does not answer.
        """
        self.check()
        with self.asking("logging in"):
            wandb = self._sdk()
            setup = wandb.setup()
            if self._api is None or self._setup is not setup:
                where = {"base_url": self.server}
                self._api, self._setup = wandb.Api(where, timeout=max(1, round(self.timeout))), setup
            return self._api

    @property
    def entity(self) -> str:
        with self.asking("looking up whose login it is"):
            return str(self._entity or self.api.settings["entity"] or self.api.default_entity)

    @property
    def project(self) -> str:
        return str(self._project or self.api.settings["project"] or "uncategorized")

    @property
    def user(self) -> str:
        """Who is logged in."""
        if self._user is None:
            with self.asking("looking up whose login it is"):
                self._user = str(self.api.viewer.username or self.api.default_entity)
        return self._user

    @property
    def path(self) -> str:
        """`entity/project`."""
        return f"{self.entity}/{self.project}"

    def __str__(self) -> str:
        named = self.named or (self._entity, self._project)
        return f"the W&B project {'/'.join(part or '(default)' for part in named)} at {self.server}"

    def check(self) -> None:
        """Whether the server could be asked at all; asks nobody.

        Raises:
            MissingExtra: the SDK is not installed.
            ConfigError: there is no login, or the SDK is set to stay offline.
        """
        self._sdk()
        if (mode := os.environ.get("WANDB_MODE", "")) in OFFLINE:
            raise ConfigError(
                f"WANDB_MODE={mode}: checkpoints at Weights & Biases need their server; unset it, or keep them in the "
                "embedded registry and copy them later with `harness checkpoints mirror`"
            )
        if not logged_in():
            raise ConfigError(
                f"no login for {self.server}: run `wandb login --host {self.server}`, or set WANDB_API_KEY"
            )

    def answers(self) -> bool:
        """Whether it is worth asking where there is something else to go by.

        A server that gave no answer costs the process one wait: it is not asked again for a while.
        """
        try:
            self.check()
        except HarnessError:
            return False
        if time.monotonic() < self._in_vain_until:
            return False
        if self._api is None and knock(self.server) is not None:
            self._in_vain_until = time.monotonic() + FORGIVEN
        return time.monotonic() >= self._in_vain_until

    @contextmanager
    def asking(self, what: str) -> Iterator[None]:
        """Turns whatever the SDK raises in the block into an error that names what was asked, and the next step.

        Args:
            what: is being done, such as "looking for net:v0".
        """
        try:
            yield
        except HarnessError:
            raise
        except Exception as error:
            status = status_of(error)
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            if "did not respond in time" in reason:
                reason = "no answer in time"
            if status in REFUSED:
                raise ConfigError(
                    f"{self}: {what}: the server refuses it ({reason}); `wandb login --relogin`, or ask for access"
                ) from error
            self._in_vain_until = time.monotonic() + FORGIVEN
            raise StoreError(
                f"{self}: {what} failed ({reason}); nothing is half done: run the same command again when the server "
                "answers (`harness doctor` asks it)"
            ) from error

    @contextmanager
    def run(self, job_type: str, name: str, largest: int) -> Iterator[Any]:
        """A W&B run for the block, beside any that the process has open; its files here are removed afterwards.

        Args:
            largest: bytes of the largest file that it will upload.
        """
        self.check()
        wandb = self._sdk()
        with neutral_folder() as scratch:
            with self.asking(f"opening a run to {name}"):
                run = wandb.init(
                    entity=self.entity, project=self.project, job_type=job_type, name=name, dir=str(scratch),
                    mode="online", reinit="create_new", settings=wandb.Settings(**silent(**self._settings(largest))),
                )  # fmt: skip
            try:
                yield run
            except BaseException:
                with suppress(Exception):
                    run.finish(exit_code=1)
                raise
            with self.asking(f"closing the run to {name}"):
                run.finish()

    def _settings(self, largest: int) -> dict[str, Any]:
        seconds, longest = max(1, round(self.timeout)), max(1, round(self.timeout / 6))
        waits: dict[str, int] = {}
        for client in ("graphql", "file_transfer", "file_stream"):  # the SDK takes whole seconds
            waits[f"x_{client}_retry_max"] = max(2, seconds // longest)
            waits[f"x_{client}_retry_wait_min_seconds"] = 1
            waits[f"x_{client}_retry_wait_max_seconds"] = longest
        return {
            **waits,
            "base_url": self.server,
            "x_graphql_timeout_seconds": seconds,
            "x_file_stream_timeout_seconds": seconds,
            "x_file_transfer_timeout_seconds": seconds + largest // SLOWEST,
            "init_timeout": self.timeout,
            "finish_timeout": self.timeout,
        }

    def _sdk(self) -> Any:
        if not is_installed():
            raise MissingExtra("the checkpoint store 'wandb' needs the W&B SDK: pip install 'vlm-harness[wandb]'")
        import wandb

        return wandb


@contextmanager
def neutral_folder() -> Iterator[Path]:
    """A temporary folder, whose name says nothing of the user where the machine has a common place for such."""
    common = Path("/tmp")
    place = common if common.is_dir() and os.access(common, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="harness-wandb-", dir=place, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def status_of(error: BaseException) -> int | None:
    """The HTTP status in an error of the SDK, or in what caused it."""
    for inner in _chain(error):
        response = getattr(inner, "response", None)
        status = getattr(response, "http_status", None) or getattr(response, "status_code", None)
        if status:
            return int(status)
    return None


def is_absence(error: BaseException) -> bool:
    """Whether an error of the SDK says that the server has no such thing, and not that it did not answer."""
    if (status := status_of(error)) is not None:
        return status == 404
    # The SDK says with a ValueError that an answer had nothing in the place that it looked at.
    return all(type(inner) is ValueError or hasattr(inner, "exc") for inner in _chain(error))


def is_race(error: BaseException) -> bool:
    """Whether the SDK failed to remove from a dictionary of its own what another thread had just removed."""
    return any(type(inner) is KeyError for inner in _chain(error))


def _chain(error: BaseException) -> Iterator[BaseException]:
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        yield current
        current = getattr(current, "exc", None) or current.__cause__ or current.__context__
