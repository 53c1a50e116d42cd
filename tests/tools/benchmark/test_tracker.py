"""Simulated targets and the trackers on them."""

from __future__ import annotations

import numpy as np
import pytest
from msgspec.structs import replace

from tools import other_trackers
from tools.benchmark.job import Context
from tools.benchmark.swarm import SwarmSpec, draw
from tools.benchmark.tracker import Scope, jobs

SPEC = SwarmSpec(targets=40, frames=50, width=200, height=100)


def test_the_simulation_has_the_requested_statistics() -> None:
    swarm = draw(SPEC)
    assert swarm.truth.shape == (50, 40, 2)
    assert (swarm.truth >= 0).all() and (swarm.truth <= (199, 99)).all()
    count = np.array([len(table) for table in swarm.detections])
    assert count.mean() == pytest.approx(40 * 0.92 + 5, rel=0.05)
    step = np.linalg.norm(np.diff(swarm.truth, axis=0), axis=2)
    assert np.sqrt(np.square(step).mean() / 2) * 25 == pytest.approx(40, rel=0.3)
    assert np.array_equal(draw(SPEC).detections[7], swarm.detections[7])


def test_detections_lie_where_targets_are() -> None:
    swarm = draw(replace(SPEC, false=0.0))
    for truth, table in zip(swarm.truth, swarm.detections, strict=True):
        points = np.stack([table["x"], table["y"]], axis=1)
        nearest = np.linalg.norm(points[:, None] - truth[None], axis=2).min(axis=1)
        assert nearest.max() < 5 * 0.5


def test_all_trackers_on_a_few_targets(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(other_trackers, "AVAILABLE", False)
    (job,) = jobs(Scope(targets=(3,), frames=60), context)
    found = job.run()
    rows = {row.tracker: row for row in found.rows["trackers"]}
    assert list(rows) == ["ours", "ours, M of N"]
    assert rows["ours, M of N"].hota > 0.8, "targets far apart and nearly always detected"
    assert rows["ours"].times_ours == 1
    assert all(0 < row.us <= row.p99_us for row in rows.values())
    assert found.missing == ["ByteTrack and OC-SORT: not installed (pip install trackers)"]


def test_trackers_of_the_library_hold_targets(context: Context) -> None:
    pytest.importorskip("trackers", reason="pip install trackers")
    (job,) = jobs(Scope(targets=(3,), frames=60), context)
    rows = {row.tracker: row for row in job.run().rows["trackers"]}
    assert rows["ByteTrack"].hota > 0.6 and rows["OC-SORT"].hota > 0.5
