"""A page for a browser elsewhere: served on this machine alone, and the commands that fetch or reach it."""

from __future__ import annotations

import getpass
import http.server
import os
import secrets
import socket
from collections.abc import Mapping
from pathlib import Path

from ..errors import UsageError
from ..messages import of_the_system
from ..reading import read_regular
from ..terminal import shell_quoted

_LARGEST = 1 << 30
"""Bytes of a page."""
_HOSTS = ("127.0.0.1", "localhost")


class PageServer(http.server.ThreadingHTTPServer):
    """Serves one file under an address that nobody guesses: others on this machine may not listen along.

    Args:
        port: 0 = any free one.

    Raises:
        UsageError: the port cannot be had.
    """

    daemon_threads = True

    def __init__(self, file: Path, port: int) -> None:
        self.file = file
        self.path = f"/{secrets.token_urlsafe(12)}/{file.name}"
        try:
            super().__init__((_HOSTS[0], port), _Handler)
        except OSError as error:
            raise UsageError(
                "Port {port} cannot be used ({reason}).",
                "Leave out --port: any free one is taken.",
                port=port,
                reason=of_the_system(error),
            ) from error

    @property
    def address(self) -> str:
        """What a browser on this machine opens, or one at the other end of `tunnel_command`."""
        return f"http://{_HOSTS[0]}:{self.server_port}{self.path}"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: PageServer

    def do_GET(self) -> None:
        """Answer with the page."""
        host = self.headers.get("Host", "").rpartition(":")[0]
        # A name of somebody else's that leads here would let their page read this one.
        if self.path != self.server.path or host not in _HOSTS:
            self.send_error(404)
            return
        content = read_regular(self.server.file, _LARGEST)
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        """Say nothing: the terminal shows the commands to copy."""


def copy_command(file: Path, environment: Mapping[str, str] = os.environ) -> str:
    """Return the `scp` command that fetches a file of this machine, for the user's own."""
    user, host, port = _this_machine(environment)
    option = f"-P {port} " if port != 22 else ""
    place = f"{user}@{f'[{host}]' if ':' in host else host}:{file.absolute()}"
    return f"scp {option}{shell_quoted(place)} ."


def tunnel_command(port: int, environment: Mapping[str, str] = os.environ) -> str:
    """Return the `ssh` command that makes a port of this machine reachable from the user's own."""
    user, host, ssh_port = _this_machine(environment)
    option = f"-p {ssh_port} " if ssh_port != 22 else ""
    return f"ssh {option}-N -L {port}:{_HOSTS[0]}:{port} {shell_quoted(f'{user}@{host}')}"


def _this_machine(environment: Mapping[str, str]) -> tuple[str, str, int]:
    """Return user, host and the port of this machine's ssh server, as the user's own machine reached it."""
    parts = environment.get("SSH_CONNECTION", "").split()  # client, its port, server, its port
    if len(parts) == 4 and parts[3].isdigit():
        return getpass.getuser(), parts[2], int(parts[3])
    return getpass.getuser(), socket.gethostname(), 22
