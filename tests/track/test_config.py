"""Ranges of the settings."""

from __future__ import annotations

import msgspec
import pytest

from pipeline.track.config import TrackConfig


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"gate": 0}, "gate"),
        ({"measurement_sigma": -1}, "measurement_sigma"),
        ({"high_score": 1.5}, "high_score"),
        ({"confirm_hits": 0}, "confirm_hits"),
        ({"gaet": 9}, "gaet"),
        ({"low_score": 0.9, "high_score": 0.5}, "low_score 0.9 is above high_score 0.5"),
        ({"confirm_hits": 6}, "confirm_hits 6 do not fit in confirm_window 5"),
    ],
)
def test_impossible_values_are_refused_by_name(values, message):
    with pytest.raises(msgspec.ValidationError, match=message):
        msgspec.convert(values, TrackConfig)


def test_the_defaults_are_within_their_own_ranges():
    assert msgspec.convert(msgspec.to_builtins(TrackConfig()), TrackConfig) == TrackConfig()
