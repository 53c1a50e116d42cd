"""Streams from real servers on loopback, that answer, refuse, die, freeze and come back."""

from __future__ import annotations

import http.server
import socket
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from pipeline.capture.config import CaptureConfig, ReconnectConfig
from pipeline.capture.factory import open_source
from pipeline.errors import SourceError
from tests.capture.conftest import film, read_all
from tests.capture.servers import ffmpeg_server, free_port, needs_srt, rtsp_server, wait_until

QUICK = CaptureConfig(
    open_timeout_s=5, read_timeout_s=0.7, reconnect=ReconnectConfig(initial_s=0.05, max_s=0.2, give_up_s=30)
)


class Reading:
    """A source read in a thread of its own."""

    def __init__(self, source):
        self.source, self.grabs, self.error = source, [], None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        try:
            self.source.open()
            while (grab := self.source.grab()) is not None:
                self.grabs.append(grab)
        except SourceError as error:
            self.error = error

    def wait_for(self, count):
        wait_until(lambda: len(self.grabs) >= count or not self.thread.is_alive())
        assert self.error is None

    def close(self):
        self.source.close()
        self.thread.join(10)
        assert not self.thread.is_alive()
        wait_until(lambda: self.source.state == "closed")


@contextmanager
def reading(url, config=QUICK):
    it = Reading(open_source(url, config))
    try:
        yield it
    finally:
        it.close()


def error_of(url, config=QUICK):
    source = open_source(url, config)
    with pytest.raises(SourceError) as caught:
        source.open()
    source.close()
    return str(caught.value)


def check_grabs(it, shape=(128, 160)):
    assert [grab.frame for grab in it.grabs] == list(range(len(it.grabs)))
    times = [grab.pts for grab in it.grabs]
    assert times[0] == 0
    assert (np.diff(times) > 0).all()
    assert all(grab.picture.shape == shape and grab.picture.dtype == np.uint8 for grab in it.grabs)


def dies_and_returns(server, url):
    with server, reading(url) as it:
        it.wait_for(10)
        server.kill()
        wait_until(lambda: it.source.state == "reconnecting")
        seen = len(it.grabs)
        server.start()
        it.wait_for(seen + 10)
        assert it.source.state == "open"
        assert it.source.reconnects >= 1
        check_grabs(it)


def freezes_and_returns(server, url):
    with server, reading(url) as it:
        it.wait_for(10)
        server.freeze()
        wait_until(lambda: it.source.state == "reconnecting")
        seen = len(it.grabs)
        server.thaw()
        it.wait_for(seen + 10)
        check_grabs(it)


def freezes_and_is_restarted(server, url):
    with server, reading(url) as it:
        it.wait_for(10)
        server.freeze()
        wait_until(lambda: it.source.state == "reconnecting")
        seen = len(it.grabs)
        server.kill()
        server.start()
        it.wait_for(seen + 10)
        check_grabs(it)


@pytest.mark.parametrize("play", [dies_and_returns, freezes_and_returns])
def test_rtsp(play):
    port = free_port()
    play(rtsp_server(port), f"rtsp://127.0.0.1:{port}/ir")


def test_rtsp_over_udp():
    port = free_port()
    config = CaptureConfig(open_timeout_s=5, read_timeout_s=2, rtsp_transport="udp")
    with rtsp_server(port), reading(f"rtsp://127.0.0.1:{port}/ir", config) as it:
        it.wait_for(5)
        check_grabs(it)


def test_rtsp_login():
    port = free_port()
    host = f"127.0.0.1:{port}/ir"
    with rtsp_server(port, "ir", "p@ss/w:rd"):
        assert error_of(f"rtsp://{host}") == f"rtsp://{host}: the server asks for a user and password"
        message = error_of(f"rtsp://ir:wrong@{host}")
        assert message == f"rtsp://***@{host}: the server refuses this user and password"
        with reading(f"rtsp://ir:p%40ss%2Fw%3Ard@{host}") as it:
            it.wait_for(3)
        assert it.source.name == f"rtsp://***@{host}"


