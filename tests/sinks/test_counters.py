"""Counters of results over a long run."""

from __future__ import annotations

import pytest

from pipeline.messages import COASTING, CONFIRMED, TENTATIVE, EgoMotion
from pipeline.sinks import counters
from pipeline.sinks.counters import Counters
from tests.messages import KNOWN, tracked


def test_every_track_is_counted_once_with_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counters, "MAX_KNOWN", 40)
    counted = Counters()
    for seq in range(600):
        states = {1: CONFIRMED, seq + 10: TENTATIVE, seq + 9: CONFIRMED, seq + 8: CONFIRMED}
        counted.count(tracked([{"id": id_, "state": state} for id_, state in states.items()], seq=seq), seq)
        assert len(counted._known) <= 40
    assert counted.report().tracks_confirmed == 1 + 601


def test_only_confirmed_tracks_and_trusted_camera_motion_are_counted() -> None:
    counted = Counters()
    for seq, ego in enumerate((KNOWN, EgoMotion(ok=False), KNOWN)):
        states = enumerate((TENTATIVE, CONFIRMED, COASTING))
        counted.count(tracked([{"id": id_, "state": state} for id_, state in states], seq=seq, ego=ego), seq)
    assert (counted.report().tracks_confirmed, counted.report().ego_ok) == (1, 2)
