"""Real servers on loopback for the network tests; a test is skipped if its server is not installed."""

from __future__ import annotations

import functools
import os
import re
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from tests.capture.conftest import FFMPEG
from tests.conftest import wait_until

RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
GST_PYTHON = "/usr/bin/python3"
GST_CHECK = """
import gi
gi.require_version("GstRtspServer", "1.0")
from gi.repository import Gst, GstRtspServer
Gst.init(None)
assert all(Gst.ElementFactory.find(name) for name in ("x264enc", "rtph264pay", "videotestsrc"))
"""
SOURCE = ("-re", "-f", "lavfi", "-i", "testsrc2=s=160x128:r=25", "-pix_fmt", "yuv420p")
ENCODER = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-f", "mpegts")
# Restarts a command whenever it exits, as long as the tests run.
AGAIN = ("sh", "-c", 'while kill -0 $PPID; do "$@"; done', "again")


def free_port(kind: int = socket.SOCK_STREAM) -> int:
    """Return an unused loopback port."""
    with socket.socket(socket.AF_INET, kind) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process, including its children, that can be killed, frozen and restarted."""

    def __init__(self, *command: str, ready: bool = False) -> None:
        self._command, self._ready = command, ready
        self._process: subprocess.Popen[bytes] | None = None
        self.listens_on: int | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, process_group=0
        )
        if self._ready:
            assert self._process.stdout is not None
            assert self._process.stdout.readline() == b"ready\n"
        if self.listens_on is not None:
            # Listening or already connected: a waiting client may be faster than this test.
            entry = re.compile(f":{self.listens_on:04X} [0-9A-F]{{8}}:[0-9A-F]{{4}} (0A|01) ")
            wait_until(lambda: entry.search(Path("/proc/net/tcp").read_text()))

    def kill(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)
            self._process.communicate()
            self._process = None

    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        os.killpg(self._process.pid, number)

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Server:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def ffmpeg_server(*output: str, again: bool = False) -> Server:
    """Return an ffmpeg process that sends a test picture, 160x128 px, 25 fps, in real time.

    Args:
        output: output URL with its options.
        again: restart ffmpeg whenever it exits, because the connection was refused or lost.
    """
    if FFMPEG is None:
        pytest.skip("the ffmpeg program is not installed")
    return Server(*(AGAIN if again else ()), FFMPEG, "-v", "error", "-nostdin", *SOURCE, *ENCODER, *output)


def needs_srt() -> None:
    if FFMPEG is None or b"srt" not in subprocess.run([FFMPEG, "-protocols"], check=False, capture_output=True).stdout:
        pytest.skip("the ffmpeg program is not installed, or knows no SRT")


@functools.cache
def _has_gstreamer() -> bool:
    command = [GST_PYTHON, "-c", GST_CHECK]
    return Path(GST_PYTHON).exists() and subprocess.run(command, check=False, capture_output=True).returncode == 0


def rtsp_server(port: int, *login: str) -> Server:
    """Return GStreamer's RTSP server at rtsp://127.0.0.1:PORT/ir, 160x128 px, 25 fps."""
    if not _has_gstreamer():
        pytest.skip("GStreamer's RTSP server is not installed for the system's Python")
    return Server(GST_PYTHON, str(RTSP_SERVER), str(port), *login, ready=True)
