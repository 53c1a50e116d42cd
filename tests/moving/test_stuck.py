"""Stuck pixels are learned and replaced; the scene stays unchanged."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from pipeline.messages import EgoMotion
from pipeline.moving.stuck import MOVED_PX, StuckPixels
from pipeline.preprocess.ego_motion import STILL

H, W = 40, 60
HOT, DEAD = (10, 20), (30, 40)


def frame(rng, shift):
    x = np.arange(W) + shift
    return (1000 + 100 * np.sin(x / 5)[None, :] + rng.normal(0, 8, (H, W))).astype(np.float32)


def panned(px, ok=True):
    """Motion of the scene when the camera pans to the right."""
    return EgoMotion(matrix=(1.0, 0.0, -px, 0.0, 1.0, 0.0), ok=ok, method="flow")


def with_point(picture, y, x, sigma, peak):
    """Add a Gaussian spot, integrated over each pixel, at a position that need not be a pixel centre."""

    def share(centre, length):
        edge = [0.5 * (1 + math.erf((k - 0.5 - centre) / (sigma * math.sqrt(2)))) for k in range(length + 1)]
        return np.diff(edge)

    spot = np.outer(share(y, H), share(x, W))
    return (picture + peak * spot / spot.max()).astype(np.float32)


def places(rows):
    return {divmod(int(at), W) for at in rows["at"]}


def film(pans, picture_at, ok=True, seed=0):
    """Film while the camera pans by ``pans`` px per frame; yield the defects known after each frame."""
    rng, stuck, at = np.random.default_rng(seed), StuckPixels(), 0.0
    for pan in pans:
        at += pan
        mended, replaced = stuck.mend(picture_at(frame(rng, at), at), panned(pan, ok))
        assert places(stuck.defects) <= places(replaced)
        assert np.array_equal(np.take(mended, stuck.defects["at"]), stuck.defects["count"])
        yield places(stuck.defects)


def broken(picture, at):
    picture[HOT], picture[DEAD] = 16383, 0
    return picture


def test_pixels_that_stick_out_of_a_moving_scene_are_mended():
    rng, stuck, passed = np.random.default_rng(0), StuckPixels(), None
    for k in range(20):
        picture = broken(frame(rng, k), k)
        whole = picture.copy()
        passed, mended = stuck.mend(picture, STILL)
        assert np.array_equal(picture, whole)
    assert passed is not None
    changed = np.argwhere(passed != whole).tolist()
    assert [list(divmod(at, W)) for at in mended["at"]] == changed
    assert mended["count"].tolist() == passed[passed != whole].tolist()
    assert list(HOT) in changed
    assert list(DEAD) in changed
    assert len(changed) < 6
    assert abs(passed[HOT] - whole[10, 19]) < 60


def test_a_target_that_flies_by_is_left_alone():
    rng, stuck = np.random.default_rng(0), StuckPixels()
    for k in range(60):
        picture = frame(rng, k)
        if k >= 20:
            picture[20, k - 15] += 200
        passed, _ = stuck.mend(picture, STILL)
        if k >= 20:
            assert passed[20, k - 15] == picture[20, k - 15]


def test_noise_free_compressed_frames_are_left_unchanged():
    stuck, picture = StuckPixels(), np.full((H, W), 90, np.float32)
    for _ in range(5):
        assert np.array_equal(stuck.mend(picture, STILL)[0], picture)


def test_pixels_that_stand_out_while_the_scene_moves_are_defects():
    known = list(film([0.25] * 12, broken))
    first = known.index({HOT, DEAD})
    assert first == MOVED_PX / 0.25 + 1  # one frame more, since that many move it by no more than MOVED_PX
    assert known[:first] == [set()] * first
    assert known[first:] == [{HOT, DEAD}] * (12 - first)


def test_defects_stay_known_when_the_camera_points_back():
    assert list(film([1.0] * 4 + [-1.0] * 4 + [0.0] * 30, broken))[8:] == [{HOT, DEAD}] * 30


@pytest.mark.parametrize(("pan", "ok"), [(0.0, True), (1.0, False)])
def test_nothing_is_a_defect_without_camera_motion(pan, ok):
    assert not any(film([pan] * 40, broken, ok))


@pytest.mark.parametrize("peak", [60, 80, 120, 400])
@pytest.mark.parametrize("offset", [0.0, 0.3, 0.5])
@pytest.mark.parametrize("sigma", [0.5, 0.7, 1.0])
def test_target_that_the_camera_follows_is_not_a_defect(sigma, offset, peak):
    """It stays on its pixel while the scene moves below it, but optics spread it over its neighbours."""
    for seed in range(4):
        known = film([1.0] * 80, lambda picture, at: with_point(picture, 20, 30 + offset, sigma, peak), seed=seed)
        assert not any(known)


def test_defects_are_replaced_first_where_much_stands_out(monkeypatch):
    monkeypatch.setattr("pipeline.moving.stuck.MAX_OBJECTS", 20)

    def picture_at(picture, at):
        picture = broken(picture, at)
        if at >= 12:  # the camera stands, and the upper part of the scene is sharp
            picture[:8:2, ::2] += 400
        return picture

    known = list(film([1.0] * 12 + [0.0] * 30, picture_at))
    assert known[-30:] == [{HOT, DEAD}] * 30


def test_points_of_the_scene_are_not_defects():
    known = film([0.2] * 200, lambda picture, at: with_point(picture, 20, 50 - at, 0.5, 400))
    assert not any(known)


def test_a_pixel_about_which_the_scene_turns_has_not_seen_it_move():
    stuck, rng, (y, x) = StuckPixels(), np.random.default_rng(0), HOT
    c, s = math.cos(math.radians(1)), math.sin(math.radians(1))
    turn = EgoMotion(matrix=(c, -s, x - c * x + s * y, s, c, y - s * x - c * y), ok=True, method="flow")
    for k in range(30):
        stuck.mend(broken(frame(rng, k), k), turn)
    assert places(stuck.defects) == {DEAD}


@pytest.mark.parametrize(("sigmas", "replaced"), [(4.0, False), (6.0, True)])
def test_a_pixel_stands_out_from_five_standard_deviations_of_the_frame(sigmas, replaced):
    """The frames are alike, so that the running mean approaches the difference and leaves no chance."""
    rng, stuck = np.random.default_rng(0), StuckPixels()
    picture = rng.normal(1000, 8, (H, W)).astype(np.float32)
    picture[19:22, 29:32] = 1000
    excess = (picture - cv2.medianBlur(picture, 3))[::3, ::3]
    picture[20, 30] += sigmas * 1.4826 * np.median(np.abs(excess))
    for _ in range(80):
        _, found = stuck.mend(picture, STILL)
    assert ((20, 30) in places(found)) == replaced


@pytest.mark.parametrize(("peak", "replaced"), [(2, False), (4, True)])
def test_without_noise_a_pixel_stands_out_from_two_and_a_half_counts(peak, replaced):
    stuck, picture = StuckPixels(), np.full((H, W), 90, np.float32)
    picture[20, 30] += peak
    for _ in range(80):
        _, found = stuck.mend(picture, STILL)
    assert places(found) == ({(20, 30)} if replaced else set())
