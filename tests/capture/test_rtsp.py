"""RTSP from a real server, over TCP and UDP, with and without login."""

from __future__ import annotations

import pytest

from pipeline.capture.config import CaptureConfig, ReconnectConfig
from tests.capture.servers import free_port, rtsp_server
from tests.capture.streams import DIES, FREEZES, check_grabs, error_of, reading, survives
from tests.conftest import wait_until


@pytest.mark.parametrize("fate", [DIES, FREEZES], ids=" ".join)
def test_rtsp(fate):
    port = free_port()
    survives(rtsp_server(port), f"rtsp://127.0.0.1:{port}/ir", *fate)


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


def test_close_interrupts_the_back_off():
    port = free_port()
    patient = CaptureConfig(open_timeout_s=5, read_timeout_s=0.5, reconnect=ReconnectConfig(initial_s=3600, max_s=3600))
    server = rtsp_server(port)
    with server, reading(f"rtsp://127.0.0.1:{port}/ir", patient) as it:
        it.wait_for(3)
        server.kill()
        wait_until(lambda: it.source.state == "reconnecting")
    assert it.error is None
    assert it.source.grab() is None


def test_gives_up_after_give_up_s():
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
