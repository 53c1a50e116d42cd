"""The soak tool: verdicts on synthetic series, a real process that leaks, and a real run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.conftest import ROOT, wait_until
from tools.process_tree import Held, held
from tools.soak import Bounds, Soak, main, source_trend, trend

STEADY = Held(memory_mb=100.0, fds=20, threads=4, sockets=3)
BOOKS = {"captured": 9, "delivered": 9, "dropped": {}, "lost": {}, "in_flight": 0, "closes": True}

# Allocates memory, sockets and a thread for every line of input, and keeps them only if told to leak.
CHILD = """
import socket, sys, threading
leaks, held = sys.argv[1] == "leaks", []
print("ready", flush=True)
for _ in sys.stdin:
    memory, pair = bytearray(b"x" * 1_000_000), socket.socketpair()
    if leaks:
        held.append((memory, pair))
        threading.Thread(target=threading.Event().wait, daemon=True).start()
    del memory, pair
    print("done", flush=True)
"""


def watch_child(how: str, rounds: int) -> list[tuple[float, Held]]:
    """Sample the resources of the child after each round, with nominal times one second apart."""
    samples = []
    with subprocess.Popen([sys.executable, "-c", CHILD, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None and child.stdout is not None
        child.stdout.readline()
        for k in range(rounds):
            child.stdin.write(b"\n")
            child.stdin.flush()
            child.stdout.readline()
            samples.append((float(k), held(psutil.Process(child.pid))["main"]))
        child.kill()
    return samples[rounds // 5 :]


def test_leaking_process_is_caught() -> None:
    found = trend(watch_child("leaks", 20), Bounds())
    assert set(found.grows) == {"memory", "fds", "threads", "sockets"}
    assert found.slope_mb_h.per_hour >= 0.9 * 3600, "a megabyte a second"


def test_a_process_that_frees_memory_does_not_grow() -> None:
    assert trend(watch_child("lets go", 20), Bounds(memory_mb_h=360.0)).grows == []  # 0.1 MB a round


@pytest.mark.parametrize("what", ["fds", "threads", "sockets"])
def test_a_permanent_increase_is_growth_and_a_temporary_one_is_not(what: str) -> None:
    more = STEADY._replace(**{what: getattr(STEADY, what) + 1})
    for_good = [(float(k), more if k >= 10 else STEADY) for k in range(15)]
    assert trend(for_good, Bounds()).grows == [what]
    for_a_moment = [(float(k), more if k == 12 else STEADY) for k in range(15)]
    assert trend(for_a_moment, Bounds()).grows == []


def test_memory_may_rise_as_much_as_the_bound_says() -> None:
    rising = [(60.0 * k, STEADY._replace(memory_mb=100 + k / 10)) for k in range(60)]  # 6 MB/h
    assert trend(rising, Bounds(memory_mb_h=6.5)).grows == []
    assert trend(rising, Bounds(memory_mb_h=5.5)).grows == ["memory"]


def test_growing_latency_and_lost_frames_fail_a_source() -> None:
    steady, ageing = [0.1] * 30, [0.1] * 20 + [0.2] * 10
    assert source_trend(BOOKS, steady, Bounds()).wrong == []
    assert source_trend(BOOKS, ageing, Bounds()).wrong == ["latency grows"]
    assert source_trend(BOOKS, ageing, Bounds(latency_factor=2.5)).wrong == []
    assert source_trend(BOOKS, [], Bounds()).age_p99_ms is None
    assert source_trend({**BOOKS, "lost": {"crash": 2}}, steady, Bounds()).wrong == ["2 frames lost"]
    assert source_trend({**BOOKS, "closes": False}, steady, Bounds()).wrong == ["account does not close"]


def test_workers_go_by_the_name_of_their_stage() -> None:
    # Stands in for a worker, which is recognised by its command line.
    parent = (
        "import subprocess, sys; "
        "child = subprocess.Popen([sys.executable, '-c', 'import sys; print(1, flush=True); sys.stdin.read()', "
        "'pipeline.worker', '1', 'capture.demo'], stdin=subprocess.PIPE, stdout=subprocess.PIPE); "
        "child.stdout.readline(); print('ready', flush=True); sys.stdin.read(); child.communicate()"
    )
    with subprocess.Popen([sys.executable, "-c", parent], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = held(psutil.Process(process.pid))
        process.communicate()
    assert set(found) == {"main", "capture.demo"}
    assert all(one.memory_mb > 1 and one.fds >= 3 and one.threads >= 1 for one in found.values())


def test_ended_process_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        watched = psutil.Process(process.pid)
    assert held(watched) == {}


def test_short_soak_of_a_real_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scene = "test://demo?width=64&height=64&frames=10&live=1&loop=1&fps=5"
    figures, samples = tmp_path / "soak.json", tmp_path / "samples.jsonl"
    wide = ["--memory-bound", "1e6", "--latency-factor", "1e3", "--set", "sinks.overlay=false"]
    code = main(["--minutes", "0.07", "--source", scene, *wide, "--json", str(figures), "--samples", str(samples)])
    said = capsys.readouterr()
    result = json.loads(figures.read_text())
    assert set(result["processes"]) == {"main", "capture.demo", "detect"}, said.err
    source = result["sources"]["demo"]
    assert source["wrong"] == [] and source["delivered"] > 10, "more than the scene is long"
    assert source["captured"] == source["delivered"] + source["dropped"]
    assert result["drained"] and result["restarts"] == {}
    grows = any(process["grows"] for process in result["processes"].values())
    assert code == grows and ("FAILED" if grows else "passed") in said.out
    seen = [json.loads(line) for line in samples.read_text().splitlines()]
    assert {line["process"] for line in seen} == {"main", "capture.demo", "detect"}
    assert all(line["memory_mb"] > 1 for line in seen)


def test_run_that_fails_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--minutes", "1", "--source", "no-such-file.mp4"]) == 1
    assert "no-such-file.mp4" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--samples", "--json"])
def test_unwritable_file_is_named_before_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], option: str
) -> None:
    monkeypatch.delattr("tools.soak.soak")
    path = tmp_path / "missing" / "figures"
    assert main(["--minutes", "1", "--source", "x.mp4", option, str(path)]) == 2
    assert capsys.readouterr().err == f"soak: error: {option} {path}: No such file or directory\n"


def test_samples_that_cannot_be_written_end_the_run_at_once(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def write_one(*_: object) -> None:
        samples = _[-1]
        samples.write("{}\n")  # type: ignore[attr-defined]
        pytest.fail("goes on without a place for the samples")

    monkeypatch.setattr("tools.soak.soak", write_one)
    assert main(["--minutes", "1", "--source", "x.mp4", "--samples", "/dev/full"]) == 2
    assert capsys.readouterr().err == "soak: error: /dev/full: No space left on device\n"


def test_figures_are_shown_before_a_file_may_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = Soak(hours=9.0, sources={}, processes={}, restarts={}, drained=True)
    monkeypatch.setattr("tools.soak.soak", lambda *_: found)  # stands for hours of measurement that must not be lost
    path = Path("/dev/full")
    assert main(["--minutes", "1", "--source", "x.mp4", "--json", str(path)]) == 2
    said = capsys.readouterr()
    assert "9.000 hours: passed" in said.out
    assert said.err == f"soak: error: {path}: No space left on device\n"


def test_a_soak_that_is_terminated_leaves_no_run_behind() -> None:
    scene = "test://demo?width=64&height=64&frames=10&live=1&loop=1&fps=5"
    words = ["--minutes", "9", "--source", scene, "--set", "sinks.overlay=false"]
    with subprocess.Popen([sys.executable, "-m", "tools.soak", *words], cwd=ROOT) as process:
        watched = psutil.Process(process.pid)
        wait_until(lambda: len(watched.children(recursive=True)) > 1)  # a run that has stages is watched by now
        runs = watched.children(recursive=True)
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM
    assert not [run for run in runs if run.is_running()]
