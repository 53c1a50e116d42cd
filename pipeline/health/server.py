"""HTTP server for the status of a run, on a Unix socket and, if configured, on a TCP port."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from types import TracebackType

import msgspec
from msgspec.structs import replace
from prometheus_client import CONTENT_TYPE_LATEST

from pipeline.health.config import HealthConfig
from pipeline.health.metrics import render
from pipeline.health.status import RunStatus, observe
from pipeline.http_server import Handler, TcpServer, ThreadedServer, UnixServer
from pipeline.supervisor import Supervisor

REFRESH_NS = 250_000_000
UNRESPONSIVE_NS = 5_000_000_000
UNRESPONSIVE = "the supervisor does not answer"
TEXT = "text/plain; charset=utf-8"
Answer = tuple[HTTPStatus, str, bytes]


class Health:
    """HTTP endpoints for the latest status of a run.

    ``/healthz``: 200 if the supervisor is responsive. ``/readyz``: 200 if all stages run and every source has recent
    results; otherwise 503 with the troubles, one per line. ``/metrics``: Prometheus text format. ``/status``: complete
    status as JSON. While the supervisor is not responsive, both call the run degraded.

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
        self._servers: list[ThreadedServer] = []
        self.port: int | None = None
        if config.port is not None:
            server = TcpServer("health", config.host, config.port, _handler(self))
            self.port = server.port
            self._serve(server)

    def serve_unix_socket(self, path: Path) -> None:
        """Also serve on a Unix socket, in a folder that is accessible to this user only."""
        self._serve(UnixServer(path, _handler(self)))

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
        status = self._status
        if self._unresponsive:  # what the status says is out of date
            status = replace(status, state="degraded", troubles=[UNRESPONSIVE, *status.troubles])
        return pages[path](status)

    @property
    def _unresponsive(self) -> bool:
        return time.monotonic_ns() - self._seen_ns > UNRESPONSIVE_NS

    def _healthz(self, status: RunStatus) -> Answer:
        if self._unresponsive:
            return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, f"{UNRESPONSIVE}\n".encode()
        return HTTPStatus.OK, TEXT, b"ok\n"

    def _readyz(self, status: RunStatus) -> Answer:
        healthy = self._healthz(status)
        if status.state == "running" or healthy[0] is not HTTPStatus.OK:
            return healthy
        lines = "".join(f"{line}\n" for line in (status.state, *status.troubles))
        return HTTPStatus.SERVICE_UNAVAILABLE, TEXT, lines.encode()

    def _serve(self, server: ThreadedServer) -> None:
        self._servers.append(server)
        server.start("health")

    def __enter__(self) -> Health:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.stop()


def _handler(health: Health) -> type[Handler]:
    class HealthHandler(Handler):
        def do_GET(self) -> None:
            self.answer(*health.answer(self.path.partition("?")[0]))

    return HealthHandler
