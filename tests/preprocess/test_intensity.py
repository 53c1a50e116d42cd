from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nets.normalisation import FrameZScore, frame_statistics
from pipeline.messages import Intensity
from pipeline.preprocess.intensity import measure
from tests.conftest import real_data


def test_by_hand():
    # Mean 20; deviations -10, -10, 10, 10; standard deviation 10.
    picture = np.array([[10, 10], [30, 30]], np.uint16)
    assert measure(picture, FrameZScore(clip=6.0)) == Intensity(mean=20.0, gain=0.1)


def test_an_even_frame_is_divided_by_the_floor():
    assert measure(np.full((5, 7), 40_000, np.uint16), FrameZScore(min_std=4.0)).gain == 0.25


@given(st.integers(0, 2**32), st.integers(0, 60_000), st.integers(1, 400))
@settings(max_examples=50, deadline=None)
def test_is_the_z_score_that_training_uses(seed, offset, spread):
    picture = (offset + np.random.default_rng(seed).integers(0, spread, (17, 23))).astype(np.uint16)
    norm = FrameZScore()
    mean, std = frame_statistics(picture)
    intensity = measure(picture, norm)
    assert (intensity.mean, intensity.gain) == (mean, 1 / max(std, norm.min_std))
    counts = picture.astype(np.float64)
    assert intensity.mean == pytest.approx(counts.mean(), rel=1e-9)
    assert 1 / intensity.gain == pytest.approx(max(counts.std(), norm.min_std), rel=1e-9)


def test_the_same_scene_in_8_and_16_bit_looks_the_same_to_the_network():
    path = sorted(real_data("nuaa_sirst", "images").iterdir())[0]
    narrow = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    wide = narrow.astype(np.uint16) * 64 + 5000
    seen = []
    for picture in (narrow, wide):
        intensity = measure(picture, FrameZScore())
        seen.append((picture - intensity.mean) * intensity.gain)
    assert np.ptp(seen[0]) > 1
    assert np.allclose(seen[0], seen[1], atol=1e-9)
