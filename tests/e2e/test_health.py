"""The status of a run under failures: over its Unix socket, over TCP and on the command line."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import zmq

from pipeline import run_folder
from pipeline.health import client
from pipeline.health.status import RunStatus
from tests.conftest import locked, wait_until
from tests.e2e.harness import FAST, LONG, ROOT, assert_nothing_left, run_program, start, worker_of

FLOOD = "test://crossing?width=96&height=64&frames=20000&fps=900&live=1"


class StatusPoller:
    """Polls the status of a run."""

    def __init__(self, runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tempfile, "tempdir", str(runtime))
        self.runtime = runtime
        self.status: RunStatus | None = None

    def doors(self) -> list[Path]:
        return run_folder.status_sockets()

    def door(self) -> Path:
        (door,) = self.doors()
        return door

    def until(self, condition) -> RunStatus:
        def fulfilled() -> bool:
            doors = self.doors()
            if not doors or client.get(doors[0], "/healthz")[0] != 200:
                return False
            self.status = client.status(doors[0])
            return condition(self.status)

        wait_until(fulfilled, 120)
        assert self.status is not None
        return self.status


def tell(*words: str, runtime: Path) -> subprocess.CompletedProcess[str]:
    """Run ``tools.status``; other runs in the temporary folder of the machine are excluded."""
    return subprocess.run(
        [sys.executable, "-m", "tools.status", *words],
        capture_output=True, text=True, cwd=ROOT, timeout=60, check=False,
        env={**os.environ, "TMPDIR": str(runtime)},
    )  # fmt: skip


def finish(run: subprocess.Popen[str], runtime: Path) -> None:
    run.send_signal(signal.SIGINT)
    output, errors = run.communicate(timeout=100)
    assert run.returncode == 130, (output, errors)
    assert_nothing_left(run.pid, runtime)


def test_status_follows_the_events_of_a_run(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = StatusPoller(runtime, monkeypatch)
    settings = ["--set", "placement.detect=process", "--set", "health.port=0", "--set", "supervisor.slow_share=0"]
    run = start(LONG, FLOOD, *FAST, *settings, "--set=detect.backend=torch", runtime=runtime)
    try:
        seen = asked.until(lambda s: s.state == "running" and all(x.delivered > 5 for x in s.sources.values()))
        assert client.get(asked.door(), "/readyz") == (200, b"ok\n")
        assert seen.pid == run.pid
        assert seen.facts["backend"] == "torch"
        assert set(seen.stages) == {"capture.demo", "capture.crossing", "preprocess", "detect", "track", "sinks"}
        assert seen.stages["detect"].rss_bytes
        assert seen.stages["detect"].pid == worker_of(run.pid, "detect")

        # The report of the sinks on frames arrives one heartbeat after their count.
        asked.until(lambda s: all(source.ego_ok for source in s.sources.values()))
        seen = asked.until(lambda s: sum(s.sources["crossing"].dropped.values()) > 0)
        for source in seen.sources.values():
            rest = sum(source.dropped.values()) + sum(source.lost.values()) + source.in_flight
            assert source.captured == source.delivered + rest
            assert source.newest_age_s is not None
            assert source.buckets["track"].count == source.latency_ms["track"].count > 0
            assert list(source.buckets["track"].counts) == sorted(source.buckets["track"].counts)
        assert seen.sources["demo"].dropped == {}
        asked.until(lambda s: sum(s.sources["demo"].tracks.values()) > 0)
        asked.until(
            lambda s: all(
                set(source.places) == {"scene", "sensor", "pixel", "graphics"} for source in s.sources.values()
            )
        )

        stranger = zmq.Context()
        with stranger.socket(zmq.DEALER) as socket_:
            socket_.linger = 0
            socket_.connect(f"ipc://{asked.door().parent}/preprocess")
            socket_.send(b"no message at all")
            assert asked.until(lambda s: s.stages["preprocess"].rejected == 1)
        stranger.term()

        os.kill(seen.stages["detect"].pid or 0, signal.SIGKILL)
        seen = asked.until(lambda s: s.stages["detect"].state == "dead")
        assert seen.state == "degraded"
        code, body = client.get(asked.door(), "/readyz")
        assert (code, body.splitlines()[0]) == (503, b"degraded")
        seen = asked.until(lambda s: s.state == "running")
        assert seen.stages["detect"].restarts == 1
        assert client.get(asked.door(), "/readyz")[0] == 200

        told = tell(runtime=runtime)
        assert told.returncode == 0, told.stderr
        assert f"run {run.pid}: running" in told.stdout
        assert "restarted 1x, last: killed by SIGKILL" in told.stdout
    finally:
        finish(run, runtime)


def test_camera_starts_only_when_the_stages_are_ready(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, seen = StatusPoller(runtime, monkeypatch), list[RunStatus]()
    run = start(FLOOD, *FAST, "--set=placement.detect=process", runtime=runtime)
    try:
        asked.until(lambda s: seen.append(s) or s.state == "running")
        early = [s for s in seen if s.stages["detect"].state in ("waiting", "starting")]
        assert early
        assert {(s.stages["capture.crossing"].pid, s.sources["crossing"].captured) for s in early} == {(None, 0)}
    finally:
        finish(run, runtime)


def test_silent_source_makes_the_run_degraded_and_is_named(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as held:  # a port that accepts connections and sends nothing
        held.bind(("127.0.0.1", 0))
        held.listen()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        mute = f"http://user:hunter2@127.0.0.1:{held.getsockname()[1]}/live.ts"
        asked = StatusPoller(runtime, monkeypatch)
        settings = ["--set", f"health.port={port}", "--set", "health.max_age_s=1"]
        run = start(LONG, mute, *FAST, *settings, runtime=runtime)
        try:
            seen = asked.until(lambda s: s.state == "degraded" and s.sources["demo"].delivered > 0)
            assert [line for line in seen.troubles if "127-0-0-1" in line]
            code, body = client.get(f"127.0.0.1:{port}", "/readyz")
            assert code == 503
            assert b": no result for " in body
            pages = [client.get(f"127.0.0.1:{port}", page)[1] for page in ("/metrics", "/status", "/readyz", "/")]
            assert not any(b"hunter2" in page for page in pages)
            assert client.get(f"127.0.0.1:{port}", "/elsewhere")[0] == 404
        finally:
            finish(run, runtime)


def test_stage_that_cannot_keep_up_is_slow_until_it_can(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calm = "test://demo?width=64&height=64&frames=20000&fps=2&live=1"
    flood = "test://crossing?width=96&height=64&fps=900&live=1&loop=1"
    asked = StatusPoller(runtime, monkeypatch)
    slow = ("--set", "detect.weights=mshnet", "--set", "detect.backend=torch")  # much slower than its input
    run = start(calm, flood, *FAST, *slow, "--set", "supervisor.slow_s=3", runtime=runtime)
    try:
        seen = asked.until(lambda s: s.stages["detect"].slow)
        detect = seen.stages["detect"]
        assert detect.rate is not None
        assert detect.expected_rate is not None
        assert detect.idle_share is not None
        assert detect.rate < 0.8 * detect.expected_rate
        assert (seen.state, detect.state, detect.restarts) == ("degraded", "running", 0)
        assert [name for name, stage in seen.stages.items() if stage.slow] == ["detect"], "the others wait for it"
        assert any(line.startswith("stage detect is slow: ") for line in seen.troubles)
        code, body = client.get(asked.door(), "/readyz")
        assert code == 503
        assert b"stage detect is slow" in body
        assert b'irst_stage_slow{stage="detect"} 1.0' in client.get(asked.door(), "/metrics")[1]
        told = tell(runtime=runtime)
        assert told.returncode == 1
        assert [line.split()[:2] for line in told.stdout.splitlines() if " /s" in line and "slow" in line] == [
            ["detect", "slow"]
        ]

        flooding = worker_of(run.pid, "capture.crossing")
        assert flooding is not None
        os.kill(flooding, signal.SIGSTOP)
        seen = asked.until(lambda s: not any(stage.slow for stage in s.stages.values()))
        assert (seen.stages["detect"].expected_rate or 0) < detect.expected_rate
        os.kill(flooding, signal.SIGCONT)
    finally:
        finish(run, runtime)


def test_hanging_thread_is_reported(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = StatusPoller(runtime, monkeypatch)
    run = start(LONG, *FAST, "--set", "supervisor.stuck_s.detect=0.01", runtime=runtime)  # every frame takes longer
    try:
        # If a heartbeat has just arrived, the frames that wait for as long are reported instead.
        seen = asked.until(lambda s: "stage detect is stuck: no heartbeat for 0.01 s" in s.troubles)
        assert (seen.stages["detect"].state, seen.state) == ("stuck", "degraded")
        asked.until(lambda s: s.stages["detect"].state == "running")
    finally:
        finish(run, runtime)


def test_the_first_answer_of_a_run_is_its_status(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = StatusPoller(runtime, monkeypatch)
    run = start(LONG, *FAST, runtime=runtime)
    try:
        wait_until(asked.doors)
        assert client.status(asked.door()).state == "starting"
    finally:
        finish(run, runtime)


def test_blocked_supervisor_is_not_healthy(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = StatusPoller(runtime, monkeypatch)
    run = start(LONG, *FAST, "--set=placement.track=process", runtime=runtime)
    try:
        asked.until(lambda s: s.state == "running")
        full = os.open(f"/proc/{run.pid}/fd/2", os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(full, b".")
        os.close(full)
        victim = worker_of(run.pid, "track")
        assert victim is not None
        os.kill(victim, signal.SIGKILL)  # the supervisor prints a warning and blocks on its reader
        deaf = (503, b"the supervisor does not answer\n")
        wait_until(lambda: client.get(asked.door(), "/healthz") == deaf, 60)
        assert client.get(asked.door(), "/readyz") == deaf
        said = tell(runtime=runtime)
        assert (said.returncode, "degraded" in said.stdout) == (1, True)
        assert run.stderr is not None
        os.read(run.stderr.fileno(), 1 << 20)
        seen = asked.until(lambda s: s.state == "running")
        assert seen.stages["track"].restarts == 1
    finally:
        finish(run, runtime)


def test_a_port_that_is_taken_is_named_and_nothing_is_left(tmp_path: Path, runtime: Path) -> None:
    (tmp_path / "run.json").write_text("of an earlier run")
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        done = run_program(LONG, "--set", f"health.port={port}", "--out", str(tmp_path), runtime=runtime)
    assert (tmp_path / "run.json").read_text() == "of an earlier run"
    assert done.returncode == 2
    assert done.stderr == f"run_stream.py: error: health: 127.0.0.1:{port}: Address already in use\n"
    assert list(runtime.iterdir()) == []


def test_absence_of_runs_is_reported_in_one_line(runtime: Path) -> None:
    nowhere = ("127.0.0.1:1", "127.0.0.1:abc", "host with:80", "a..b:80", "[::1:80")
    for words, said in (
        ([], "no run of this user on this machine"),
        *(([where], f"{where}: no answer") for where in nowhere),
    ):
        told = tell(*words, runtime=runtime)
        assert told.returncode == 3
        assert told.stderr.startswith(f"status: {said}")
        assert told.stderr.count("\n") == 1


def refusing(folder: Path) -> Path:
    """The folder of a run with a socket on which no process listens."""
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / run_folder.STATUS))
    return folder


def test_all_runs_are_queried_despite_dead_ones(runtime: Path) -> None:
    refusing(runtime / f"irst-{os.getpid()}-killed")
    mute = refusing(runtime / f"irst-{os.getpid()}-mute")
    with locked(mute):
        told = tell(runtime=runtime)
        assert (told.returncode, told.stdout) == (3, "")
        run = start(LONG, *FAST, runtime=runtime)
        try:
            wait_until(lambda: f"run {run.pid}: running" in tell(runtime=runtime).stdout, 120)
            told = tell(runtime=runtime)
            assert f"run {run.pid}: running" in told.stdout
            assert told.stderr.startswith(f"status: {mute / run_folder.STATUS}: no answer")
            assert (told.returncode, told.stderr.count("\n")) == (1, 1)
            (mute / run_folder.STATUS).unlink()
            told = tell(runtime=runtime)
            assert (told.returncode, told.stderr) == (0, "")
        finally:
            shutil.rmtree(mute)
            finish(run, runtime)
