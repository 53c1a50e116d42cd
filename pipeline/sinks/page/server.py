"""HTTP server of the live page."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from importlib.resources import files
from urllib.parse import parse_qs, quote, unquote

import msgspec
import numpy as np
from numpy.typing import NDArray

from pipeline.http_server import Handler, TcpServer
from pipeline.messages import EndOfSource
from pipeline.sinks.config import PageConfig
from pipeline.sinks.page.access import Access
from pipeline.sinks.page.pictures import Pictures, Shot

LONGEST_WAIT_S = 1.0
_BOUNDARY = "picture"
_HTML = files(__package__).joinpath("index.html").read_bytes()
_TEXT = "text/plain; charset=utf-8"
_NONE = ""
_PICTURES = ("picture", "stream")


class LivePage:
    """Serves the overlays of a run to browsers, and to programs that read MJPEG.

    ``/`` is the page. ``/sources`` lists the sources as JSON (``pictures.Seen``). ``/picture/SOURCE?have=NUMBER``
    answers with the newest picture of a source as JPEG as soon as there is one with another number; after a second
    without one, with 204. Its number is in the header ``Picture``, its age in ms in ``Picture-Age``.
    ``/stream/SOURCE`` is MJPEG (multipart/x-mixed-replace), which ends when the run does.

    Viewers never hold up the pipeline: each has a thread of its own, and gets the newest picture whenever it is ready
    for one.

    Args:
        config: settings of the page; its port must be set.
        sources: ids of all sources.

    Attributes:
        url: address of the page.

    Raises:
        ConfigError: it is not possible to listen on the address, or the page would be open to other machines.
    """

    def __init__(self, config: PageConfig, sources: Iterable[str]) -> None:
        access = Access(config)
        self._pictures = Pictures(sources, config.max_fps)
        assert config.port is not None
        self._server = _PageServer("sinks.page", config.host, config.port, _handler(self._pictures, access))
        shown = f"[{config.host}]" if ":" in config.host else config.host
        self.url = f"http://{shown}:{self._server.port}/"
        self._server.start("live page")

    def wants(self, source: str) -> bool:
        """Whether the next frame of a source is to be drawn and passed to ``show``; also notes that there is one."""
        self._pictures.begin(source)
        return self._pictures.wanted(source)

    def show(self, source: str, canvas: NDArray[np.uint8]) -> None:
        """Show an overlay, an (H, W, 3) BGR image that must not be changed afterwards."""
        self._pictures.show(source, canvas)

    def end(self, message: EndOfSource) -> None:
        """Show how a source has ended."""
        self._pictures.end(message.source, message.reason, message.error)

    def close(self) -> None:
        """Stop the server."""
        self._pictures.close()
        self._server.stop()


class _PageServer(TcpServer):
    client_timeout_s = 10.0


def _handler(pictures: Pictures, access: Access) -> type[Handler]:
    class PageHandler(Handler):
        server: _PageServer
        protocol_version = "HTTP/1.1"  # keeps connections open: a browser opens at most six

        def do_GET(self) -> None:
            refusal = access.refusal(self.headers.get("Host", ""), self.headers.get("Authorization", ""))
            if refusal is not None:
                ask = {"WWW_Authenticate": 'Basic realm="live page"'} if refusal is HTTPStatus.UNAUTHORIZED else {}
                self.answer(refusal, _TEXT, f"{refusal.phrase}\n".encode(), **ask)
                return
            path, _, query = self.path.partition("?")
            kind, _, source = unquote(path).removeprefix("/").partition("/")
            try:
                if kind == "picture":
                    self._send_picture(source, parse_qs(query).get("have", [""])[0])
                elif kind == "stream":
                    self._send_stream(source)
                elif (kind, source) == ("", ""):
                    self._send("text/html; charset=utf-8", _HTML)
                elif (kind, source) == ("sources", ""):
                    self._send("application/json", msgspec.json.encode(pictures.seen()))
                else:
                    raise KeyError(kind)
            except KeyError:
                known = [
                    "/",
                    "/sources",
                    *(f"/{what}/{quote(one.source)}" for one in pictures.seen() for what in _PICTURES),
                ]
                self.answer(HTTPStatus.NOT_FOUND, _TEXT, f"known: {' '.join(known)}\n".encode())
            self.server.renew(self.request)

        def _send(self, kind: str, body: bytes, **headers: str) -> None:
            private = {"Cache_Control": "no-store", "Cross_Origin_Resource_Policy": "same-origin"}
            self.answer(HTTPStatus.OK, kind, body, **private, **headers)

        def _send_picture(self, source: str, have: str) -> None:
            shot = pictures.wait(source, have, LONGEST_WAIT_S)
            if shot is None:
                self.send_response(HTTPStatus.NO_CONTENT)
                self.end_headers()
            else:
                body = shot.jpeg()
                self._send("image/jpeg", body, Picture=shot.number, Picture_Age=str(pictures.age_ms(shot)))

        def _send_stream(self, source: str) -> None:
            shot = pictures.wait(source, _NONE, 0)
            self.close_connection = True
            self.send_response(HTTPStatus.OK)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.send_header("Connection", "close")
            self.end_headers()
            while not pictures.closed:
                if shot is not None:
                    self.wfile.write(_part(shot))
                self.server.renew(self.request)
                shot = pictures.wait(source, shot.number if shot is not None else _NONE, LONGEST_WAIT_S)

    return PageHandler


def _part(shot: Shot) -> bytes:
    body = shot.jpeg()
    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body + b"\r\n"
