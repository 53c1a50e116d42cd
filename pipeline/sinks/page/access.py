"""Who may see the live page."""

from __future__ import annotations

import binascii
import hmac
from base64 import b64decode
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from pipeline.errors import ConfigError
from pipeline.loopback import is_loopback
from pipeline.sinks.config import PageConfig

SHORTEST_PASSWORD = 8
_OTHERS = 0o077
_MAX_FILE = 4096


class Access:
    """Decides about requests by their headers.

    With a password, a request must carry it (HTTP Basic, any user name). Without one, on the loopback interface only,
    it must be addressed to this machine: a web page elsewhere can point a name of its own here (DNS rebinding), and the
    browser would hand it what the live page answers.

    Args:
        config: settings of the page.

    Raises:
        ConfigError: the page would be open to other machines, or the password file cannot be used.
    """

    def __init__(self, config: PageConfig) -> None:
        self._password = _read_password(config.password_file) if config.password_file is not None else None
        self._open = config.insecure
        if self._password is None and not config.insecure and not is_loopback(config.host):
            raise ConfigError(
                f"sinks.page: {config.host}: a page that other machines can open needs "
                "--set sinks.page.password_file=FILE (or sinks.page.insecure=true, which lets anybody watch)"
            )

    def refusal(self, host: str, authorization: str) -> HTTPStatus | None:
        """Return why a request is refused, None if it is not.

        Args:
            host: header ``Host``, empty if there is none.
            authorization: header ``Authorization``, empty if there is none.
        """
        if self._password is not None:
            known = hmac.compare_digest(_password_of(authorization), self._password)
            return None if known else HTTPStatus.UNAUTHORIZED
        if self._open or is_loopback(_name_of(host)):
            return None
        return HTTPStatus.MISDIRECTED_REQUEST


def _read_password(name: str) -> bytes:
    path = Path(name)
    try:
        if path.stat().st_mode & _OTHERS:
            raise ConfigError(f"sinks.page.password_file: {name}: other users have access, run chmod 600 {name}")
        with path.open("rb") as file:
            password = file.readline(_MAX_FILE).rstrip(b"\r\n")
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"sinks.page.password_file: {name}: {reason}") from None
    if len(password) < SHORTEST_PASSWORD:
        raise ConfigError(f"sinks.page.password_file: {name}: the first line needs {SHORTEST_PASSWORD} characters")
    return password


def _password_of(authorization: str) -> bytes:
    scheme, _, credentials = authorization.partition(" ")
    try:
        return b64decode(credentials, validate=True).partition(b":")[2] if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        return b""


def _name_of(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
