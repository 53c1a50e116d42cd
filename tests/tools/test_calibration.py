from __future__ import annotations

import numpy as np

from tools.calibration import calibration_frames, portable_addresses


def test_frames_are_spread_evenly_and_exclude_evaluated_pictures(stills):
    everything = calibration_frames([str(stills)], [])
    assert [f.shape for f, _ in everything] == [(64, 96)] * 3 + [(48, 80)]
    assert everything[0][0].dtype == np.uint16
    assert all(change is None for _, change in everything)
    some = calibration_frames([str(stills / "images")], [(stills / "images" / "0.png").resolve()])
    assert len(some) == 3
    assert np.array_equal(some[0][0], everything[1][0])
    recorded = calibration_frames(["test://sky?frames=5&width=64&height=48", str(stills)], [])
    assert [f.shape for f, _ in recorded] == [(48, 64)] * 5 + [(64, 96)] * 3 + [(48, 80)]


def test_manifests_hold_relative_paths_only(tmp_path):
    one, two = tmp_path / "stills", tmp_path / "video" / "moving"
    for folder in (one, two):
        folder.mkdir(parents=True)
    scene = "test://sky?frames=5"
    assert portable_addresses([str(one), scene, str(two)]) == ["stills", scene, "video/moving"]
    assert portable_addresses([str(two)]) == ["moving"]
    assert portable_addresses([scene]) == [scene]
