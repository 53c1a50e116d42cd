"""The top-hat detector on pictures with known spots."""

from __future__ import annotations

import numpy as np
import pytest

from tools.tophat import BIRTH_Z, THRESHOLD, find


def scene(spots, dtype=np.uint8, sigma=2.0, base=100.0):
    """Noise on a gradient with Gaussian spots (x, y, height)."""
    rng = np.random.default_rng(0)
    y, x = np.indices((96, 128))
    picture = base + 0.3 * x + rng.normal(0, sigma, x.shape)
    for column, row, height in spots:
        picture += height * np.exp(-((x - column) ** 2 + (y - row) ** 2) / (2 * 1.2**2))
    return np.clip(picture, 0, np.iinfo(dtype).max).round().astype(dtype)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_bright_and_dark_spots_are_found_where_they_are(dtype):
    table = find(scene([(30.3, 40.6, 60), (90.0, 20.5, -60)], dtype))
    strong = table[table["score"] >= THRESHOLD]
    where = sorted(zip(strong["x"].tolist(), strong["y"].tolist(), strict=True))
    assert len(where) == 2
    assert where[0] == pytest.approx((30.3, 40.6), abs=0.3)
    assert where[1] == pytest.approx((90.0, 20.5), abs=0.3)
    assert (strong["snr"] >= BIRTH_Z).all()


def test_noise_and_a_uniform_picture_have_no_detections():
    assert not (find(scene([]))["score"] >= THRESHOLD).any()
    assert len(find(np.full((64, 64), 7, np.uint8))) == 0


def test_a_spot_at_the_border_stays_inside_the_picture():
    (spot,) = find(scene([(0, 0, 120)]))[:1]
    assert (spot["bx"], spot["by"]) == (0, 0)
    assert -0.5 <= spot["x"] <= 3
    assert -0.5 <= spot["y"] <= 3


def test_only_the_best_are_kept():
    spots = [(x, y, 40 + x) for x in range(8, 128, 12) for y in range(8, 96, 10)]
    table = find(scene(spots, sigma=0.1))
    assert len(table) <= 60
    assert (np.diff(table["snr"]) <= 0).all()
