"""HTTP server for the status of a run, on a Unix socket and, if configured, on a TCP port."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import BaseServer, TCPServer, ThreadingMixIn, UnixStreamServer
from types import TracebackType
from typing import Any

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.errors import ConfigError
from pipeline.health.config import HealthConfig
from pipeline.health.metrics import render
from pipeline.health.status import RunStatus, observe
from pipeline.supervisor import Supervisor

REFRESH_NS = 250_000_000
UNRESPONSIVE_NS = 5_000_000_000
MAX_CLIENTS = 64
"""Maximum number of simultaneous connections per address; further ones are closed at once."""
CLIENT_TIMEOUT_S = 5.0
"""Maximum duration of a connection, from its acceptance to the end of the response; then it is closed."""
TEXT = "text/plain; charset=utf-8"
Answer = tuple[HTTPStatus, str, bytes]


class Health:
    """HTTP endpoints for the latest status of a run.

    ``/healthz``: 200 if the supervisor is responsive. ``/readyz``: 200 if all stages run and every source has recent
    results; otherwise 503 with the troubles, one per line. ``/metrics``: Prometheus text format. ``/status``: complete
    status as JSON.

    Args:
        config: Settings of the health section.

    Attributes:
        port: TCP port in use; None if there is none.

    Raises:
        ConfigError: It is not possible to listen on the TCP address.
    """

    def __init__(self, config: HealthConfig) -> None:
        self._config = config
        self._status: RunStatus | None = None
        self._seen_ns = 0
        self._servers: list[BaseServer] = []
        self.port: int | None = None
        if config.port is not None:
            try:
                server = _TcpServer(config.host, config.port, _handler(self))
            except (OSError, UnicodeError) as error:
                reason = getattr(error, "strerror", None) or error
                raise ConfigError(f"health: {config.host}:{config.port}: {reason}") from None
            self.port = server.server_address[1]
            self._serve(server)

    def serve_unix_socket(self, path: Path) -> None:
        """Also serve on a Unix socket, in a folder that is accessible to this user only."""
        self._serve(_UnixServer(str(path), _handler(self)))

    def update(self, supervisor: Supervisor) -> None:
        """Refresh the status, at most four times a second; called in the supervisor's thread.

        If this fails in the operating system, for example for lack of file descriptors, the last status is kept.
        """
        now_ns = time.monotonic_ns()
        if now_ns - self._seen_ns >= REFRESH_NS:
            with contextlib.suppress(OSError):
                self._status = observe(supervisor, now_ns, self._config.max_age_s)
                self._seen_ns = now_ns

    def answer(self, path: str) -> Answer:
        """Return HTTP status code, content type and body for a path."""
        pages: dict[str, Callable[[RunStatus], Answer]] = {
            "/healthz": self._healthz,
            "/readyz": self._readyz,
            "/metrics": lambda status: (HTTPStatus.OK, CONTENT_TYPE_LATEST, render(status)),
            "/status": lambda status: (HTTPStatus.OK, "application/json", msgspec.json.encode(status)),
        }
        if path not in pages:
            return HTTPStatus.NOT_FOUND, TEXT, f"known: {' '.join(pages)}\n".encode()
        if self._status is None:
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, b"starting\n"
        return pages[path](self._status)

    def _healthz(self, status: RunStatus) -> Answer:
        if time.monotonic_ns() - self._seen_ns > UNRESPONSIVE_NS:
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, b"the supervisor does not answer\n"
        return HTTPStatus.OK, TEXT, b"ok\n"

    def _readyz(self, status: RunStatus) -> Answer:
        healthy = self._healthz(status)
        if status.state == "running" or healthy[0] is not HTTPStatus.OK:
            return healthy
        lines = "".join(f"{line}\n" for line in (status.state, *status.troubles))
        return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, lines.encode()

    def _serve(self, server: BaseServer) -> None:
        self._servers.append(server)
        threading.Thread(target=server.serve_forever, args=(0.1,), name="health", daemon=True).start()

    def __enter__(self) -> Health:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _ThreadedServer(ThreadingMixIn, TCPServer):
    """Server with one thread per connection, which limits the number of connections and their duration."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, address: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        self._since: dict[Any, float] = {}
        super().__init__(address, handler)

    def verify_request(self, request: Any, client_address: object) -> bool:
        """Accept a connection unless there are ``MAX_CLIENTS`` already."""
        if room := len(self._since) < MAX_CLIENTS:
            self._since[request] = time.monotonic()
        return room

    def service_actions(self) -> None:
        """Shut down connections that exceed ``CLIENT_TIMEOUT_S``; a socket timeout would restart with every byte."""
        due = time.monotonic() - CLIENT_TIMEOUT_S
        for request, since in list(self._since.items()):
            if since < due:
                with contextlib.suppress(OSError):  # the client has just disconnected
                    request.shutdown(socket.SHUT_RDWR)

    def close_request(self, request: Any) -> None:
        """Close a connection and free its slot."""
        super().close_request(request)
        self._since.pop(request, None)

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore socket errors, such as clients that disconnect or time out."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class _TcpServer(_ThreadedServer):
    allow_reuse_address = True

    def __init__(self, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        self.address_family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
        super().__init__(address, handler)


class _UnixServer(_ThreadedServer, UnixStreamServer):
    pass


def _handler(health: Health) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            code, kind, body = health.answer(self.path.partition("?")[0])
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Do not log requests."""

    return Handler
