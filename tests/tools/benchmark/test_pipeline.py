"""The pipeline part on small scenes: real runs whose figures must be consistent."""

from __future__ import annotations

import math
from collections import Counter
from types import SimpleNamespace

import numpy as np
import pytest
from msgspec.structs import replace

from pipeline.messages import Stamp
from pipeline.queues import Policy
from tools.benchmark.bare import BareNetwork, load
from tools.benchmark.copies import copies
from tools.benchmark.efficiency import efficiency
from tools.benchmark.job import Context, Unmeasured
from tools.benchmark.latency import latency, stage_times
from tools.benchmark.observed import OTHERS, Observation, Passage, Snapshot, observe
from tools.benchmark.pipeline import Scope, jobs

MS = 1_000_000
CHAIN = ["preprocess", "detect", "track", "sinks"]


def passage(start_ms: int) -> Passage:
    """A frame that waits 1, 2, 3, 4 ms before the stages and spends 10, 20, 30, 40 ms in them."""
    stamps, now = [], start_ms
    for i, stage in enumerate(CHAIN, 1):
        stamps.append(Stamp(stage=stage, enter_ns=(now + i) * MS, leave_ns=(now + 11 * i) * MS))
        now += 11 * i
    return Passage("s0", start_ms * MS, tuple(stamps))


SEEN = Observation(
    [passage(0), passage(250), passage(500)],
    Snapshot(
        0,
        {"capture": 1.0, "detect": 5.0, OTHERS: 0.0},
        {"s0": 10},
        {"s0": 1},
        {"detect": (MS, 4.0), "sinks": (MS, 0.1)},
    ),
    Snapshot(
        1000 * MS,
        {"capture": 1.3, "detect": 5.9, OTHERS: 0.6},
        {"s0": 15},
        {"s0": 3},
        {"detect": (801 * MS, 4.2), "track": (1000 * MS, 0.9), "sinks": (MS, 0.1)},
    ),
    {},
)


def test_figures_of_an_observation_by_hand() -> None:
    assert passage(7).track_ms == 11 + 22 + 33
    assert SEEN.seconds == 1
    assert SEEN.rate == pytest.approx(2 / 0.5)
    assert (SEEN.captured, SEEN.dropped) == ({"s0": 5}, {"s0": 2})
    assert SEEN.busy == pytest.approx({"detect": 0.75})
    assert SEEN.cpu_ms_per_frame() == pytest.approx({"capture": 100, "detect": 300, OTHERS: 200})


def test_the_rate_leaves_out_the_first_batch() -> None:
    def batch(number: int, frames: int, done_ms: int) -> list[Passage]:
        entered = Stamp(stage="detect", enter_ns=number, leave_ns=number)
        return [Passage("s0", 0, (entered, Stamp(stage="sinks", enter_ns=0, leave_ns=done_ms * MS)))] * frames

    def rate(*passages: Passage) -> float:
        return SEEN._replace(passages=list(passages)).rate

    # 100 frames/s, in batches of 16.
    batches = [batch(1, 16, 160), batch(2, 16, 320), batch(3, 8, 400)]
    assert rate(*batches[0], *batches[1], *batches[2]) == pytest.approx(100)
    assert rate(*batches[0][9:], *batches[1], *batches[2]) == pytest.approx(100)
    assert math.isnan(rate(*batches[0])) and math.isnan(rate())
    # The frames of a batch leave the sinks one after another: time counts from the last one of the first batch.
    assert rate(*batch(1, 1, 100), *batch(1, 1, 200), *batch(2, 1, 300), *batch(2, 1, 400)) == pytest.approx(10)


def test_stage_times_by_hand() -> None:
    rows = {row.stage: row for row in stage_times("1x1", SEEN)}
    assert list(rows) == ["capture", *CHAIN, OTHERS]
    assert [(rows[stage].waited_ms, rows[stage].worked_ms) for stage in CHAIN] == [(1, 10), (2, 20), (3, 30), (4, 40)]
    assert rows["capture"].worked_ms is None and rows["capture"].cpu_ms == pytest.approx(100)
    assert rows["track"].cpu_ms is None


