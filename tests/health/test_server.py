"""Health server: addresses, misbehaving clients, and lack of file descriptors."""

from __future__ import annotations

import contextlib
import re
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.config import Config
from pipeline.errors import ConfigError
from pipeline.health import client, server
from pipeline.health.config import HealthConfig
from pipeline.health.server import Health
from pipeline.http_server import ThreadedServer
from pipeline.supervisor import Supervisor
from tests.conftest import speaks_ipv6, wait_until


def test_disconnecting_clients_cause_no_errors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    door = tmp_path / "door"
    before = threading.active_count()
    with Health(HealthConfig()) as health:
        health.serve_unix_socket(door)
        for question in (b"GET /status HTTP/1.0\r\n\r\n", b"no request\r\n", b"\xff\0" * 5000, b""):
            for _ in range(5):
                with socket.socket(socket.AF_UNIX) as caller:
                    caller.connect(str(door))
                    caller.sendall(question)
        assert client.get(door, "/healthz") == (503, b"starting\n")
        wait_until(lambda: threading.active_count() <= before + 1)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "0.0.0.0", "::"])
def test_serves_ipv4_and_ipv6(host: str) -> None:
    if ":" in host and not speaks_ipv6():
        pytest.skip("no IPv6 on this machine")
    with Health(HealthConfig(host=host, port=0)) as health:
        asked = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "::1": "[::1]"}.get(host, host)
        assert client.get(f"{asked}:{health.port}", "/healthz") == (503, b"starting\n")


@pytest.mark.parametrize("host", ["a..b", "256.0.0.1", "no such host"])
def test_invalid_host_is_named(host: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(f"health: {host}:0: ")):
        Health(HealthConfig(host=host, port=0))


def connect_client(door: Path, question: bytes = b"") -> socket.socket:
    caller = socket.socket(socket.AF_UNIX)
    caller.settimeout(20)
    caller.connect(str(door))
    caller.sendall(question)
    return caller


def test_connection_limit_and_release(tmp_path: Path) -> None:
    door = tmp_path / "door"
    with Health(HealthConfig()) as health, contextlib.ExitStack() as callers:
        health.serve_unix_socket(door)
        silent = [callers.enter_context(connect_client(door)) for _ in range(ThreadedServer.max_clients)]
        assert callers.enter_context(connect_client(door)).recv(1) == b""
        silent[0].close()

        def heard() -> bool:
            with contextlib.suppress(ConnectionError), connect_client(door, b"GET /healthz HTTP/1.0\r\n\r\n") as caller:
                return caller.recv(100).startswith(b"HTTP/1.0 503")
            return False

        wait_until(heard)


def test_slow_client_is_disconnected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ThreadedServer, "client_timeout_s", 0.3)
    door = tmp_path / "door"
    before = threading.active_count()
    with Health(HealthConfig()) as health:
        health.serve_unix_socket(door)
        with connect_client(door, b"GET /healthz HTTP/1.0\r\n") as caller:
            with pytest.raises(BrokenPipeError):
                wait_until(lambda: caller.sendall(b"X"))
            wait_until(lambda: threading.active_count() <= before + 1)


@contextlib.contextmanager
def no_descriptors_left() -> Iterator[None]:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, limit[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_last_status_is_kept_without_file_descriptors(tmp_path: Path) -> None:
    with Supervisor(Config(), [("demo", "test://demo")], None) as supervisor, Health(HealthConfig()) as health:
        health.update(supervisor)
        known = health.answer("/status")
        time.sleep(server.REFRESH_NS / 1e9)
        with no_descriptors_left():
            health.update(supervisor)
        assert health.answer("/status") == known
        health.update(supervisor)
        assert health.answer("/status") != known


def test_waiting_client_costs_no_time_without_file_descriptors(tmp_path: Path) -> None:
    door = tmp_path / "door"
    with Health(HealthConfig()) as health:
        health.serve_unix_socket(door)
        with socket.socket(socket.AF_UNIX) as caller:
            with no_descriptors_left():
                caller.connect(str(door))
                before = time.process_time()
                time.sleep(1)
                spent = time.process_time() - before
            caller.settimeout(20)
            caller.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
            assert caller.recv(100).startswith(b"HTTP/1.0 503")
    assert spent < 0.3


def test_an_old_status_is_not_served_as_that_of_a_running_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with Supervisor(Config(), [("demo", "test://demo")], None) as supervisor, Health(HealthConfig(port=0)) as health:
        health.update(supervisor)
        address = f"127.0.0.1:{health.port}"
        assert client.status(address).state == "starting"
        monkeypatch.setattr(server, "UNRESPONSIVE_NS", 0)
        old = client.status(address)
        assert (old.state, old.troubles) == ("degraded", ["the supervisor does not answer"])
        assert b'irst_state{irst_state="degraded"} 1.0' in client.get(address, "/metrics")[1]
        assert client.get(address, "/readyz") == (503, b"the supervisor does not answer\n")
