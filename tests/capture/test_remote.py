"""Cameras on other machines: a real server process and the local client."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.capture.config import RemoteConfig
from pipeline.capture.factory import open_source
from pipeline.capture.scene import Scene, SceneSpec
from tests.capture.conftest import read_all
from tests.capture.remote_host import ENDLESS, QUICK, SCENE, Read, serving
from tests.capture.servers import free_port
from tests.capture.streams import error_of
from tests.conftest import speaks_ipv6, wait_until


def test_frames_arrive_unchanged_with_number_time_and_depth_of_the_sender() -> None:
    scene = Scene(SceneSpec.from_url(SCENE))
    with serving(SCENE) as server:
        grabs = read_all(open_source(server.url, QUICK))
        assert server.finish() == (0, "captured 8, seen 8, dropped 0, lost 0\n", "")
    assert len(grabs) == 8
    for k, grab in enumerate(grabs):
        assert grab.picture.dtype == np.uint16
        np.testing.assert_array_equal(grab.picture, scene.frame(k))
        assert (grab.frame, grab.pts, grab.bit_depth) == (k, k / scene.spec.fps, scene.spec.bit_depth)
    now = time.monotonic_ns()
    assert all(now - 60e9 < grab.mono_ns < now for grab in grabs)


@pytest.mark.parametrize("addresses", [["::1"], ["::1", "127.0.0.1"], ["127.0.0.1"]])
def test_host_name_resolves_to_ipv4_or_ipv6(addresses: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The resolver is patched, because this machine has no IPv6-only name to test with."""
    if "::1" in addresses and not speaks_ipv6():
        pytest.skip("no IPv6 on this machine")
    bind = "tcp://[::1]:*" if addresses == ["::1"] else "tcp://127.0.0.1:*"
    resolve = socket.getaddrinfo

    def resolved(host: str, *words: Any, **options: Any) -> list[Any]:
        hosts = addresses if host == "camera.test" else [host]
        return [found for one in hosts for found in resolve(one, *words, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    with serving(SCENE, bind=bind) as server:
        url = f"zmq+tcp://camera.test:{server.url.rpartition(':')[2]}"
        assert len(read_all(open_source(url, replace(QUICK, remote=RemoteConfig(insecure=True))))) == 8


def test_reconnects_to_a_server_that_was_killed_and_restarted(read: Read) -> None:
    port = free_port()
    bind = f"tcp://127.0.0.1:{port}"
    with serving(ENDLESS, bind=bind) as first:
        it = read(first.url, QUICK)
        it.wait_for(5)
        first.process.kill()
        wait_until(lambda: it.source.state == "reconnecting")
        seen = len(it.grabs)
    with serving(ENDLESS, bind=bind):
        it.wait_for(seen + 5)
        it.close()
    assert it.error is None
    assert it.source.reconnects == 1
    assert (np.diff([grab.frame for grab in it.grabs]) > 0).all()
    assert (np.diff([grab.pts for grab in it.grabs]) > 0).all()


def test_stopped_server_has_delivered_all_frames_and_is_reconnected(read: Read) -> None:
    with serving(ENDLESS, "--policy", "lossless") as server:
        it = read(server.url, QUICK)
        it.wait_for(3)
        server.process.send_signal(signal.SIGTERM)
        code, out, errors = server.finish()
        wait_until(lambda: it.source.state == "reconnecting")
        it.close()
    assert (code, errors) == (130, "")
    assert out == f"captured {len(it.grabs)}, seen {len(it.grabs)}, dropped 0, lost 0\n"


def test_one_viewer_at_a_time(read: Read) -> None:
    with serving(ENDLESS) as server:
        first = read(server.url, QUICK)
        first.wait_for(3)
        assert error_of(server.url, QUICK) == f"{server.url}: remote error: busy with another viewer"
        seen = len(first.grabs)
        first.wait_for(seen + 3)
        first.close()
        again = read(server.url, QUICK)
        again.wait_for(3)
        again.close()
        assert (first.error, again.error, first.source.reconnects) == (None, None, 0)
        server.process.send_signal(signal.SIGINT)
        code, out, errors = server.finish()
    assert (code, set(errors.splitlines())) == (130, {"serve: a second receiver came and was refused"})
    assert "captured" in out


def test_frames_not_consumed_are_dropped_by_the_sender() -> None:
    with serving(ENDLESS, "--policy", "latest") as server:
        source = open_source(server.url, QUICK)
        source.open()
        frames = []
        for _ in range(6):
            time.sleep(0.1)
            grab = source.grab()
            assert grab is not None
            frames.append(grab.frame)
        source.close()
        server.process.send_signal(signal.SIGINT)
        _, out, _ = server.finish()
    assert frames[-1] - frames[0] > 5, "numbers show what is missing"
    assert " superseded" in out


def test_failing_remote_source_ends_both_sides(tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    with serving(str(gone)) as server:
        code, _, errors = server.finish()
    assert (code, errors) == (3, f"serve: error: {gone}: no such file\n")
