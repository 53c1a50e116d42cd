"""Ranges of the tracker settings."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest

from pipeline.messages import EgoMotion
from pipeline.track.config import TrackConfig
from tests.track.scenes import STILL, detections, play, wander


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gate": 0}, "gate"),
        ({"measurement_sigma": -1}, "measurement_sigma"),
        ({"high_score": 1.5}, "high_score"),
        ({"confirm_hits": 0}, "confirm_hits"),
        ({"gaet": 9}, "gaet"),
        ({"gate": math.inf}, "gate"),
        ({"gate": math.nan}, "gate"),
        ({"max_tracks": 10_001}, "max_tracks"),
        ({"low_score": 0.9, "high_score": 0.5}, "low_score 0.9 is above high_score 0.5"),
        ({"confirm_hits": 6}, "confirm_hits 6 do not fit in confirm_window 5"),
    ],
)
def test_invalid_values_are_rejected_by_name(values, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(values, TrackConfig)


@pytest.mark.parametrize("value", [math.inf, 1e308, 10_001.0])
@pytest.mark.parametrize("field", [field.name for field in msgspec.structs.fields(TrackConfig)])
def test_every_setting_is_bounded(field, value):
    if field != "clutter":
        with pytest.raises(msgspec.ValidationError, match=field):
            msgspec.convert({field: value}, TrackConfig)


@pytest.mark.parametrize("bound", [1e-9, 10_000.0])
def test_the_tracker_runs_at_the_bounds_of_its_settings(bound):
    lengths = ("cruise_sigma", "accel_sigma", "measurement_sigma", "birth_speed_sigma", "gate", "max_gate_px")
    errors = ("ego_sigma", "ego_sigma_lost", "clear_snr", "moved_px", "max_coast_s", "remember_s")
    config = msgspec.convert(dict.fromkeys((*lengths, *errors), bound), TrackConfig)
    lost = EgoMotion(ok=False)
    for ego in (STILL, lost):
        frames = [detections(points) for points in wander(seed=1, frames=40)]
        for tracks in play(frames, config, ego=ego):
            assert np.isfinite([tracks[name] for name in ("x", "y", "vx", "vy")]).all()


def test_the_defaults_are_valid():
    assert msgspec.convert(msgspec.to_builtins(TrackConfig()), TrackConfig) == TrackConfig()