def test_recording_through_the_pipeline_and_the_network(context: Context) -> None:
    found = efficiency((96, 64), 12, 1, load(context), context.folder)
    rows = found.rows["efficiency"]
    assert [row.sinks for row in rows] == ["text and overlay", "text"]
    for row in rows:
        assert row.efficiency == pytest.approx(row.frames_per_s / row.network_frames_per_s)
        assert row.frames_per_s > 0
    assert not list(context.folder.iterdir()), "cleans up"


def test_the_first_batch_of_the_network_alone_is_not_counted(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    network = BareNetwork(load(context))
    clock = iter([0.0, 100.0, 100.0, 101.0, 101.0, 103.0])
    monkeypatch.setattr("tools.benchmark.bare.time", SimpleNamespace(perf_counter=lambda: next(clock)))
    assert network.seconds([np.zeros((64, 96), np.uint8)] * 3) == [1.0, 2.0]


def test_recording_in_batches(context: Context) -> None:
    config = load(context)
    config = replace(config, detect=replace(config.detect, batch_size=4))
    seen = observe(config, ["test://demo?width=96&height=64&frames=24"], context.folder / "out")
    batches = Counter(passage.batch_ns for passage in seen.passages)
    assert sum(batches.values()) == 24 and max(batches.values()) <= 4
    assert seen.rate > 0
    with pytest.raises(Unmeasured, match="two batches of 4 are needed, there are 7 frames"):
        efficiency((96, 64), 7, 1, config, context.folder)


def test_no_configuration_drops_frames_of_a_recording(context: Context) -> None:
    latest = context.folder / "latest.yaml"
    latest.write_text("queue: {policy: latest}\n")
    config = load(context._replace(config=latest))
    assert [config.queue.policy_for(live) for live in (False, True)] == [Policy.LOSSLESS, Policy.BOUNDED]
    seen = observe(config, ["test://demo?width=96&height=64&frames=60"], context.folder / "out")
    assert seen.dropped == {"s0": 0}
    asked = load(context._replace(config=latest, settings=["queue.policy=latest"]))
    assert asked.queue.policy is Policy.LATEST


def test_the_camera_rate_stays_below_the_pipeline_throughput(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.benchmark.latency.PACE", 1e4)
    found = latency((96, 64), 1.0, 0.2, load(context), context.folder)
    (row,) = found.rows["latency"]
    assert row.pace < 1e4
    assert any("of the throughput of the pipeline" in note for note in found.missing)


def test_live_scene(context: Context) -> None:
    found = latency((96, 64), 1.0, 0.2, load(context), context.folder)
    (row,) = found.rows["latency"]
    assert row.frames > 0 and row.pace <= 25
    assert 0 < row.p50_ms <= row.p95_ms <= row.p99_ms
    assert row.p99_over_network_ms == pytest.approx(row.p99_ms - row.network_ms)
    stages = {stage.stage: stage for stage in found.rows["stages"]}
    assert list(stages)[:5] == ["capture", *CHAIN]
    assert all(stage.cpu_ms is not None for stage in stages.values())


def test_a_failed_run_is_reported(context: Context) -> None:
    with pytest.raises(Unmeasured, match=r"none\.mp4"):
        observe(load(context), [str(context.folder / "none.mp4")], context.folder / "out")


def test_picture_is_copied_between_processes_alone(context: Context) -> None:
    rows = {row.step: row.same_memory for row in copies(load(context), context.folder).rows["copies"]}
    assert rows["preprocess"] and rows["detect"] and rows["track"] and rows["queue inproc"]
    assert not rows["queue ipc"] and not rows["queue tcp"]


def test_jobs_of_all_sizes(context: Context) -> None:
    labels = [job.label for job in jobs(Scope(sizes=((64, 48), (96, 64))), context)]
    assert labels == ["efficiency 64x48", "latency 64x48", "efficiency 96x64", "latency 96x64", "copies"]
