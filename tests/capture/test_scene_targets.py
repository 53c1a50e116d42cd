import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pipeline.capture.scene import SceneSpec
from pipeline.capture.scene.camera import Camera
from pipeline.capture.scene.targets import PSF_SIGMA, Body, TargetSet


def whole(body, x, y, shape=(64, 64)):
    rows, cols, profile = body.picture(x, y, shape)
    picture = np.zeros(shape)
    picture[rows, cols] = profile
    return picture


def centroid(picture):
    y, x = np.indices(picture.shape)
    return (picture * x).sum() / picture.sum(), (picture * y).sum() / picture.sum()


def test_point_is_the_gaussian_integrated_over_pixels():
    x, y = 30.3, 21.8
    line = [
        norm.cdf(np.arange(64) - at + 0.5, 0, PSF_SIGMA) - norm.cdf(np.arange(64) - at - 0.5, 0, PSF_SIGMA)
        for at in (x, y)
    ]
    centred = norm.cdf(0.5, 0, PSF_SIGMA) - norm.cdf(-0.5, 0, PSF_SIGMA)
    # The profile is cut off at five sigma.
    np.testing.assert_allclose(whole(Body("point", 0), x, y), np.outer(line[1], line[0]) / centred**2, atol=2e-5)


kinds = st.sampled_from(["drone", "plane", "boat"])


@settings(max_examples=60, deadline=None)
@given(kinds, st.floats(1, 20), st.sampled_from([-1.0, 1.0]), st.floats(22, 41), st.floats(22, 41))
def test_body_has_its_centroid_where_asked(kind, size, heading, x, y):
    np.testing.assert_allclose(centroid(whole(Body(kind, size, heading), x, y)), (x, y), atol=1e-3)


@settings(max_examples=30, deadline=None)
@given(st.floats(20, 40), st.floats(20, 40))
def test_moving_by_less_than_a_pixel_keeps_a_points_energy(x, y):
    still, moved = whole(Body("point", 0), 30, 30).sum(), whole(Body("point", 0), x, y).sum()
    assert moved == pytest.approx(still, rel=1e-4)


@pytest.mark.parametrize(("kind", "size"), [("point", 0), ("drone", 9), ("plane", 14), ("boat", 6)])
def test_peak_is_one_on_a_pixel_centre(kind, size):
    assert whole(Body(kind, size), 32, 32).max() == pytest.approx(1, abs=1e-6)


def test_extent_is_the_width_at_half_maximum():
    body = Body("point", 0)
    # For the continuous profile, a Gaussian convolved with a unit pixel.
    assert body.w == pytest.approx(2 * math.sqrt(2 * math.log(2)) * math.hypot(PSF_SIGMA, 12**-0.5), rel=1e-3)
    line = whole(Body("drone", 15), 32, 32)[32]
    assert np.count_nonzero(line > 0.25) == pytest.approx(Body("drone", 15).w, abs=1.5)


@pytest.mark.parametrize(("x", "y"), [(-20, 5), (90, 5), (5, -20), (5, 90)])
def test_outside_the_picture_there_is_nothing(x, y):
    assert not whole(Body("drone", 8), x, y).any()


def test_cut_by_the_edge_is_the_whole_cut_off():
    cut, full = whole(Body("drone", 9), 0.4, 3.7), whole(Body("drone", 9), 20.4, 23.7)
    np.testing.assert_allclose(cut[:20, :20], full[20:40, 20:40], atol=1e-9)


def cast(url):
    spec = SceneSpec.from_url(url)
    return TargetSet(spec, Camera(spec))


@pytest.mark.parametrize("seed", range(4))
def test_benchmark_targets_cross_at_near_constant_velocity(seed):
    actors = cast(f"test://crossing?seed={seed}")
    paths = np.stack([actors.positions(k) for k in range(300)])
    speed = np.linalg.norm(np.diff(paths, axis=0), axis=2)
    assert speed.min() > 0.1
    assert speed.max() < 3.2
    assert np.linalg.norm(np.diff(paths, 2, axis=0), axis=2).max() < 0.01
    for first in range(0, 8, 2):
        apart = np.linalg.norm(paths[:, first] - paths[:, first + 1], axis=1)
        assert apart.min() < 3
        assert apart.max() > 30
    assert actors.snr.min() == 5
    assert actors.snr.max() <= 10


def test_a_longer_scene_brings_new_targets():
    assert len(cast("test://crossing?frames=900").bodies) == 24


def test_demo_targets_come_and_go():
    actors = cast("test://demo")
    present = np.stack([actors.presence(k) for k in range(300)])
    assert (present == 0).any()
    assert (present == 1).any(axis=0).all()
    assert np.abs(np.diff(present, axis=0)).max() < 0.1


def test_no_targets():
    assert cast("test://sky?targets=0").positions(5).shape == (0, 2)
