"""Network streams (RTSP, UDP, SRT and HTTP), decoded by FFmpeg."""

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
from pipeline.capture.source import Grab, Picture
from pipeline.capture.srt import SrtRelay
from pipeline.errors import SourceError

_PORTS = {"rtsp": 554, "rtsps": 322, "http": 80, "https": 443}
_DIAGNOSIS_S = 2.0
_STATUS = re.compile(rb"(?:HTTP|RTSP)/\S+ (\d{3}) ?([^\r\n]*)")


class NetworkFeed:
    """One connection to a network stream.

    Args:
        url: URL including credentials.
        config: timeouts, transport and bit depth.
        live: frames arrive at their own pace. If False (a video file on a web server), they carry their media time.

    Raises:
        SourceError: one line with the masked address and the reason.
    """

    def __init__(self, url: str, config: CaptureConfig, live: bool) -> None:
        name = redact(url)
        self._live = live
        start = time.monotonic()
        parts = split_url(url, name)
        self._relay = SrtRelay(url, name, config) if url.startswith("srt:") else None
        address = self._relay.address if self._relay else url
        # OpenCV reads this variable at every open. FFmpeg's "nobuffer" is not used, because it discards the packets
        # read during stream analysis, including the first key frame; streams with rare key frames then never start.
        os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = f"rtsp_transport;{config.rtsp_transport}"
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            round(config.open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            round(config.read_timeout_s * 1000),
            # Each additional decoder thread delays the output by one frame.
            cv2.CAP_PROP_N_THREADS,
            1,
        ]
        self._decoder = Decoder(address, name, config.bit_depth, parameters)
        self.frames, self.notice = self._decoder.frames, self._decoder.notice
        if self._decoder.opened:
            return
        reason = self._relay.reason() if self._relay else ""
        self.close()
        timed_out = time.monotonic() - start >= 0.9 * config.open_timeout_s
        raise SourceError(f"{name}: {reason or _diagnose(url, parts, timed_out, config.open_timeout_s)}")

    def read(self) -> Picture | Grab | None:
        """Wait for the next frame, at most the read timeout; None if the stream is lost or has ended."""
        grab = self._decoder.read()
        return grab.picture if grab is not None and self._live else grab

    def close(self) -> None:
        """Disconnect."""
        self._decoder.close()
        if self._relay:
            self._relay.close()


class UrlParts(NamedTuple):
    """Host, port and path of a URL."""

    host: str
    port: int
    path: str


def split_url(url: str, name: str) -> UrlParts:
    """Split a URL into host, port and path in the same way as FFmpeg.

    Raises:
        SourceError: no host, or an invalid port, most likely caused by an unescaped character in a password.
    """
    scheme, _, rest = url.partition("://")
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0]
    path = rest[len(authority) :] or "/"
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]*)(?::(\d{1,5}))?", authority.rpartition("@")[2])
    # With an '@' later in the URL, all of this may be part of a password, which must not be shown or resolved.
    if match is None or (match[2] and not 0 < int(match[2]) < 65536) or "@" in path:
        hint = "; in a user name or password write / ? # : @ as %2F %3F %23 %3A %40" if "@" in rest else ""
        raise SourceError(f"{name}: not a valid host and port{hint}")
    if not match[1] and scheme not in ("udp", "srt"):
        raise SourceError(f"{name}: the address names no host")
    if not match[2] and scheme in ("udp", "srt", "zmq+tcp"):
        raise SourceError(f"{name}: the address names no port")
    return UrlParts(match[1].strip("[]"), int(match[2] or _PORTS.get(scheme, 0)), path)


def _diagnose(url: str, parts: UrlParts, timed_out: bool, timeout_s: float) -> str:
    """Return why there is no video, which FFmpeg does not report."""
    scheme = url.partition("://")[0]
    if scheme in _PORTS:
        # Only after a failure: a server may accept a single connection, which a probe beforehand would use up.
        reason = unreachable(parts, timeout_s)
        if reason:
            return reason
    if timed_out:
        return f"no video arrived within {timeout_s:g} s"
    reason = _refusal(url, parts) if scheme in ("rtsp", "http") else ""
    return reason or "answers, but delivers no readable video"


def unreachable(parts: UrlParts, timeout_s: float) -> str:
    """Return why a host cannot be reached; empty if it can."""
    where = f"port {parts.port} of {parts.host}"
    try:
        socket.create_connection((parts.host, parts.port), min(timeout_s, _DIAGNOSIS_S)).close()
    except socket.gaierror:
        return f"cannot resolve host {parts.host}"
    except ConnectionRefusedError:
        return f"connection refused by {where}"
    except TimeoutError:
        return f"no answer from {where} within {timeout_s:g} s"
    except (OSError, UnicodeError) as error:
        return f"cannot reach {where}: {getattr(error, 'strerror', None) or error}"
    return ""


def _refusal(url: str, parts: UrlParts) -> str:
    """Return the error status of a server that is reachable but delivers no video; empty if there is none."""
    login = "@" in re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    if url.startswith("rtsp"):
        request = (
            f"DESCRIBE rtsp://{host}:{parts.port}{parts.path} RTSP/1.0\r\nCSeq: 1\r\nAccept: application/sdp\r\n\r\n"
        )
    else:
        request = f"GET {parts.path} HTTP/1.0\r\nHost: {host}:{parts.port}\r\n\r\n"
    answer = b""
    with suppress(OSError), socket.create_connection((parts.host, parts.port), _DIAGNOSIS_S) as connection:
        connection.sendall(request.encode())
        answer = connection.recv(512)
    status = _STATUS.match(answer)
    if status is None or int(status[1]) < 400:
        return ""
    if status[1] == b"401":
        return "the server refuses this user and password" if login else "the server asks for a user and password"
    return f"the server answers {status[1].decode()} {status[2].decode('latin-1')}".rstrip()
