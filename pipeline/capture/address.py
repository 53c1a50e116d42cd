"""What the user calls a source: its kind, its short id, and how it may be shown.

Passwords travel inside addresses, and users write them raw, with '@', '/', ':' and '#' in them. So nothing
here trusts the address grammar where a password could be: whatever stands before the last '@' is secret.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

from pipeline.errors import SourceError

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
# A word that goes on after a blank is still one address when it stopped within "user:pass", not "host:port".
# Possessive wherever the next sign is none of the set: nobody may make this slow by the signs they send.
_WITH_SCHEME = re.compile(r"(?<=://)(?:[^\s/@:]*+:[^\s/@]*+\s[^@/\n]*+@(?:\S*@)?|\S+@)")
_WITHOUT_SCHEME = re.compile(
    r"""(?<![^\s"'=(,;<\[])(?![A-Za-z]:\\)(?:\\|//)?(?![^\w\s]*+[A-Za-z][\w+.-]*+://)[^\s:@/]*+:\S*@"""
)
_PARAMETER = re.compile(r"(?<![^?&;#\s,\"'(])([^\s=&?;#,\"'(]++)=(?=[^\s&])")
_VALUE = re.compile(r"[^\s&]+")
_SECRET_NAME = re.compile(
    r"us(e)?r|login|pass|pwd|psw|^pw$|token|auth|key|secret|signature|^sig$|cred|streamid|session|jwt", re.I
)
_FOLDER_OF_KEYS = "capture.remote.keys"  # the one setting with such a name that is no secret: errors are about it
_ID_LENGTH = 32
_MAX_SHOWN = 4096


class Address(NamedTuple):
    """A source as the user named it.

    Attributes:
        kind: what opens it.
        text: path, device or URL as given, credentials included; show only ``redact(text)``.
    """

    kind: Kind
    text: str


def parse(source: str) -> Address:
    """Tell what kind of source a SOURCE argument names. Nothing is opened.

    Raises:
        SourceError: empty, an unknown scheme, a blank in a URL, or no name that a file can have.
    """
    if not source.strip():
        raise SourceError("the name of a source is empty")
    if "\0" in source:
        raise SourceError("the name of a source holds a zero byte")
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
            # Not shown: what stands around the blank may be a password.
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
    """Mask the credentials of every address in a text: user info, and query parameters with secret names.

    Works on whole words, so a password may hold any character but blanks (and mostly those). In doubt it
    masks too much: of ``rtsp://host/a@b`` only ``rtsp://***@b`` is left, and of a text of over 4096 characters
    nothing, since the search takes the square of the length.
    """
    if len(text) > _MAX_SHOWN:
        return f"{MASK} ({len(text)} characters)"
    masked = _mask(text)
    while masked != text:  # what stands beside a mask may be a part of the same address
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
        # The value of a harmless parameter is searched too: it may be a password's end and a query after that.
        secret = parameter[1] != _FOLDER_OF_KEYS and _SECRET_NAME.search(unquote(parameter[1]))
        if parameter.start() >= at and secret:
            value = _VALUE.match(text, parameter.end())
            assert value is not None
            # What looks like a parameter may be part of a password before an '@': that sign must stay in sight.
            shown += text[at : parameter.end()] + MASK + ("@" if "@" in value[0] else "")
            at = value.end()
    return shown + text[at:]


def source_ids(addresses: Sequence[str]) -> list[str]:
    """A short unique id ``[a-z0-9_-]{1,32}`` for every address, from its file, folder, host or scene name.

    Raises:
        SourceError: an address that ``parse`` refuses.
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
    """The host (or scene name) of a URL, brackets of IPv6 included; never any part of its user info."""
    rest = url.split("://", 1)[1].rsplit("@", 1)[-1]
    bracketed = re.match(r"\[[^\]]*\]", rest)
    return bracketed[0] if bracketed else re.split(r"[/?#:]", rest, maxsplit=1)[0]


def _slug(name: str) -> str:
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", ascii_name).strip("-")