def test_rtsp_wrong_path():
    port = free_port()
    with rtsp_server(port):
        assert error_of(f"rtsp://127.0.0.1:{port}/no").endswith("/no: the server answers 404 Not Found")


@pytest.mark.parametrize("play", [dies_and_returns, freezes_and_returns])
def test_udp(play):
    port = free_port(socket.SOCK_DGRAM)
    play(ffmpeg_server(f"udp://127.0.0.1:{port}?pkt_size=1316"), f"udp://127.0.0.1:{port}")


def test_udp_without_sender():
    config = CaptureConfig(open_timeout_s=0.5)
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert error_of(url, config) == f"{url}: no video arrived within 0.5 s"


@pytest.mark.parametrize("play", [dies_and_returns, freezes_and_is_restarted])
def test_srt(play):
    needs_srt()
    port = free_port(socket.SOCK_DGRAM)
    server = ffmpeg_server(f"srt://127.0.0.1:{port}?mode=caller&passphrase=long-secret&pbkeylen=16")
    play(server, f"srt://127.0.0.1:{port}?mode=listener&passphrase=long-secret")
    assert relays() == []


def test_srt_passphrase_is_not_shown_and_the_relay_leaves_nothing(tmp_path, monkeypatch):
    needs_srt()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    port = free_port(socket.SOCK_DGRAM)
    # The listener starts late: the relay calls until it answers.
    server = ffmpeg_server(f"srt://127.0.0.1:{port}?mode=listener&passphrase=long-secret")
    with server, reading(f"srt://127.0.0.1:{port}?passphrase=long-secret") as it:
        it.wait_for(3)
        (relay,) = relays()
        assert "secret" not in relay
        assert it.source.name == f"srt://127.0.0.1:{port}?passphrase=***"
    assert relays() == []
    assert list(tmp_path.iterdir()) == []


def test_srt_without_server():
    needs_srt()
    url = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert error_of(url, CaptureConfig(open_timeout_s=0.5)) == f"{url}: no video arrived within 0.5 s"
    assert relays() == []


