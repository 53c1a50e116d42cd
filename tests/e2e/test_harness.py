"""Tests of the test harness itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import wait_until
from tests.e2e.harness import ROOT, workers_of

FAILING = """
from pathlib import Path

from tests.conftest import wait_until
from tests.e2e.harness import FAST, LONG, PROCESSES, STAGES, start, workers_of


def test_that_fails(runtime):
    run = start(LONG, *FAST, *PROCESSES, runtime=runtime)
    Path("pid").write_text(str(run.pid))
    wait_until(lambda: len(workers_of(run.pid)) == len(STAGES), 60)
    raise AssertionError(f"{run.pid} runs still")
"""


def test_a_test_that_fails_leaves_no_run_behind(tmp_path: Path) -> None:
    (tmp_path / "test_failing.py").write_text(FAILING)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "tests.e2e.conftest", "-c", os.devnull, "."],
        capture_output=True, text=True, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120, check=False,
    )  # fmt: skip
    pid = int((tmp_path / "pid").read_text())
    assert f"AssertionError: {pid} runs still" in done.stdout, done.stdout
    assert not Path(f"/proc/{pid}").exists()
    wait_until(lambda: workers_of(pid) == [])
