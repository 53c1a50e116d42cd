"""SRT from a real sender, received through the relay."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from contextlib import closing
from pathlib import Path

import pytest

from pipeline import run_folder
from pipeline.capture.config import CaptureConfig
from pipeline.capture.srt import SrtRelay
from tests.capture.servers import ffmpeg_server, free_port, needs_srt
from tests.capture.streams import DIES, FREEZES_AND_IS_RESTARTED, error_of, reading, survives
from tests.conftest import ROOT

# Replaces ffmpeg: waits between binding its socket and listening on it, as ffmpeg may on a busy machine.
LATE = f"""#!{sys.executable}
import socket, sys, time
with socket.socket(socket.AF_UNIX) as late:
    late.bind(sys.argv[-1].removeprefix("unix:"))
    time.sleep(0.5)
    late.listen()
    time.sleep(60)
"""

RELAY = """
from pipeline.capture.config import CaptureConfig
from pipeline.capture.srt import SrtRelay
relay = SrtRelay("srt://127.0.0.1:9", "srt", CaptureConfig())
"""


def relays():
    """Return command lines of ffmpeg child processes of this process that receive SRT."""
    found = []
    for task in Path(f"/proc/{os.getpid()}/task").glob("*/children"):
        for child in task.read_text().split():
            command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ").decode()
            if "concat" in command:
                found.append(command)
    return found


@pytest.mark.parametrize("fate", [DIES, FREEZES_AND_IS_RESTARTED], ids=" ".join)
def test_srt(fate):
    needs_srt()
    port = free_port(socket.SOCK_DGRAM)
    # The caller tries to connect for 3 s and does not reconnect, so it is restarted for a relay that listens late or
    # replaces another one.
    server = ffmpeg_server(f"srt://127.0.0.1:{port}?mode=caller&passphrase=long-secret&pbkeylen=16", again=True)
    survives(server, f"srt://127.0.0.1:{port}?mode=listener&passphrase=long-secret", *fate)
    assert relays() == []


def test_srt_passphrase_is_not_shown_and_the_relay_leaves_nothing(tmp_path, monkeypatch):
    needs_srt()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    port = free_port(socket.SOCK_DGRAM)
    # The listener starts late: the relay retries until it answers.
    server = ffmpeg_server(f"srt://127.0.0.1:{port}?mode=listener&passphrase=long-secret")
    with server, reading(f"srt://127.0.0.1:{port}?passphrase=long-secret") as it:
        it.wait_for(3)
        (relay,) = relays()
        assert "secret" not in relay
        assert it.source.name == f"srt://127.0.0.1:{port}?passphrase=***"
    assert relays() == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def late(tmp_path, monkeypatch):
    program = tmp_path / "ffmpeg"
    program.write_text(LATE)
    program.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path))


def test_leftovers_of_a_killed_relay_are_removed_by_the_next_run(late, tmp_path_factory, monkeypatch):
    runtime = tmp_path_factory.mktemp("rt")
    monkeypatch.setenv("TMPDIR", str(runtime))
    monkeypatch.setattr(tempfile, "tempdir", str(runtime))
    words = [sys.executable, "-c", f"{RELAY}\nprint(relay._process.pid, flush=True)\ninput()"]
    with subprocess.Popen(words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as capture:
        os.kill(int(capture.stdout.readline()), signal.SIGKILL)
        capture.kill()
    assert len(list(runtime.iterdir())) == 1
    with run_folder.folder() as own:
        assert list(runtime.iterdir()) == [own]


def test_srt_relay_is_there_once_its_socket_listens(late):
    with closing(SrtRelay("srt://127.0.0.1:9", "srt", CaptureConfig())) as relay, socket.socket(socket.AF_UNIX) as it:
        it.connect(relay.address.removeprefix("unix:"))


def test_srt_without_server():
    needs_srt()
    url = f"srt://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert error_of(url, CaptureConfig(open_timeout_s=0.5)) == f"{url}: no video arrived within 0.5 s"
    assert relays() == []


def test_srt_without_the_program(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert error_of("srt://127.0.0.1:9") == "srt://127.0.0.1:9: SRT needs the ffmpeg program: apt-get install ffmpeg"
