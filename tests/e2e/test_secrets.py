"""Passwords in addresses appear neither on the terminal nor in files, whatever the environment says."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.e2e.harness import FAST

SECRET = "p@ss:w/rd"
PIECES = ("p@ss", "ss:w", "w/rd", "p%40ss", "w%2Frd", "abc123", base64.b64encode(b"user:" + SECRET.encode()).decode())
ENCODED = "user:p%40ss%3Aw%2Frd"
LOUD = {"OPENCV_FFMPEG_LOGLEVEL": "56", "OPENCV_FFMPEG_DEBUG": "1", "OPENCV_LOG_LEVEL": "VERBOSE"}


class _NotFound(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web_port() -> Iterator[int]:
    """Port of a web server that answers every request with 404."""
    server = HTTPServer(("127.0.0.1", 0), _NotFound)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_port
    server.shutdown()
    server.server_close()


def test_run_with_bad_cameras_shows_no_password(tmp_path: Path, runtime: Path, web_port: int) -> None:
    sources = [
        f"rtsp://user:{SECRET}@127.0.0.1:1/x?token=abc123",
        f"rtsp://{ENCODED}@127.0.0.1:1/x?token=abc123",
        f"http://{ENCODED}@127.0.0.1:{web_port}/x.m3u8?token=abc123",
    ]
    command = [sys.executable, str(ROOT / "run_stream.py"), *sources, *FAST, "--verbose", "--out", str(tmp_path)]
    environment = {**os.environ, "TMPDIR": str(runtime), **LOUD}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)
    assert done.returncode == 3
    assert len(done.stderr.splitlines()) == 6, "every error and, with --verbose, the stage that it comes from"
    assert done.stderr.count("***@") == 6
    shown = {str(path): path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*") if path.is_file()}
    assert str(tmp_path / "run.json") in shown
    for place, text in {"stdout": done.stdout, "stderr": done.stderr, **shown}.items():
        assert not [piece for piece in PIECES if piece in text], place


@pytest.mark.parametrize(
    "words",
    [
        [f"gopher://user:{SECRET}@h/x?token=abc123"],
        [f"zmq+tcp://user:{SECRET}@127.0.0.1:5?token=abc123"],
        ["--set", f"detect.weights=rtsp://user:{SECRET}@h/x?token=abc123", "--set", "nothing.like=this"],
        ["--set", f"rtsp://user:{SECRET}@h/x?token=abc123"],
    ],
    ids=["scheme", "remote", "value", "setting"],
)
def test_wrong_usage_shows_no_password(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    from run_stream import main

    assert main([*words, "--verbose"]) in (2, 3)
    shown = "".join(capsys.readouterr())
    assert not [piece for piece in PIECES if piece in shown], shown
    assert "Traceback" in shown


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["zmq+tcp://192.0.2.7:5577"], "then --set capture.remote.keys=keys (or capture.remote.insecure=true"),
        (["--set", "capture.remote.keys=[my/keys]"], "capture.remote.keys=[my/keys]: "),
    ],
    ids=["hint", "setting"],
)
def test_the_folder_of_keys_is_no_secret(capsys: pytest.CaptureFixture[str], words: list[str], said: str) -> None:
    from run_stream import main

    assert main(words) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("program", ["run_stream", "serve"])
def test_invalid_arguments_show_no_password(capsys: pytest.CaptureFixture[str], program: str) -> None:
    from pipeline import serve
    from run_stream import parse

    with pytest.raises(SystemExit) as left:
        (serve.main if program == "serve" else parse)(["--policy", f"rtsp://user:{SECRET}@h/x?token=abc123"])
    shown = "".join(capsys.readouterr())
    assert left.value.code == 2
    assert "invalid choice" in shown
    assert not [piece for piece in PIECES if piece in shown], shown
