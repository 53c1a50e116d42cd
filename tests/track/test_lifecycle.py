"""M of N as a table."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import COASTING, CONFIRMED, TENTATIVE
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.lifecycle import hopeful, next_state

T, C, K, GONE = TENTATIVE, CONFIRMED, COASTING, None


@pytest.mark.parametrize(
    ("m", "n", "hits", "states"),
    [
        (1, 1, "1001", [C, K, K, C]),
        (2, 3, "11", [T, C]),
        (2, 3, "101", [T, T, C]),
        (2, 3, "100", [T, T, GONE]),
        (3, 3, "10", [T, GONE]),
        (3, 5, "10101", [T, T, T, T, C]),
        (3, 5, "111000", [T, T, C, K, K, K]),
        (3, 5, "1000", [T, T, T, GONE]),
        (3, 5, "11000", [T, T, T, T, GONE]),
        (3, 5, "1101011", [T, T, T, C, K, C, C]),
    ],
)
def test_m_of_n(m, n, hits, states):
    config = TrackConfig(confirm_hits=m, confirm_window=n, clutter=ClutterConfig(enabled=False))
    state, count = np.array([C if m == 1 else T]), np.array([1])
    seen = [int(state[0])]
    for age, hit in enumerate(hits[1:], start=2):
        count += int(hit)
        state = next_state(state, count, np.array([0]), np.array([hit == "1"]), config)
        alive = hopeful(state, count, np.array([age]), config)[0]
        seen.append(int(state[0]) if alive else GONE)
    assert seen == states


@pytest.mark.parametrize(
    ("state", "hits", "new_hits", "after"),
    [(T, 9, 1, T), (T, 9, 2, C), (T, 2, 2, T), (C, 9, 0, C), (K, 9, 0, C)],
)
def test_what_stands_in_the_scene_is_not_confirmed_but_kept(state, hits, new_hits, after):
    config = TrackConfig(confirm_hits=3, confirm_window=5, clutter=ClutterConfig(new_hits=2, few=0))
    column = np.array([hits])
    found = next_state(np.array([state]), column, np.array([new_hits]), np.array([True]), config)
    assert found.tolist() == [after]
    assert hopeful(found, column, np.array([100]), config).tolist() == [hits >= 3]
