"""The live page over real connections."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from base64 import b64encode
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.messages import EndOfSource
from pipeline.sinks.config import PageConfig
from pipeline.sinks.page.server import LivePage, _PageServer
from tests.conftest import wait_until

NAMES = ["a", "mast camera/é"]


@pytest.fixture
def page() -> Iterator[LivePage]:
    page = LivePage(PageConfig(port=0), NAMES)
    yield page
    page.close()


def port_of(page: LivePage) -> int:
    return int(page.url.rstrip("/").rpartition(":")[2])


@contextlib.contextmanager
def asked(page: LivePage, path: str, **headers: str) -> Iterator[HTTPResponse]:
    connection = HTTPConnection("127.0.0.1", port_of(page), timeout=30)
    with contextlib.closing(connection):
        connection.request("GET", path, headers=headers)
        yield connection.getresponse()


def answer(page: LivePage, path: str, **headers: str) -> tuple[int, bytes]:
    with asked(page, path, **headers) as response:
        return response.status, response.read()


def canvas(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


def level(jpeg: bytes) -> float:
    return float(cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR).mean())


def test_sources_are_listed_with_their_states(page: LivePage) -> None:
    page.wants("a")
    page.end(EndOfSource(session="0" * 32, source=NAMES[1], reason="failed", error="no such file"))
    assert json.loads(answer(page, "/sources")[1]) == [
        {"source": "a", "state": "live", "error": ""},
        {"source": "mast camera/é", "state": "failed", "error": "no such file"},
    ]


def test_page_asks_for_what_the_server_knows(page: LivePage) -> None:
    code, html = answer(page, "/?any=thing")
    assert code == 200
    assert set(re.findall(r'ask\(["`]([a-z]+)', html.decode())) == {"sources", "picture"}
    assert b"http://" not in html and b"https://" not in html  # works without the internet


def test_picture_of_every_source(page: LivePage) -> None:
    for value, name, path in ((50, "a", "a"), (150, NAMES[1], "mast%20camera%2F%C3%A9")):
        assert page.wants(name)
        assert answer(page, f"/picture/{path}") == (204, b"")
        page.show(name, canvas(value))
        with asked(page, f"/picture/{path}?have=") as response:
            number = response.headers["Picture"]
            assert 0 <= int(response.headers["Picture-Age"]) < 30_000
            assert level(response.read()) == pytest.approx(value, abs=2)
        assert answer(page, f"/picture/{path}?have={number}") == (204, b"")


def test_many_requests_on_one_connection(page: LivePage) -> None:
    connection = HTTPConnection("127.0.0.1", port_of(page), timeout=30)
    page.show("a", canvas(9))
    with contextlib.closing(connection):
        for path, code in (("/", 200), ("/picture/a", 200), ("/nothing", 404), ("/picture/b", 404), ("/sources", 200)):
            connection.request("GET", path)
            response = connection.getresponse()
            response.read()
            assert response.status == code
        assert connection.sock is not None


def test_unknown_paths_name_the_known_ones(page: LivePage) -> None:
    code, text = answer(page, "/streams/a")
    assert code == 404
    for path in text.decode().removeprefix("known: ").split():
        if not path.startswith("/stream/"):
            assert answer(page, path)[0] in (200, 204)


@pytest.mark.parametrize(
    "request_line",
    [b"GET //[x HTTP/1.1", b"GET http://[ HTTP/1.1", b"GET /picture/%ff%00?have=%ff&have HTTP/1.1", b"GET / HTTP/9.9",
     b"GET /picture/a?have=" + b"9" * 9000 + b" HTTP/1.0", b"POST /picture/a HTTP/1.1", b"\xff\0\xff", b"GET /"],
)  # fmt: skip
def test_malformed_requests_cause_no_errors(
    page: LivePage, request_line: bytes, capfd: pytest.CaptureFixture[str]
) -> None:
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port_of(page))) as caller:
        caller.sendall(request_line + b"\r\nHost: localhost\r\nAuthorization: Basic \xff\r\nConnection: close\r\n\r\n")
        caller.settimeout(30)
        while caller.recv(1 << 16):
            pass
    wait_until(lambda: threading.active_count() <= before)
    assert capfd.readouterr().err == ""
    assert answer(page, "/sources")[0] == 200


def test_stream_is_mjpeg_that_opencv_can_read_and_ends_with_the_page(page: LivePage) -> None:
    done = threading.Event()

    def play() -> None:
        value = 0
        while not done.wait(0.02):
            page.show("a", canvas(value := (value + 10) % 250))

    player = threading.Thread(target=play)
    player.start()
    try:
        video = cv2.VideoCapture(f"{page.url}stream/a", cv2.CAP_FFMPEG)
        shapes = {video.read()[1].shape for _ in range(5)}
        video.release()
        assert shapes == {(48, 64, 3)}
        with asked(page, "/stream/a") as response:
            assert response.headers["Content-Type"].startswith("multipart/x-mixed-replace")
            assert response.readline() == b"--picture\r\n"
            page.close()
            response.read()
    finally:
        done.set()
        player.join()


def test_viewer_that_reads_nothing_holds_up_nobody(page: LivePage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_PageServer, "client_timeout_s", 1.0)
    noise = np.random.default_rng(0).integers(0, 256, (600, 800, 3), np.uint8)
    before = threading.active_count()
    with socket.create_connection(("127.0.0.1", port_of(page))) as lazy:
        lazy.sendall(b"GET /stream/a HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for _ in range(40):
            page.show("a", noise.copy())
            assert answer(page, "/picture/a")[0] == 200
        wait_until(lambda: threading.active_count() <= before)


def test_password_and_host_are_required(tmp_path: Path, page: LivePage) -> None:
    assert answer(page, "/picture/a", Host="attacker.example")[0] == 421
    word = tmp_path / "word"
    word.write_text("correct horse\n")
    word.chmod(0o600)
    guarded = LivePage(PageConfig(port=0, password_file=str(word)), ["a"])
    try:
        for path in ("/", "/sources", "/picture/a", "/stream/a"):
            with asked(guarded, path) as response:
                assert (response.status, response.read()) == (401, b"Unauthorized\n")
                assert response.headers["WWW-Authenticate"].startswith("Basic")
        key = b64encode(b"me:correct horse").decode()
        assert answer(guarded, "/sources", Host="camera.lan", Authorization=f"Basic {key}")[0] == 200
    finally:
        guarded.close()


def test_port_in_use_is_named(page: LivePage) -> None:
    port = port_of(page)
    with pytest.raises(ConfigError, match=rf"^sinks\.page: 127\.0\.0\.1:{port}: Address already in use"):
        LivePage(PageConfig(port=port), ["a"])
