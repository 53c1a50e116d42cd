"""The search for the largest number of cameras, and small real runs."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tools.benchmark import streams
from tools.benchmark.bare import load
from tools.benchmark.job import Context
from tools.benchmark.observed import Observation, Snapshot
from tools.benchmark.streams import Cameras, Scope, greatest, jobs

TINY = Scope(
    size=(64, 48),
    pace=2.0,
    seconds=1.0,
    warm_up_s=0.1,
    streams=(1, 2),
    sizes=((64, 48),),
    targets=(8,),
    growth_s=0.3,
)


@given(st.integers(0, 300), st.integers(1, 200))
def test_greatest_number_is_found_and_none_tried_twice(limit: int, most: int) -> None:
    tried: list[int] = []

    def holds(count: int) -> bool:
        tried.append(count)
        return count <= limit

    assert greatest(holds, most) == min(limit, most)
    assert len(set(tried)) == len(tried) and max(tried) <= most


def test_cameras_and_growth(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.benchmark.streams.MOST_CAMERAS", 1)
    cameras, *growth = jobs(TINY, context)
    rows = cameras.run().rows["cameras"]
    assert rows[0].cameras == 1
    assert all(row.cores > 0 and row.pace == 2 for row in rows)
    by_axis = [job.run().rows["growth"] for job in growth]
    assert [[row.value for row in rows] for rows in by_axis] == [["1", "2"], ["64x48"], ["8"]]
    for rows in by_axis:
        assert rows[0].times_first == 1
        assert all(row.cpu_ms > 0 and row.frames_per_s > 0 for row in rows)


def test_a_run_that_fails_does_not_lose_the_others(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    row = Cameras(
        cameras=0, size="", backend="", batch=1, pace=1, holds=True, frames_per_s=1, dropped=0, p99_ms=1, cores=1,
        busiest="", busy=1,
    )  # fmt: skip

    def try_cameras(count: int, *_: object) -> Cameras:
        if count > 2:
            raise MemoryError(f"no room for {count}")
        return replace(row, cameras=count)

    monkeypatch.setattr(streams, "try_cameras", try_cameras)
    monkeypatch.setattr(streams, "watch", lambda *_: try_cameras(3))
    cameras, *growth = jobs(TINY, context)
    found = cameras.run()
    assert [row.cameras for row in found.rows["cameras"]] == [1, 2]
    assert [line.partition(" (")[0] for line in found.missing] == [
        f"{count} cameras: MemoryError: no room for {count}" for count in (4, 3)
    ]
    assert growth[0].run().rows == {}
    assert [line.partition(":")[0] for line in growth[0].run().missing] == [
        "growth with streams, 1",
        "growth with streams, 2",
    ]


@pytest.mark.parametrize(("captured", "dropped", "holds"), [(50, 0, True), (47, 0, False), (50, 1, False)])
def test_cameras_hold_if_none_drops_frames_or_falls_behind(
    context: Context, monkeypatch: pytest.MonkeyPatch, captured: int, dropped: int, holds: bool
) -> None:
    begin = Snapshot(0, {"detect": 0.0}, {"s0": 0, "s1": 0}, {"s0": 0, "s1": 0}, {"detect": (1, 0.0)})
    end = Snapshot(
        2 * 10**9, {"detect": 1.0}, {"s0": captured, "s1": 50}, {"s0": 0, "s1": dropped}, {"detect": (10**9, 0.5)}
    )
    facts = {"backend": "torch", "precision": "fp32"}
    monkeypatch.setattr(streams, "watch", lambda *_: Observation([], begin, end, facts))
    assert streams.try_cameras(2, replace(TINY, pace=25.0), load(context), context).holds is holds


def test_only_the_requested_numbers_of_cameras(context: Context) -> None:
    (job,) = jobs(replace(TINY, cameras=(2,)), context)
    (row,) = job.run().rows["cameras"]
    assert row.cameras == 2
    assert row.busiest in ("preprocess", "detect", "track", "sinks")
    assert 0 < row.busy <= 1
