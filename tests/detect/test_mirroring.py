from __future__ import annotations

import numpy as np
import pytest

from pipeline.detect.mirroring import ORIENTATIONS, mirror


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("frame", range(2 * ORIENTATIONS))
def test_mirroring_twice_restores_the_plane(dtype, frame):
    whole = np.random.default_rng(0).uniform(0, 200, (7, 12)).astype(dtype)
    plane = whole[1:, 2:]  # not contiguous
    plane.flags.writeable = False
    once = mirror(plane, frame)
    assert once.dtype == dtype
    assert np.array_equal(mirror(once, frame), plane)


def test_each_of_four_frames_in_turn_has_its_own_orientation():
    corners = np.array([[1, 0, 2], [0, 0, 0], [3, 0, 4]], np.uint8)
    first = [int(mirror(corners, frame)[0, 0]) for frame in range(100, 108)]
    assert first == [1, 3, 4, 2, 1, 3, 4, 2]
