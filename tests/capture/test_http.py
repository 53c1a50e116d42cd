"""HTTP: files on a web server and a live stream."""

from __future__ import annotations

import http.server
import os
import threading
from contextlib import contextmanager
from functools import partial

import pytest

from pipeline.capture.factory import open_source
from tests.capture.conftest import film, read_all
from tests.capture.servers import ffmpeg_server, free_port
from tests.capture.streams import DIES, FREEZES_AND_IS_RESTARTED, QUICK, error_of, reading, survives
from tests.conftest import wait_until


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """A web server for files that does not log."""

    def log_message(self, *_):
        pass


class TruncatingHandler(QuietHandler):
    """A web server that sends only the first part of a file, however often it is requested."""

    def copyfile(self, source, outputfile):
        outputfile.write(source.read(os.fstat(source.fileno()).st_size * 6 // 10))
        self.close_connection = True


class HangingHandler(TruncatingHandler):
    """A web server that then keeps the connection open until the client hangs up."""

    def copyfile(self, source, outputfile):
        super().copyfile(source, outputfile)
        self.connection.recv(1)


@contextmanager
def web_server(folder, handler=QuietHandler):
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


@pytest.mark.parametrize("name", ["a.mp4", "a.avi"])
def test_file_on_a_web_server_has_the_media_time_of_the_file(name, tmp_path):
    # The timestamps of this AVI jump to zero at its end, see test_video_file.
    path = film(tmp_path / name, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-movflags", "+faststart", frames=50)
    times = [grab.pts for grab in read_all(open_source(str(path), QUICK))]
    with web_server(tmp_path) as url:
        assert [grab.pts for grab in read_all(open_source(f"{url}/{name}", QUICK))] == times
    assert times[-1] == pytest.approx(49 / 25, abs=1e-3)


def test_file_on_a_web_server_that_closes_the_connection(tmp_path):
    faststart(tmp_path / "a.mp4")
    with web_server(tmp_path, TruncatingHandler) as url, reading(f"{url}/a.mp4") as it:
        it.thread.join(20)
        assert 0 < len(it.grabs) < 45
        assert str(it.error) == f"{url}/a.mp4: broke off after {len(it.grabs)} of 50 frames"


def without_length(path):
    """Create a video as written to a pipe, without any declared length."""
    return film(path, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", "10", "-live", "1", frames=50, size="320x256")


def test_file_without_a_length_on_a_web_server_is_read_once_to_its_end(tmp_path):
    without_length(tmp_path / "a.mkv")
    with web_server(tmp_path) as url, reading(f"{url}/a.mkv") as it:
        wait_until(lambda: not it.thread.is_alive() or len(it.grabs) > 50)
        assert [grab.frame for grab in it.grabs] == list(range(50))
        assert (it.error, it.source.length, it.source.reconnects) == (None, None, 0)


def test_file_without_a_length_on_a_web_server_that_hangs(tmp_path):
    without_length(tmp_path / "a.mkv")
    with web_server(tmp_path, HangingHandler) as url, reading(f"{url}/a.mkv") as it:
        wait_until(lambda: not it.thread.is_alive() or len(it.grabs) > 50)
        assert 0 < len(it.grabs) < 45
        assert str(it.error) == f"{url}/a.mkv: broke off after {len(it.grabs)} frames, silent for 0.7 s"


def test_wrong_path_and_wrong_content_on_a_web_server(tmp_path):
    (tmp_path / "page.html").write_text("<html>no video</html>")
    with web_server(tmp_path) as url:
        assert error_of(f"{url}/none.mp4") == f"{url}/none.mp4: the server answers 404 File not found"
        message = error_of(f"{url}/page.html")
        assert message == f"{url}/page.html: answers, but delivers no readable video"


@pytest.mark.parametrize("fate", [DIES, FREEZES_AND_IS_RESTARTED], ids=" ".join)
def test_http_stream(fate):
    port = free_port()
    url = f"http://127.0.0.1:{port}/live.ts"
    # This server accepts a single connection, which must not be used up by a probe.
    server = ffmpeg_server("-listen", "1", url)
    server.listens_on = port
    survives(server, url, *fate)
