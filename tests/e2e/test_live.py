"""Live sources through the whole pipeline: a real server that dies and returns, and sources that hang."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.capture.servers import ffmpeg_server, free_port, rtsp_server
from tests.conftest import wait_until
from tests.e2e.harness import FAST, SMALL, assert_nothing_left, lines, record, start, worker_of

QUICK = [
    "--set=capture.read_timeout_s=1.0",
    "--set=capture.reconnect.initial_s=0.1",
    "--set=capture.reconnect.max_s=0.3",
]


@pytest.fixture
def silent_server() -> Iterator[int]:
    """Port of a server that accepts connections and never sends anything."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(8)
        yield server.getsockname()[1]


def delivered(out: Path, source: str) -> int:
    path = out / source / "tracks.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_hanging_source_blocks_neither_the_others_nor_the_stop(
    tmp_path: Path, runtime: Path, silent_server: int
) -> None:
    hanging = f"rtsp://operator:hunter2@127.0.0.1:{silent_server}/ir"
    run = start(hanging, SMALL, *FAST, "--set=capture.open_timeout_s=120", "--out", str(tmp_path), runtime=runtime)
    wait_until(lambda: delivered(tmp_path, "demo") == 12, 60)
    assert run.poll() is None, "the run continues with its other source"
    os.kill(run.pid, signal.SIGTERM)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert "hunter2" not in errors
    assert_nothing_left(run.pid, runtime)
    done = record(tmp_path)
    assert done["sources"]["demo"]["end"] == "finished"
    assert all(source["account"]["closes"] for source in done["sources"].values())
    assert "hunter2" not in (tmp_path / "run.json").read_text()


def test_camera_that_dies_and_returns_is_reconnected(tmp_path: Path, runtime: Path) -> None:
    port = free_port()
    server = rtsp_server(port)
    with server:
        address = f"rtsp://127.0.0.1:{port}/ir"
        run = start(address, *FAST, *QUICK, "--out", str(tmp_path), runtime=runtime)
        source = "127-0-0-1"
        wait_until(lambda: run.poll() is not None or delivered(tmp_path, source) >= 10, 60)
        assert run.poll() is None, run.communicate()
        server.kill()
        time.sleep(1.5)
        before = delivered(tmp_path, source)
        server.start()
        wait_until(lambda: delivered(tmp_path, source) >= before + 10, 60)
        os.kill(run.pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert_nothing_left(run.pid, runtime)
    done = record(tmp_path)
    account = done["sources"][source]["account"]
    assert done["sources"][source]["reconnects"] == 1
    assert done["begun"] < done["sources"][source]["begun"]
    assert done["drained"] is True
    assert account["closes"]
    assert account["captured"] == account["delivered"] + sum(account["dropped"].values())
    tracks = lines(tmp_path / source / "tracks.jsonl")
    assert len(tracks) == account["delivered"]
    assert all(b["pts"] > a["pts"] and b["frame"] > a["frame"] for a, b in pairwise(tracks))


def test_capture_that_dies_while_its_camera_is_away_waits_for_it(tmp_path: Path, runtime: Path) -> None:
    port = free_port()
    address, source = f"http://127.0.0.1:{port}/live.ts", "127-0-0-1"
    server = ffmpeg_server("-listen", "1", address, again=True)
    server.listens_on = port
    with server:
        run = start(address, *FAST, *QUICK, "--set=supervisor.backoff_s=0.1", "--out", str(tmp_path), runtime=runtime)
        wait_until(lambda: run.poll() is not None or delivered(tmp_path, source) >= 10, 60)
        assert run.poll() is None, run.communicate()
        victim = worker_of(run.pid, f"capture.{source}")
        assert victim is not None
        os.kill(victim, signal.SIGSTOP)  # so that the capture does not notice that the camera disappears
        server.kill()
        os.kill(victim, signal.SIGKILL)
        assert run.stderr is not None
        assert "died (killed by SIGKILL)" in run.stderr.readline()
        assert run.stderr.readline() == f"{address}: lost, trying to reconnect\n"
        time.sleep(1)
        before = delivered(tmp_path, source)
        server.start()
        wait_until(lambda: run.poll() is not None or delivered(tmp_path, source) >= before + 10, 60)
        assert run.poll() is None, run.communicate()
        os.kill(run.pid, signal.SIGINT)
        _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    assert_nothing_left(run.pid, runtime)
    done = record(tmp_path)
    assert done["restarts"] == {f"capture.{source}": ["killed by SIGKILL"]}
    assert done["drained"] is True
    assert done["sources"][source]["account"]["closes"]
    tracks = lines(tmp_path / source / "tracks.jsonl")
    assert all(b["pts"] > a["pts"] and b["frame"] > a["frame"] for a, b in pairwise(tracks))
