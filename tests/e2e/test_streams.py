"""Standard streams that cannot be written to neither end a run nor change its exit code and record."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.harness import FAST, ROOT, SMALL, lines, record, run_environment

STREAMS = {"full disk": ">/dev/full 2>&1", "closed": "<&- >&- 2>&-", "reader gone": "2>&1 | true"}


@pytest.mark.parametrize("streams", STREAMS.values(), ids=STREAMS)
def test_run_continues_without_its_standard_streams(tmp_path: Path, runtime: Path, streams: str) -> None:
    words = [sys.executable, str(ROOT / "run_stream.py"), SMALL, str(tmp_path / "gone.mp4"), *FAST, "--out", "out"]
    shell = ["bash", "-c", f'set -o pipefail; "$@" {streams}', "bash", *words]
    done = subprocess.run(
        shell, cwd=tmp_path, capture_output=True, text=True, env=run_environment(runtime), timeout=150, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (3, "", "")
    assert list(runtime.iterdir()) == []
    told = record(tmp_path / "out")
    assert (told["state"], told["exit_code"], told["drained"]) == ("ended", 3, True)
    assert len(lines(tmp_path / "out" / "demo" / "tracks.jsonl")) == 12
