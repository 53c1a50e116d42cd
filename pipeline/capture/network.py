"""Streams from the network: RTSP, UDP, SRT and HTTP, through FFmpeg."""

from __future__ import annotations

import os
import re
import socket
import time
from contextlib import suppress
from typing import NamedTuple

import cv2

from pipeline.capture.address import redact
from pipeline.capture.config import CaptureConfig
from pipeline.capture.ffmpeg import Decoder
from pipeline.capture.source import Picture
from pipeline.capture.srt import SrtRelay
from pipeline.errors import SourceError

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_STATUS = re.compile(rb"(?:HTTP|RTSP)/\S+ (\d{3}) ?([^\r\n]*)")


class NetworkFeed:
    """One connection to a network stream.

    Args:
        url: with credentials.
        config: time-outs and transport.

    Raises:
        SourceError: one line with the masked address and the reason.
    """

    def __init__(self, url: str, config: CaptureConfig) -> None:
        name = redact(url)
        start = time.monotonic()
        scheme = url.partition("://")[0]
        target = _target(url, name)
        if scheme in _PORTS:
            _probe(target, name, config.open_timeout_s)
        self._relay = SrtRelay(url, name, config) if scheme == "srt" else None
        address = self._relay.address if self._relay else url
        # One process-wide string, read by OpenCV at every open: good for all schemes, never changed in between.
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{config.rtsp_transport}|fflags;nobuffer"
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(config.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(config.read_timeout_s * 1000),
            # Decoding on several threads holds back one picture per thread.
            cv2.CAP_PROP_N_THREADS,
            1,
        ]
        self._decoder = Decoder(address, name, parameters)
        self.frames = self._decoder.frames
        if self._decoder.opened:
            return
        reason = self._relay.reason() if self._relay else ""
        self.close()
        if not reason and time.monotonic() - start >= 0.9 * config.open_timeout_s:
            reason = f"no video arrived within {config.open_timeout_s:g} s"
        if not reason and scheme in ("rtsp", "http"):
            reason = _refusal(url, target, config.open_timeout_s)
        raise SourceError(f"{name}: {reason or 'answers, but gives no video that can be read'}")

    def read(self) -> Picture | None:
        """Wait for the next picture, at most the read time-out; None when the stream is lost or at its end."""
        shot = self._decoder.read()
        return None if shot is None else shot[0]

    def close(self) -> None:
        """Disconnect."""
        self._decoder.close()
        if self._relay:
            self._relay.close()


class _Target(NamedTuple):
    host: str
    port: int
    path: str


def _target(url: str, name: str) -> _Target:
    """Host, port and path of a URL, as FFmpeg splits it.

    Raises:
        SourceError: no host, or a port that is none; then a raw character in a password is the likely cause.
    """
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :] or "/"
    parts = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]*)(?::(\d{1,5}))?", authority.rpartition("@")[2])
    if parts is None or (parts[2] and not 0 < int(parts[2]) < 65536):
        hint = "; in a password write / ? # : @ as %2F %3F %23 %3A %40" if "@" in rest else ""
        raise SourceError(f"{name}: not a valid host and port{hint}")
    if not parts[1] and scheme not in ("udp", "srt"):
        raise SourceError(f"{name}: the address names no host")
    return _Target(parts[1].strip("[]"), int(parts[2] or _PORTS.get(scheme, 0)), path)


def _probe(target: _Target, name: str, timeout_s: float) -> None:
    """Connect and hang up, because FFmpeg does not say why it cannot.

    Raises:
        SourceError: the host cannot be resolved or reached.
    """
    where = f"port {target.port} of {target.host}"
    try:
        socket.create_connection((target.host, target.port), timeout_s).close()
    except socket.gaierror:
        reason = f"cannot resolve host {target.host}"
    except ConnectionRefusedError:
        reason = f"connection refused by {where}"
    except TimeoutError:
        reason = f"no answer from {where} within {timeout_s:g} s"
    except (OSError, UnicodeError) as error:
        reason = f"cannot reach {where}: {getattr(error, 'strerror', None) or error}"
    else:
        return
    raise SourceError(f"{name}: {reason}")


def _refusal(url: str, target: _Target, timeout_s: float) -> str:
    """Why a server that can be reached gives no video, in its own words; empty if it gives none."""
    login = "@" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    host = f"[{target.host}]" if ":" in target.host else target.host
    if url.startswith("rtsp"):
        request = (
            f"DESCRIBE rtsp://{host}:{target.port}{target.path} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
        )
    else:
        request = f"GET {target.path} HTTP/1.0\r\nHost: {host}:{target.port}\r\n\r\n"
    answer = b""
    with suppress(OSError), socket.create_connection((target.host, target.port), timeout_s) as connection:
        connection.sendall(request.encode())
        answer = connection.recv(512)
    status = _STATUS.match(answer)
    if status is None or int(status[1]) < 400:
        return ""
    if status[1] == b"401":
        return "the server refuses this user and password" if login else "the server asks for a user and password"
    return f"the server answers {status[1].decode()} {status[2].decode('latin-1')}".rstrip()
