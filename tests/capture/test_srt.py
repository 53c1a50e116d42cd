"""SRT from a real sender, by way of the relay."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from pipeline.capture.config import CaptureConfig
from tests.capture.servers import ffmpeg_server, free_port, needs_srt
from tests.capture.streams import DIES, FREEZES_AND_IS_RESTARTED, error_of, reading, survives


def relays():
    """Command lines of our own ffmpeg children that fetch SRT."""
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
    server = ffmpeg_server(f"srt://127.0.0.1:{port}?mode=caller&passphrase=long-secret&pbkeylen=16")
    survives(server, f"srt://127.0.0.1:{port}?mode=listener&passphrase=long-secret", *fate)
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
