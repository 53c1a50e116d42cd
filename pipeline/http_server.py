"""HTTP servers with one thread per connection that clients cannot block: connections and their duration are limited."""

from __future__ import annotations

import contextlib
import socket
import sys
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import TCPServer, ThreadingMixIn, UnixStreamServer
from typing import Any

from pipeline.errors import ConfigError

PAUSE_S = 0.1


class ThreadedServer(ThreadingMixIn, TCPServer):
    """Base of the servers below.

    Attributes:
        max_clients: maximum number of simultaneous connections; further ones are closed at once.
        client_timeout_s: a connection is closed this long after its acceptance or its last ``renew``.
    """

    daemon_threads = True
    request_queue_size = 64
    max_clients = 64
    client_timeout_s = 5.0

    def __init__(self, address: Any, handler: type[BaseHTTPRequestHandler]) -> None:
        self._since: dict[Any, float] = {}
        super().__init__(address, handler)

    def start(self, name: str) -> None:
        """Serve in a thread of this name until ``stop``."""
        threading.Thread(target=self.serve_forever, args=(PAUSE_S,), name=name, daemon=True).start()

    def stop(self) -> None:
        """Accept no more connections; those that are open end by themselves."""
        self.shutdown()
        self.server_close()

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection; pause if that fails, since it stays pending: without descriptors this would be a loop.

        Raises:
            OSError: it cannot be accepted now.
        """
        try:
            return super().get_request()
        except OSError:
            time.sleep(PAUSE_S)
            raise

    def renew(self, request: Any) -> None:
        """Give a connection that has just done something useful its full time again."""
        if request in self._since:
            self._since[request] = time.monotonic()

    def verify_request(self, request: Any, client_address: object) -> bool:
        """Accept a connection unless there are ``max_clients`` already."""
        if room := len(self._since) < self.max_clients:
            self._since[request] = time.monotonic()
        return room

    def service_actions(self) -> None:
        """Shut down connections whose time is over; a socket timeout would restart with every byte."""
        due = time.monotonic() - self.client_timeout_s
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


class TcpServer(ThreadedServer):
    """Server on a TCP port.

    Args:
        setting: part of the configuration that the address comes from, for errors.
        host: name or address to listen on, IPv4 or IPv6.
        port: port; 0 lets the system choose one.
        handler: answers the requests.

    Attributes:
        port: port in use.

    Raises:
        ConfigError: It is not possible to listen on the address.
    """

    allow_reuse_address = True

    def __init__(self, setting: str, host: str, port: int, handler: type[BaseHTTPRequestHandler]) -> None:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            self.address_family, *_, address = min(found, key=lambda one: one[0] != socket.AF_INET)
            super().__init__(address, handler)
        except (OSError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"{setting}: {host}:{port}: {reason}") from None
        self.port: int = self.server_address[1]


class UnixServer(ThreadedServer, UnixStreamServer):
    """Server on a Unix socket.

    Args:
        path: path of the socket.
        handler: answers the requests.
    """

    def __init__(self, path: Path, handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(str(path), handler)


class Handler(BaseHTTPRequestHandler):
    """Base of the request handlers."""

    def answer(self, code: HTTPStatus, kind: str, body: bytes, **headers: str) -> None:
        """Send a complete response; underscores in the names of headers stand for hyphens."""
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Do not log requests."""
