"""Look at the workspace in a browser: runs, trends, comparisons, verdicts."""

from __future__ import annotations

import ipaddress
import socket
import sys
import threading
import webbrowser
from pathlib import Path

import click
import uvicorn

from harness.cli.output import config_option, say
from harness.errors import UsageError
from harness.report.gather import Reporter
from harness.session import Session, open_session
from harness.view.app import make_app
from harness.view.guard import Guard
from harness.view.workspace import Workspace

PORT = 8765
LOOPBACK = "127.0.0.1"
GRACE = 2
"""Seconds that are left to answers that are being given when the server is told to end."""


@click.command("view")
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True, help="0 takes any free one.")
@click.option("--host", default=LOOPBACK, show_default=True,
              help="The address to listen at. One that others can reach lets them in, without a password.")  # fmt: skip
@click.option("--open/--no-open", "opened", default=False, show_default=True, help="Open it in the browser.")
@config_option
def command(port: int, host: str, opened: bool, config: Path | None) -> None:
    """Show the workspace in a browser, until Ctrl-C.

    The address is printed on stdout. Nothing is written to the workspace, and others may write to it meanwhile.
    """
    with open_session(config=config) as session, _listen(host, port) as listener:
        name, number = listener.getsockname()[:2]
        alone = ipaddress.ip_address(name).is_loopback
        names = {host} if alone else {host, socket.gethostname()}
        app = make_app(_workspace(session), lambda: server.should_exit)
        server = uvicorn.Server(uvicorn.Config(
            Guard(app, names, anywhere=not alone), log_level="warning", access_log=False, server_header=False,
            proxy_headers=False, ws="none", lifespan="off", http="h11", loop="asyncio",
            timeout_graceful_shutdown=GRACE,
        ))  # fmt: skip
        address = f"http://{_shown(name)}:{number}/"
        if not alone:
            say(f"warning: there is no password: whoever can reach {address} can read all of the workspace")
        click.echo(address)
        sys.stdout.flush()
        say(f"shows {session.home.absolute()}; Ctrl-C ends it")
        if opened:
            # On a thread, since a browser of the terminal does not return before it is left.
            threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
        try:
            server.run(sockets=[listener])
        except KeyboardInterrupt:
            return  # the end that it is meant to have: nothing was interrupted


def _workspace(session: Session) -> Workspace:
    reporter = Reporter(
        session.store, session.comparer, session.verdicts, session.trainings, session.benchmark,
        session.settings.source, lambda text: None,
    )  # fmt: skip
    return Workspace(session.database, reporter, lambda: session.checkpoints)


def _listen(host: str, port: int) -> socket.socket:
    """A socket that takes connections.

    Raises:
        UsageError: the port is taken, or the address is none of this machine's.
    """
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise UsageError(f"--host {host}: no address of this machine ({error.strerror})") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen()
    except OSError as error:
        listener.close()
        raise UsageError(
            f"cannot listen at {host}, port {port} ({error.strerror}); --port 0 takes any free port"
        ) from error
    return listener


def _shown(name: str) -> str:
    """An address as it is written before a port; this machine's name where it is all of its addresses."""
    address = ipaddress.ip_address(name)
    if address.is_unspecified:
        return socket.gethostname()
    return f"[{name}]" if address.version == 6 else name
