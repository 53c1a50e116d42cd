"""A stage in a child process: whose SIGTERM it obeys, and that nothing is left after its end."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

from pipeline.accounting import CLOSED, Ledger
from pipeline.capture.factory import open_source
from pipeline.capture.stage import resume
from pipeline.child import ProcessChild
from pipeline.config import Config
from pipeline.control_link import StageState, Switchboard
from pipeline.graph import StagePlan
from pipeline.journal import Journal
from pipeline.queues import Policy
from tests.conftest import wait_until

ADDRESS = "test://demo?width=64&height=64&frames=50"


class Bench:
    """A capture stage in a process of its own, and the supervisor's end of its control link."""

    def __init__(self, folder: Path) -> None:
        self.context = zmq.Context()
        control, self.journal = f"ipc://{folder}/control", folder / "journal"
        self.board = Switchboard(self.context, [control])
        self.heard: list[StageState] = []
        self.child = ProcessChild(
            StagePlan(
                name="capture.a", role="capture", where="process", session="s", sources=("a",), control=control,
                output=f"ipc://{folder}/queue", journal=str(self.journal), address=ADDRESS, config=Config(),
            )
        )  # fmt: skip

    def until(self, condition: Callable[[], object]) -> None:
        wait_until(condition, 60, lambda: self.heard.extend(self.board.receive_states(0.05)))

    def until_frames_wait(self) -> None:
        """Wait until the first frames wait for a receiver."""
        self.until(lambda: self.heard and self.heard[-1].queues["a"].in_flight)

    def close(self) -> None:
        self.child.kill()
        self.child.join(60)
        self.board.close()
        self.context.destroy(0)


@pytest.fixture
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp("b"))
    yield bench
    bench.close()


def test_only_the_supervisor_can_terminate_a_stage(bench: Bench) -> None:
    bench.until_frames_wait()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        os.kill(bench.child.pid, number)
    before = len(bench.heard)
    bench.until(lambda: len(bench.heard) > before + 2)
    assert bench.child.running
    assert {state.state for state in bench.heard} == {"running"}

    bench.child.terminate()
    bench.until(lambda: not bench.child.running)
    assert bench.child.exit_reason == "killed by SIGTERM"
    bench.until(lambda: bench.heard[-1].state == "aborted")

    row = Journal(bench.journal, ["a"]).row("a")
    waiting = Ledger(row).account()
    assert waiting.lost == {CLOSED: waiting.entered}, "the stage has closed its queue"
    ledger = Ledger(row)
    resume(ledger, open_source(ADDRESS, Config().capture), Policy.LOSSLESS)
    assert ledger.account().in_flight == waiting.entered, "which loses nothing"
    assert ledger.account().lost == {}


def test_kill_ends_a_stopped_stage_and_its_process_group(bench: Bench) -> None:
    bench.until_frames_wait()
    helper = subprocess.Popen(["sleep", "600"], process_group=bench.child.pid)
    os.kill(bench.child.pid, signal.SIGSTOP)
    bench.child.terminate()
    bench.child.join(0.5)
    assert bench.child.running, "a stopped process does not handle SIGTERM"
    bench.child.kill()
    bench.child.join(60)
    assert bench.child.exit_reason == "killed by SIGKILL"
    assert helper.wait(10) == -signal.SIGKILL


def test_process_group_of_a_dead_stage_is_killed(bench: Bench) -> None:
    bench.until_frames_wait()
    helper = subprocess.Popen(["sleep", "600"], process_group=bench.child.pid)
    os.kill(bench.child.pid, signal.SIGSEGV)
    bench.until(lambda: not bench.child.running)
    assert bench.child.exit_reason == "killed by SIGSEGV"
    assert helper.wait(10) == -signal.SIGKILL


def test_nothing_in_the_current_folder_is_executed(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("msgspec", "zmq", "numpy", "pipeline"):
        (tmp_path / f"{name}.py").write_text("import pathlib; pathlib.Path('executed').touch(); raise SystemExit(7)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", os.pathsep)
    bench = Bench(tmp_path_factory.mktemp("b"))
    try:
        wait_until(
            lambda: bench.heard.extend(bench.board.receive_states(0.05)) or bench.heard or not bench.child.running, 60
        )
        assert not (tmp_path / "executed").exists()
        assert bench.heard, bench.child.exit_reason
    finally:
        bench.close()
