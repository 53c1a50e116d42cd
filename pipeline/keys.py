"""CURVE key files, and ZeroMQ sockets that are authenticated and encrypted with them.

A folder of keys belongs to one machine:

    DIR/NAME.key_secret     secret key of this machine, readable by its user only
    DIR/NAME.key            public key of this machine, to be copied to the others
    DIR/trusted/OTHER.key   public keys of others: clients that a server admits, the server that a client accepts

``python -m tools.make_keys DIR --name NAME`` creates one. The files have the format of ``zmq.auth``.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import zmq
from zmq.auth import load_certificate
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils import z85

from pipeline.errors import ConfigError

log = logging.getLogger(__name__)
TRUSTED = "trusted"
_PUBLIC, _SECRET = ".key", ".key_secret"
_DOMAIN = "irst"
_KEY_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_OTHERS_READ, _OTHERS_WRITE = 0o077, 0o022


class Identity(NamedTuple):
    """Key pair of this machine, encoded in Z85."""

    name: str
    public: bytes
    secret: bytes


def create(folder: Path, name: str) -> Path:
    """Create the key pair of this machine, accessible to its user only.

    Returns:
        The path of the public key.

    Raises:
        ConfigError: the name is not allowed, the folder is accessible to other users, already contains keys or cannot
            be written.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"name {name!r}: expected 1 to 64 letters, digits, '-' or '_'")
    public, secret = zmq.curve_keypair()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _require_mode(folder, _OTHERS_READ, "700")
        for old in sorted(folder.glob(f"*{_SECRET}")):
            raise ConfigError(f"{old}: a key already exists and is not overwritten")
        (folder / TRUSTED).mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{name}{_PUBLIC}"
        _write(path, f'curve\n    public-key = "{public.decode()}"\n')
        _write(
            folder / f"{name}{_SECRET}",
            f'curve\n    public-key = "{public.decode()}"\n    secret-key = "{secret.decode()}"\n',
        )
    except FileExistsError as error:
        raise ConfigError(f"{error.filename}: already exists and is not overwritten") from None
    except OSError as error:
        raise ConfigError(f"{error.filename or folder}: {error.strerror}") from None
    return path


def identity(folder: Path) -> Identity:
    """Load the key pair in a folder.

    Raises:
        ConfigError: there is none, there is more than one, or other users can read it.
    """
    paths = sorted(folder.glob(f"*{_SECRET}"))
    if len(paths) != 1:
        what = "more than one secret key" if paths else "no secret key"
        raise ConfigError(f"{folder}: {what}; python -m tools.make_keys {folder} --name NAME makes one")
    _require_mode(paths[0], _OTHERS_READ, "600")
    public, secret = _load(paths[0])
    if secret is None:
        raise ConfigError(f"{paths[0]}: contains no secret key")
    return Identity(paths[0].name.removesuffix(_SECRET), public, secret)


def trusted(folder: Path) -> dict[str, bytes]:
    """Load the public keys of the trusted machines, in Z85, by name.

    Raises:
        ConfigError: other users can write to the folder or a file, or a file is not a key file.
    """
    place = folder / TRUSTED
    if not place.is_dir():
        return {}
    _require_mode(place, _OTHERS_WRITE, "700")
    keys = {}
    for path in sorted(place.glob(f"*{_PUBLIC}")):
        _require_mode(path, _OTHERS_WRITE, "600")
        keys[path.name.removesuffix(_PUBLIC)] = _load(path)[0]
    return keys


def secure_client(socket: zmq.Socket[bytes], own: Identity, server: bytes) -> None:
    """Restrict a client socket to one server, which must prove that it holds the secret key to ``server``."""
    socket.curve_publickey, socket.curve_secretkey = own.public, own.secret
    socket.curve_serverkey = server


def secure_server(socket: zmq.Socket[bytes], own: Identity) -> None:
    """Make a server socket admit only clients that the ``authenticator`` of its context accepts; without one, none."""
    socket.curve_publickey, socket.curve_secretkey = own.public, own.secret
    socket.curve_server = True
    socket.zap_domain = _DOMAIN.encode()
    socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)


@contextlib.contextmanager
def authenticator(context: zmq.Context[zmq.Socket[bytes]], folder: Path) -> Iterator[None]:
    """Authenticate clients by the trusted public keys in the folder, which are read again for every connection.

    It must be running before the socket of a server is bound.

    Raises:
        ConfigError: see ``trusted``; or no key is trusted at all.
    """
    if not trusted(folder):
        raise ConfigError(f"{folder / TRUSTED}: no public key of a client (*{_PUBLIC}), no client could connect")
    guard = ThreadAuthenticator(context)
    guard.configure_curve_callback(_DOMAIN, _AllowList(folder))
    guard.start()
    try:
        yield
    finally:
        guard.stop()


class _AllowList:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether a client is admitted; called by the authenticator thread."""
        try:
            known = trusted(self._folder)
        except (ConfigError, OSError) as error:
            log.warning("no client is admitted: %s", error)
            return False
        for name, public in known.items():
            if public == key:
                log.info("client %s is admitted", name)
                return True
        log.warning("a client with the unknown key %s is refused", fingerprint(key))
        return False


def fingerprint(public: bytes) -> str:
    """Return 16 hex digits that identify a public key. The key itself may look like a password in an address."""
    return hashlib.sha256(public).hexdigest()[:16]


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
        if any(len(z85.decode(key)) != _KEY_BYTES for key in (public, secret) if key is not None):
            raise ValueError
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from None
    except (ValueError, LookupError):
        raise ConfigError(f"{path}: not a key file") from None
    return public, secret


def _write(path: Path, text: str) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:  # noqa: PTH123 - a descriptor
        file.write(text)


def _require_mode(path: Path, forbidden: int, mode: str) -> None:
    """Check that a path does not have any of the ``forbidden`` permissions.

    Raises:
        ConfigError: it does. The message says how to change the mode.
    """
    try:
        found = path.stat().st_mode
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    if os.name == "posix" and found & forbidden:
        what = "others can read it" if forbidden == _OTHERS_READ else "others can write to it"
        raise ConfigError(f"{path}: {what}, so it is not used; run chmod {mode} {path}")
