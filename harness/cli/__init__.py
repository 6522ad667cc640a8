"""The command line: finds commands by entry points, and turns what they raise into messages and exit codes.

A command is an entry point of the group `harness.commands`, ours and anyone's. It is imported when it is named.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import signal
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType

import click

from harness import installed
from harness.cli.plain import plain
from harness.errors import HarnessError, PluginError, near

GROUP = "harness.commands"
INTERRUPTED = 130
TERMINATED = 143
UNEXPECTED = 2


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt, not an Exception: nothing but the end of the process handles it."""


class Commands(click.Group):
    """The commands that are installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(_installed())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        point = _installed().get(cmd_name)
        if point is None:
            return None
        try:
            command = point.load()
        except Exception as error:
            origin = f"{point.dist.name} {point.dist.version}" if point.dist else "an unknown distribution"
            raise PluginError(f"command {cmd_name!r} of {origin} cannot be imported: {error!r}") from error
        if not isinstance(command, click.Command):
            raise PluginError(f"command {cmd_name!r}: {point.value} is not a click command")
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in _installed():
            matches = near(args[0], _installed())
            hint = f"did you mean {matches[0]!r}?" if matches else "see `harness --help`"
            raise click.UsageError(f"no such command {args[0]!r} ({hint})", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One line a command, from its module's docstring, read without importing anything."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _summary(point)) for name, point in sorted(_installed().items())])


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="vlm-harness", prog_name="harness")
def command() -> None:
    """Evaluate vision-language models, and decide whether a checkpoint may ship.

    Exit codes: 0 done or passed, 1 the gate failed, 2 usage, configuration or plugin error, 3 incomplete or
    undecided, 130 and 143 interrupted (the same command goes on).
    """


def run(arguments: Sequence[str], *, last: bool = False) -> int:
    """Run the command line and give its exit code; prints every error in one way.

    Args:
        last: the process ends after it.
    """
    signal.signal(signal.SIGTERM, _terminate)
    try:
        if not _installed():
            raise PluginError("the harness is not installed: run `make install` in the checkout")
        code = _code(command.main([*arguments], prog_name="harness", standalone_mode=False))
        sys.stdout.flush()
        return code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except HarnessError as error:
        print(f"error: {plain(str(error))}", file=sys.stderr)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        _close(last)
        print("interrupted; what was finished is kept, the same command goes on", file=sys.stderr)
        return INTERRUPTED
    except Terminated:
        _close(last)
        print("terminated; what was finished is kept, the same command goes on", file=sys.stderr)
        return TERMINATED
    except (BrokenPipeError, SystemExit) as error:
        # click and rich turn a broken pipe into an exit with 1, which is a failed gate's alone.
        if isinstance(error, SystemExit) and error.code != 1:
            return _code(error.code)
        # The reader of our output has gone; nothing more can be said to it, not even by the interpreter's own flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNEXPECTED
    except Exception as error:  # noqa: BLE001 - the last resort; the report has the traceback
        print(plain(f"error: unexpected {type(error).__name__}: {error}\n{_report(arguments)}"), file=sys.stderr)
        return UNEXPECTED


def _code(returned: object) -> int:
    return returned if isinstance(returned, int) else 0


def _close(last: bool) -> None:
    """A second signal, which shells and `timeout` are quick to send, may not change how the process ends."""
    if last:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)


def _terminate(number: int, frame: FrameType | None) -> None:
    raise Terminated


def _installed() -> dict[str, metadata.EntryPoint]:
    """The commands by name. Where two distributions bring one name, both are named and neither is chosen."""
    points: dict[str, metadata.EntryPoint] = {}
    for point in installed.entry_points(GROUP):
        other = points.setdefault(point.name, point)
        if other.value != point.value:
            raise PluginError(
                f"the command {point.name!r} is brought twice: {other.value} of {other.dist and other.dist.name} and "
                f"{point.value} of {point.dist and point.dist.name}; uninstall one of them"
            )
    return points


def _summary(point: metadata.EntryPoint) -> str:
    """The first line of the docstring of the command's module, which is found and parsed but not imported."""
    root, *rest = point.module.split(".")
    spec = importlib.util.find_spec(root)
    for folder in (spec and spec.submodule_search_locations) or ():
        for path in (Path(folder, *rest).with_suffix(".py"), Path(folder, *rest, "__init__.py")):
            if path.is_file():
                documentation = ast.get_docstring(ast.parse(path.read_bytes())) or ""
                return documentation.partition("\n")[0]
    return f"from {point.dist.name}" if point.dist else ""


def _report(arguments: Sequence[str]) -> str:
    """Save the traceback for whoever will mend it, and say where."""
    import traceback

    from harness.environment import redact

    text = f"harness {redact(' '.join(arguments))}\npython {sys.version}\n\n{redact(traceback.format_exc())}"
    folder = Path(os.environ.get("HARNESS_HOME", ".harness")) / "errors"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{os.getpid()}.txt"
        path.write_text(text, encoding="utf-8")
    except OSError:
        return text
    return f"this is a defect; what is needed to mend it was saved in {path}"
