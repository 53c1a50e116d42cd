"""Parse source addresses: kind of source, short id, and display form without credentials.

Addresses may contain passwords, and users write them unescaped, with '@', '/', ':' and '#' in them. So this module
does not rely on URL grammar where a password could be: everything before the last '@' is treated as secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

from pipeline.errors import SourceError, is_utf8

Kind = Literal["video", "images", "camera", "network", "scene", "remote"]

SCHEMES: dict[str, Kind] = {
    "file": "video",
    "rtsp": "network",
    "rtsps": "network",
    "udp": "network",
    "srt": "network",
    "http": "network",
    "https": "network",
    "test": "scene",
    "zmq+tcp": "remote",
}
IMAGE_SUFFIXES = (".png", ".tif", ".tiff", ".bmp", ".jpg", ".jpeg")
MASK = "***"

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
# A word followed by a blank still continues the address if it stopped within "user:pass", but not within "host:port".
# Quantifiers are possessive wherever the next character is not in their set, so that crafted input cannot cause
# excessive backtracking.
_WITH_SCHEME = re.compile(r"(?<=://)(?:[^\s/@:]*+:[^\s/@]*+\s[^@/\n]*+@(?:\S*@)?|\S+@)")
_WITHOUT_SCHEME = re.compile(
    r"""(?<![^\s"'=(,;<\[])(?![A-Za-z]:\\)(?:\\|//)?(?![^\w\s]*+[A-Za-z][\w+.-]*+://)[^\s:@/]*+:\S*@"""
)
_PARAMETER = re.compile(r"(?<![^?&;#\s,\"'(])([^\s=&?;#,\"'(]++)=(?=[^\s&])")
_VALUE = re.compile(r"[^\s&]+")
_SECRET_NAME = re.compile(
    r"us(e)?r|login|pass|pwd|psw|^pw$|token|auth|key|secret|signature|^sig$|cred|streamid|session|jwt", re.I
)
_FOLDER_OF_KEYS = "capture.remote.keys"  # looks like a secret but is a path, quoted in errors
_ID_LENGTH = 32
_MAX_SHOWN = 4096


class Address(NamedTuple):
    """A source address as given by the user.

    Attributes:
        kind: kind of source that opens it.
        text: path, device or URL as given, including credentials; display only ``redact(text)``.
    """

    kind: Kind
    text: str


def parse(source: str) -> Address:
    """Determine the kind of source that a SOURCE argument refers to, without opening it.

    Raises:
        SourceError: the argument is empty or no UTF-8, has an unknown scheme or a blank in a URL, or is not a valid
            file name.
    """
    if not source.strip():
        raise SourceError("the name of a source is empty")
    if "\0" in source:
        raise SourceError("the name of a source holds a zero byte")
    if not is_utf8(source):
        raise SourceError(f"{source}: the name is no UTF-8; rename it, or make a link to it")
    if re.fullmatch(r"[0-9]+|/dev/(video[0-9]+|v4l/.+)", source):
        return Address("camera", source)
    scheme = _SCHEME.match(source)
    if scheme:
        name = scheme[1].lower()
        if name not in SCHEMES:
            raise SourceError(f"{redact(source)}: unknown scheme {name!r} (known: {', '.join(SCHEMES)})")
        rest = source[scheme.end() :]
        if name == "file":
            return _parse_path(rest)
        if re.search(r"\s", rest):
            # The text is not quoted, because the part around the blank may be a password.
            raise SourceError(f"a {name}:// address contains a blank, write it as %20")
        return Address(SCHEMES[name], f"{name}://{rest}")
    return _parse_path(source)


def _parse_path(text: str) -> Address:
    path = Path(text)
    try:
        is_folder, exists = path.absolute().is_dir(), path.exists()
    except OSError as error:
        raise SourceError(f"{redact(text)}: {error.strerror}") from None
    is_glob = any(c in text for c in "*?[") and not exists
    if is_folder or is_glob or path.suffix.lower() in IMAGE_SUFFIXES:
        return Address("images", text)
    return Address("video", text)


def redact(text: str) -> str:
    """Mask the credentials of all addresses in a text: user info, and query parameters with secret names.

    Works on whole words, so a password may contain any character except blanks (and usually even those). It errs on
    the side of masking: of ``rtsp://host/a@b`` only ``rtsp://***@b`` is left. Texts of more than 4096 characters
    are masked completely, because the search takes quadratic time.
    """
    if len(text) > _MAX_SHOWN:
        return f"{MASK} ({len(text)} characters)"
    masked = _mask(text)
    while masked != text:  # text next to a mask may belong to the same address
        text, masked = masked, _mask(masked)
    return masked


def _mask(text: str) -> str:
    text = _mask_parameters(text)
    if "@" not in text:
        return text
    text = _WITH_SCHEME.sub(f"{MASK}@", text)
    return _WITHOUT_SCHEME.sub(f"{MASK}@", text)


def _mask_parameters(text: str) -> str:
    shown, at = "", 0
    for parameter in _PARAMETER.finditer(text):
        # The value of a harmless parameter is searched too: it may be the end of a password followed by a query.
        secret = parameter[1] != _FOLDER_OF_KEYS and _SECRET_NAME.search(unquote(parameter[1]))
        if parameter.start() >= at and secret:
            value = _VALUE.match(text, parameter.end())
            assert value is not None
            # An apparent parameter may be part of a password before an '@', so that character must be kept.
            shown += text[at : parameter.end()] + MASK + ("@" if "@" in value[0] else "")
            at = value.end()
    return shown + text[at:]


def source_ids(addresses: Sequence[str]) -> list[str]:
    """Return a short unique id ``[a-z0-9_-]{1,32}`` for every address, based on its file, folder, host or scene name.

    Raises:
        SourceError: an address is rejected by ``parse``.
    """
    ids: list[str] = []
    for address in addresses:
        name = _slug(_short_name(parse(address))) or "source"
        candidate, count = name[:_ID_LENGTH], 1
        while candidate in ids:
            count += 1
            suffix = f"-{count}"
            candidate = name[: _ID_LENGTH - len(suffix)] + suffix
        ids.append(candidate)
    return ids


def _short_name(address: Address) -> str:
    kind, text = address
    if kind == "camera":
        return f"camera{text}" if text.isdigit() else Path(text).name
    if kind in ("video", "images"):
        path = Path(text).absolute()
        if path.is_dir():
            return path.resolve().name
        return path.parent.name if any(c in path.name for c in "*?[") and not path.exists() else path.stem
    return host_of(text)


def host_of(url: str) -> str:
    """Return the host (or scene name) of a URL, including IPv6 brackets but no part of the user info."""
    rest = url.split("://", 1)[1].rsplit("@", 1)[-1]
    bracketed = re.match(r"\[[^\]]*\]", rest)
    return bracketed[0] if bracketed else re.split(r"[/?#:]", rest, maxsplit=1)[0]


def _slug(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", ascii_name).strip("-")
