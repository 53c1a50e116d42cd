"""Client that queries the status of a run."""

from __future__ import annotations

import socket
from contextlib import closing
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec

from pipeline.errors import SourceError
from pipeline.health.status import RunStatus

TIMEOUT_S = 5.0


class _UnixConnection(HTTPConnection):
    def __init__(self, socket_path: Path) -> None:
        super().__init__("localhost", timeout=TIMEOUT_S)
        self._socket_path = socket_path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(TIMEOUT_S)
        self.sock.connect(str(self._socket_path))


def get(where: Path | str, path: str) -> tuple[int, bytes]:
    """Send one GET request to a run.

    Args:
        where: Unix socket of the run, or ``host:port``.
        path: ``/healthz``, ``/readyz``, ``/metrics`` or ``/status``.

    Returns:
        HTTP status code and body.

    Raises:
        SourceError: There is no HTTP response from this address.
    """
    try:
        made = _UnixConnection(where) if isinstance(where, Path) else HTTPConnection(where, timeout=TIMEOUT_S)
        with closing(made) as connection:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read()
    except (OSError, HTTPException, UnicodeError) as error:
        raise SourceError(f"{where}: no answer ({error})") from None


def status(where: Path | str) -> RunStatus:
    """Query the status of the run at a Unix socket or ``host:port``.

    Raises:
        SourceError: There is no response, or it is not the status of a run.
    """
    code, body = get(where, "/status")
    try:
        return msgspec.json.decode(body, type=RunStatus)
    except msgspec.MsgspecError as error:
        raise SourceError(f"{where}: response {code} is not a status: {error}") from None
