"""The table of live tracks keeps its arrays in step."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.messages import TRACK_DTYPE
from pipeline.track import imm
from pipeline.track.lifecycle import LIFE_DTYPE
from pipeline.track.table import TrackTable

POSITIONS = np.array([[10.0, 20.0], [30.0, 40.0], [50.0, 60.0]])


@pytest.fixture
def tracks() -> TrackTable:
    table = TrackTable()
    reported, life = np.zeros(3, TRACK_DTYPE), np.zeros(3, LIFE_DTYPE)
    reported["id"], life["hits"] = [1, 2, 3], [4, 5, 6]
    table.append(imm.initiate(POSITIONS, 1.0, 50.0), POSITIONS, reported, life)
    return table


def test_selected_tracks_keep_their_rows_of_every_array_in_the_given_order(tracks: TrackTable) -> None:
    tracks.keep(np.array([2, 0]))
    assert len(tracks) == 2
    assert tracks.reported["id"].tolist() == [3, 1]
    assert tracks.life["hits"].tolist() == [6, 4]
    for array in (tracks.births, tracks.mean[:, :2], tracks.state.centre()[:, :2]):
        assert array.tolist() == POSITIONS[[2, 0]].tolist()


def test_new_states_of_some_tracks_leave_the_others(tracks: TrackTable) -> None:
    tracks.set_state_of(np.array([1]), imm.initiate(np.array([[7.0, 8.0]]), 1.0, 50.0))
    assert tracks.mean[:, :2].tolist() == [[10.0, 20.0], [7.0, 8.0], [50.0, 60.0]]


def test_a_track_at_rest_in_the_scene_moves_with_the_camera_in_the_image(tracks: TrackTable) -> None:
    shown = tracks.output(0.5, (1.0, 0.0, 3.0, 0.0, 1.0, -2.0))  # the scene has shifted by (3, -2) px in half a second
    assert shown["vx"].tolist() == [6.0] * 3 and shown["vy"].tolist() == [-4.0] * 3
    assert np.stack([shown["x"], shown["y"]], axis=1).tolist() == POSITIONS.tolist()
    shown["x"] = 0
    assert tracks.reported["x"].tolist() == POSITIONS[:, 0].tolist()
