"""tools.chaos on real runs: a killed stage, and a process that survives the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.chaos.__main__ import main
from tools.chaos.faults import FAULTS
from tools.chaos.preload import COMPILER
from tools.chaos.run import Run
from tools.chaos.wall_clock import WallClock

SCENE = "test://demo?width=64&height=64&frames=150"


def test_killed_stage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = tmp_path / "told.json"
    code = main(["--only", "kill detect", "--source", SCENE, "--json", str(told)])
    shown = capsys.readouterr().out
    assert code == 0, shown
    (row,) = json.loads(told.read_text())
    assert (row["name"], row["verdict"], row["lost"], row["objections"]) == ("kill detect", "passed", {}, [])
    assert row["recovery_s"] > 0.5, "a crash is not noticed at once"
    assert "| kill detect | passed |" in shown


def test_survivors_and_leftovers_are_found(tmp_path: Path) -> None:
    run = Run(["test://demo?width=64&height=64&frames=2"], tmp_path, ["sinks.overlay=false"])
    (run.runtime / "forgotten").touch()
    survivor = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=run.environment)
    try:
        seen = run.finish()
        assert [line.split()[1:3] for line in seen.survivors] == [["-c", "import"]]
        assert seen.leftovers == ["forgotten"]
        assert seen.exit_code == 0
    finally:
        run.clear()
    assert survivor.wait(10) < 0, "no process of a run outlives its trial"


@pytest.mark.skipif(COMPILER is None, reason="no C compiler")
def test_only_the_wall_clock_is_moved(tmp_path: Path) -> None:
    clock = WallClock(tmp_path)
    code = "import time, datetime; print(time.time(), datetime.datetime.now().timestamp(), time.monotonic())"
    for seconds in (0, 86_400, -86_400):
        clock.set(seconds)
        environment = {**os.environ, **clock.environment}
        shown = subprocess.check_output([sys.executable, "-c", code], env=environment)
        for seen, true in zip(shown.split(), (time.time() + seconds,) * 2 + (time.monotonic(),), strict=True):
            assert float(seen) == pytest.approx(true, abs=60)


def test_list_names_every_fault(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(FAULTS) == len({fault.name for fault in FAULTS})


def test_unwritable_file_is_named_before_the_trials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delattr("tools.chaos.__main__.attempt")
    with pytest.raises(SystemExit, match="2"):
        main(["--json", str(tmp_path / "missing" / "results.json")])
    assert "missing/results.json: No such file or directory" in capsys.readouterr().err
