"""Clients that misbehave at the door of a run."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from pipeline.health import client
from pipeline.health.config import HealthConfig
from pipeline.health.server import Health
from tests.conftest import wait_until


def test_clients_that_hang_up_are_no_error_of_the_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    door = tmp_path / "door"
    before = threading.active_count()
    with Health(HealthConfig()) as health:
        health.open_door(door)
        for question in (b"GET /status HTTP/1.0\r\n\r\n", b"no request\r\n", b"\xff\0" * 5000, b""):
            for _ in range(5):
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.connect(str(door))
                    caller.sendall(question)
        assert client.ask(door, "/healthz") == (503, b"starting\n")
        wait_until(lambda: threading.active_count() <= before + 1)
    assert capfd.readouterr().err == ""
