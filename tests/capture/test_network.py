"""Behaviour common to all schemes (hosts that are absent, refuse or stay silent), and UDP."""

from __future__ import annotations

import socket
from contextlib import contextmanager

import pytest

from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import open_source
from tests.capture.servers import ffmpeg_server, free_port
from tests.capture.streams import DIES, FREEZES, Reading, error_of, survives
from tests.conftest import wait_until


@pytest.mark.parametrize("fate", [DIES, FREEZES], ids=" ".join)
def test_udp(fate):
    port = free_port(socket.SOCK_DGRAM)
    survives(ffmpeg_server(f"udp://127.0.0.1:{port}?pkt_size=1316"), f"udp://127.0.0.1:{port}", *fate)


def test_udp_without_sender():
    config = CaptureConfig(open_timeout_s=0.5)
    url = f"udp://127.0.0.1:{free_port(socket.SOCK_DGRAM)}"
    assert error_of(url, config) == f"{url}: no video arrived within 0.5 s"


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
    """Listen on a port that accepts connections and never sends anything."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@contextmanager
def full_listener():
    """Listen on a port where connections hang: its backlog is full and nothing accepts."""
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
def test_silent_server_times_out(scheme):
    with silent_listener() as port:
        url = f"{scheme}://127.0.0.1:{port}/x"
        assert error_of(url, CaptureConfig(open_timeout_s=0.6)) == f"{url}: no video arrived within 0.6 s"


def test_host_that_does_not_answer_times_out():
    with full_listener() as port:
        url = f"rtsp://127.0.0.1:{port}/x"
        message = f"{url}: no answer from port {port} of 127.0.0.1 within 0.5 s"
        assert error_of(url, CaptureConfig(open_timeout_s=0.5)) == message


def test_close_interrupts_connecting():
    with silent_listener() as port:
        source = open_source(f"rtsp://127.0.0.1:{port}/x", CaptureConfig(open_timeout_s=1))
        it = Reading(source)
        wait_until(lambda: source.state == "connecting")
        it.close()
        assert it.grabs == []