def test_srt_without_the_program(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert error_of("srt://127.0.0.1:9") == "srt://127.0.0.1:9: SRT needs the ffmpeg program: apt-get install ffmpeg"


def relays():
    """Command lines of our own ffmpeg children that fetch SRT."""
    import os

    found = []
    for task in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in task.read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "concat" in command:
                found.append(command)
    return found


class Quiet(http.server.SimpleHTTPRequestHandler):
    """A web server for files that does not talk."""

    def log_message(self, *_):
        pass


class BreakingOff(Quiet):
    """A web server that sends no more than the first part of a file, however often it is asked."""

    def copyfile(self, source, outputfile):
        outputfile.write(source.read(os_size(source) * 6 // 10))
        self.close_connection = True


def os_size(file):
    import os

    return os.fstat(file.fileno()).st_size


@contextmanager
def web_server(folder, handler=Quiet):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(handler, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def faststart(path):
    return film(
        path, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-movflags", "+faststart", frames=50, size="320x256"
    )


def test_file_on_a_web_server_is_read_once_to_its_end(tmp_path):
    faststart(tmp_path / "a.mp4")
    with web_server(tmp_path) as url:
        source = open_source(f"{url}/a.mp4", QUICK)
        grabs = read_all(source)
        assert [grab.frame for grab in grabs] == list(range(50))
        assert (source.live, source.length, source.reconnects) == (False, 50, 0)


def test_file_on_a_web_server_that_breaks_off(tmp_path):
    faststart(tmp_path / "a.mp4")
    with web_server(tmp_path, BreakingOff) as url, reading(f"{url}/a.mp4") as it:
        it.thread.join(20)
        assert 0 < len(it.grabs) < 45
        assert str(it.error) == f"{url}/a.mp4: broke off after {len(it.grabs)} of 50 frames"


def test_wrong_path_and_wrong_content_on_a_web_server(tmp_path):
    (tmp_path / "page.html").write_text("<html>no video</html>")
    with web_server(tmp_path) as url:
        assert error_of(f"{url}/none.mp4") == f"{url}/none.mp4: the server answers 404 File not found"
        message = error_of(f"{url}/page.html")
        assert message == f"{url}/page.html: answers, but gives no video that can be read"


@pytest.mark.parametrize("play", [dies_and_returns, freezes_and_is_restarted])
def test_http_stream(play):
    port = free_port()
    url = f"http://127.0.0.1:{port}/live.ts"
    # This server takes one connection in its life: nothing may be wasted on trying out whether it is there.
    server = ffmpeg_server("-listen", "1", url)
    server.listens_on = port
    play(server, url)


def test_refused_port_is_named():
    port = free_port()
    url = f"http://user:geheim@127.0.0.1:{port}/x"
    message = error_of(url)
    assert message == f"http://***@127.0.0.1:{port}/x: connection refused by port {port} of 127.0.0.1"


def test_unknown_host_is_named():
    assert error_of("rtsp://no-such-host.invalid/x") == (
        "rtsp://no-such-host.invalid/x: cannot resolve host no-such-host.invalid"
    )


def test_password_that_looks_like_a_host_is_not_shown():
    for secret in ("12/geheim", "x@geheim/y", "geheim#1", "geheim:1/"):
        assert "heim" not in error_of(f"rtsp://user:{secret}@127.0.0.1/x")


@contextmanager
def silent_listener():
    """A port that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def full_listener():
    """A port that lets connections hang: its queue is full and nobody accepts."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        callers = []
        for _ in range(3):
            caller = socket.socket()
            caller.setblocking(False)
            caller.connect_ex(listener.getsockname())
            callers.append(caller)
        yield listener.getsockname()[1]
        for caller in callers:
            caller.close()


@pytest.mark.parametrize("scheme", ["rtsp", "http"])
def test_server_that_says_nothing_is_given_up(scheme):
    with silent_listener() as port:
        url = f"{scheme}://127.0.0.1:{port}/x"
        assert error_of(url, CaptureConfig(open_timeout_s=0.6)) == f"{url}: no video arrived within 0.6 s"


def test_host_that_does_not_answer_is_given_up():
    with full_listener() as port:
        url = f"rtsp://127.0.0.1:{port}/x"
        message = f"{url}: no answer from port {port} of 127.0.0.1 within 0.5 s"
        assert error_of(url, CaptureConfig(open_timeout_s=0.5)) == message


def test_close_ends_a_connection_being_made():
    with silent_listener() as port:
        source = open_source(f"rtsp://127.0.0.1:{port}/x", CaptureConfig(open_timeout_s=1))
        it = Reading(source)
        wait_until(lambda: source.state == "connecting")
        it.close()
        assert it.grabs == []


def test_close_ends_the_wait_between_attempts():
    port = free_port()
    patient = CaptureConfig(open_timeout_s=5, read_timeout_s=0.5, reconnect=ReconnectConfig(initial_s=3600, max_s=3600))
    server = rtsp_server(port)
    with server, reading(f"rtsp://127.0.0.1:{port}/ir", patient) as it:
        it.wait_for(3)
        server.kill()
        wait_until(lambda: it.source.state == "reconnecting")
    assert it.error is None
    assert it.source.grab() is None


def test_source_that_stays_away_is_given_up():
    port = free_port()
    config = CaptureConfig(
        open_timeout_s=5, read_timeout_s=0.5, reconnect=ReconnectConfig(initial_s=0.05, max_s=0.1, give_up_s=0.3)
    )
    server = rtsp_server(port)
    url = f"rtsp://127.0.0.1:{port}/ir"
    with server, reading(url, config) as it:
        it.wait_for(3)
        server.kill()
        it.thread.join(20)
        text = str(it.error)
    assert text.startswith(f"{url}: connection refused by port {port} of 127.0.0.1 (lost ")
    assert text.endswith(" s ago, gave up)")
