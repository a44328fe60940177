"""A small local server that speaks the hub's `resolve` endpoint, with the troubles of a real one."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def git_blob_sha1(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


@dataclass
class Hub:
    """What the server holds and how it behaves; tests change it while it runs."""

    files: dict[str, bytes]
    gated: bool = False
    accepted_token: str | None = None
    valid_tokens: set[str] = field(default_factory=lambda: {"hf_good"})
    exists: bool = True
    break_after: dict[str, list[int]] = field(default_factory=dict)
    """Bytes after which a transfer of that file breaks off, one entry a request."""
    corrupt: set[str] = field(default_factory=set)
    endless: set[str] = field(default_factory=set)
    """Files whose bodies never end, whatever length was stated."""
    status: int | None = None
    message: str = ""
    """What the server says with `status`."""
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    address: str = ""
    storage_address: str = ""

    def etag(self, name: str) -> str:
        content = self.files[name]
        return hashlib.sha256(content).hexdigest() if name.endswith(".pth") else git_blob_sha1(content)


def _handler(hub: Hub, *, storage: bool) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            pass

        def _refuse(self, status: int, code: str = "", message: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            if message:
                self.send_header("X-Error-Message", message)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _handle(self, *, body: bool) -> None:
            hub.requests.append((self.command, self.path, dict(self.headers)))
            path = self.path.split("?")[0]
            name = unquote(path.split("/resolve/")[-1].split("/", 1)[-1] if "/resolve/" in path else path[1:])
            if hub.status is not None:
                return self._refuse(hub.status, message=hub.message)
            if not storage and not hub.exists:
                return self._refuse(401, "RepoNotFound")
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if not storage and hub.gated and token != hub.accepted_token:
                if token and token not in hub.valid_tokens:
                    return self._refuse(401, "RepoNotFound", "Invalid credentials in Authorization header")
                return self._refuse(403 if token else 401, "GatedRepo")
            if "/resolve/nowhere/" in self.path:
                return self._refuse(404, "RevisionNotFound")
            if name not in hub.files:
                return self._refuse(404, "EntryNotFound")
            content = hub.files[name]
            common = {"X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
            if name.endswith(".pth") and not storage and hub.storage_address:
                self.send_response(302)
                for key, value in common.items():
                    self.send_header(key, value)
                self.send_header("X-Linked-ETag", f'"{hub.etag(name)}"')
                self.send_header("X-Linked-Size", str(len(content)))
                self.send_header("Location", f"{hub.storage_address}/{name}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return None
            start = 0
            wanted = self.headers.get("Range")
            if wanted:
                start = int(wanted.removeprefix("bytes=").split("-")[0])
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            else:
                self.send_response(200)
            for key, value in common.items():
                self.send_header(key, value)
            self.send_header("ETag", f'"{hub.etag(name)}"')
            if name in hub.endless:
                self.send_header("Connection", "close")
                self.end_headers()
                self.close_connection = True
                with contextlib.suppress(OSError):
                    for _ in range(1000 if body else 0):
                        self.wfile.write(content)
                return None
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            if not body:
                return None
            sent = content[start:]
            if name in hub.corrupt:
                sent = bytes(255 - byte for byte in sent)
            limits = hub.break_after.get(name)
            if limits:
                self.wfile.write(sent[: limits.pop(0)])
                self.wfile.flush()
                self.connection.close()
                self.close_connection = True
                return None
            self.wfile.write(sent)
            return None

        def do_HEAD(self) -> None:
            self._handle(body=False)

        def do_GET(self) -> None:
            self._handle(body=True)

    return Handler


class running_hub:  # noqa: N801 - a context manager, used like a function
    """Serve `hub` on this machine: the hub itself and, on a second port, the storage host it redirects to."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._servers = [
            ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub, storage=storage)) for storage in (False, True)
        ]
        hub.address = f"http://127.0.0.1:{self._servers[0].server_port}"
        # Another host name, so that the client sees another origin.
        hub.storage_address = f"http://localhost:{self._servers[1].server_port}"

    def __enter__(self) -> Hub:
        for server in self._servers:
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        return self._hub

    def __exit__(self, *_: object) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()
