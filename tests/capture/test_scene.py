import functools

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.stats import norm

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.capture.scene.spec import NAMES
from pipeline.capture.scene.targets import PSF_SIGMA

CLEAN = "noise=0&fpn=0&dead=0"


@functools.cache
def scene(url):
    return Scene(SceneSpec.from_url(url))


@pytest.mark.parametrize("name", NAMES)
def test_same_spec_same_bytes_in_any_order(name):
    url = f"test://{name}?frames=40&seed=5&width=160&height=128"
    first, again = Scene(SceneSpec.from_url(url)), Scene(SceneSpec.from_url(url))
    forward = {k: first.frame(k).tobytes() for k in (0, 7, 8, 39)}
    assert {k: again.frame(k).tobytes() for k in (39, 8, 0, 7)} == forward
    assert again.truth(8) == first.truth(8)
    assert len(set(forward.values())) == 4
    assert Scene(SceneSpec.from_url(url.replace("seed=5", "seed=6"))).frame(7).tobytes() != forward[7]


@pytest.mark.parametrize("name", NAMES)
def test_frames_are_16_bit_pictures_of_the_specified_size(name):
    made = scene(f"test://{name}?width=97&height=64&frames=12&dead=0")
    assert len(made) == 12
    for k in (0, 11):
        frame = made.frame(k)
        assert (frame.shape, frame.dtype) == ((64, 97), np.uint16)
        assert 2000 < frame.min() < frame.max() < 8000
    for k in (-1, 12):
        for ask in (made.frame, made.truth, made.ego):
            with pytest.raises(IndexError, match=str(k)):
                ask(k)


def test_bit_depth_scales_the_counts():
    fine, coarse = (scene(f"test://sky?{CLEAN}&bit_depth={bits}").frame(3).astype(int) for bits in (16, 10))
    assert np.abs(fine - coarse * 64).max() <= 33
    assert scene("test://sky?bit_depth=10&dead=0.01").frame(0).max() == 1023


@pytest.mark.parametrize(("snr", "seed"), [(5, 0), (5, 1), (12, 2)])
def test_measured_snr_matches_the_spec(snr, seed):
    made = scene(f"test://sky?camera=still&targets=1&fpn=0&dead=0&snr={snr}&seed={seed}")
    fits, residuals = [], []
    for k in range(0, 300, 2):
        seen = [t for t in made.truth(k) if 20 < t.x < 299 and 20 < t.y < 235]
        if not seen:
            continue
        (target,) = seen
        assert target.snr == pytest.approx(snr)
        rows, cols = (slice(round(v) - 14, round(v) + 15) for v in (target.y, target.x))
        noise = made.frame(k)[rows, cols] - made.radiance(k, targets=False)[rows, cols].astype(float)
        y, x = np.mgrid[rows, cols]
        profile = np.ones(x.shape)
        for at in (x - target.x, y - target.y):
            profile *= norm.cdf(at + 0.5, 0, PSF_SIGMA) - norm.cdf(at - 0.5, 0, PSF_SIGMA)
        profile /= (norm.cdf(0.5, 0, PSF_SIGMA) - norm.cdf(-0.5, 0, PSF_SIGMA)) ** 2
        fits.append((noise * profile).sum() / (profile**2).sum())
        residuals.append(noise[profile < 1e-6])
    assert len(fits) > 50
    # Standard error of the fit: one sigma over the root of frames times pixels under the profile.
    assert np.mean(fits) / np.concatenate(residuals).std() == pytest.approx(snr, abs=0.2 + 0.03 * snr)


def test_noise_sigma_matches_the_spec_at_reference_level():
    made = scene("test://ground?camera=still&targets=0&fpn=0&dead=0&noise=40")
    stack = np.stack([made.frame(k) for k in range(60)]).astype(float)
    level = stack.mean(axis=0)
    near = np.abs(level - 4000) < 100
    assert np.sqrt(stack.var(axis=0, ddof=1)[near].mean()) == pytest.approx(40, rel=0.02)
    warm, cold = level > np.quantile(level, 0.9), level < np.quantile(level, 0.1)
    assert stack.var(axis=0)[warm].mean() > 1.02 * stack.var(axis=0)[cold].mean()


@pytest.mark.parametrize("name", ["sky", "sea", "crossing"])
def test_truth_is_the_centroid_of_the_noiseless_target(name):
    # A single target, so that no other overlaps it.
    made = scene(f"test://{name}?targets=1&{CLEAN}&snr=20&camera=jitter")
    checked = 0
    for k in range(0, 300, 12):
        alone = made.radiance(k).astype(float) - made.radiance(k, targets=False)
        for target in made.truth(k):
            if target.visible and 8 < target.x < 311 and 8 < target.y < 247:
                y, x = np.indices(alone.shape)
                assert (alone * x).sum() / alone.sum() == pytest.approx(target.x, abs=0.02)
                assert (alone * y).sum() / alone.sum() == pytest.approx(target.y, abs=0.02)
                checked += 1
    assert checked > 8


@pytest.mark.parametrize("camera", ["pan", "jitter", "vibration", "handheld", "pan+handheld+jitter"])
@pytest.mark.parametrize("name", ["sky", "crossing"])
def test_ego_motion_registers_the_background(name, camera):
    made = scene(f"test://{name}?{CLEAN}&camera={camera}&width=160&height=128&frames=60")
    inner = np.s_[8:-8, 8:-8]

    def residual(before, after, matrix):
        a, b, tx, c, d, ty = matrix
        y, x = np.indices(before.shape)
        inverse = np.linalg.inv([[a, b], [c, d]])
        at = np.tensordot(inverse, np.stack([x - tx, y - ty]), 1)
        return (map_coordinates(before, at[::-1], order=5, mode="nearest") - after)[inner].std()

    assert made.ego(0) == (1, 0, 0, 0, 1, 0)
    for k in (1, 37):
        before, after = (made.radiance(i, targets=False).astype(float) for i in (k - 1, k))
        ego = made.ego(k)
        wrong = (*ego[:2], ego[2] + 0.25, *ego[3:5], ego[5] + 0.25)
        contrast = (after - gaussian_filter(after, 3))[inner].std()
        assert residual(before, after, ego) < 0.1 * contrast
        assert residual(before, after, ego) < 0.5 * residual(before, after, wrong)


def test_still_camera_stands_still():
    made = scene(f"test://sky?{CLEAN}&targets=0&camera=still")
    assert made.ego(17) == (1, 0, 0, 0, 1, 0)
    np.testing.assert_array_equal(made.frame(0), made.frame(299))


@pytest.mark.parametrize("pan", [4, -4])
def test_pan_turns_back_at_the_end_of_its_sector(pan):
    made = scene(f"test://sky?width=64&height=48&camera=pan&pan_px={pan}&frames=100")
    assert made.ego(1)[2] == pytest.approx(-pan)
    assert made.ego(40)[2] == pytest.approx(pan)
    made.frame(32)


def test_fixed_pattern_stays_with_the_sensor():
    made = scene("test://sky?noise=0&fpn=40&dead=0&camera=pan&pan_px=3")
    pattern = [made.frame(k) - made.radiance(k).astype(float) for k in (0, 60)]
    assert np.abs(pattern[0] - pattern[1]).max() <= 1.01
    rough = pattern[0] - gaussian_filter(pattern[0], (0, 6))
    assert rough.std() == pytest.approx(40, rel=0.1)


def test_dead_pixels_stay_dead():
    made = scene("test://sky?dead=0.01&camera=pan")
    stack = np.stack([made.frame(k) for k in range(0, 50, 5)])
    stuck = (stack == stack[0]).all(axis=0)
    assert np.count_nonzero(stuck) == round(0.01 * 320 * 256)
    assert set(np.unique(stack[0][stuck])) == {0, 2**14 - 1}


def test_sea_has_a_horizon_waves_that_move_and_glint_that_flickers():
    made = scene(f"test://sea?{CLEAN}&camera=still&targets=0")
    stack = np.stack([made.radiance(k) for k in range(0, 50, 2)])
    horizon = round(0.42 * 256)
    step = np.diff(stack[0].mean(axis=1))
    assert abs(int(np.argmin(step)) - horizon) <= 2
    moves = stack.std(axis=0, dtype=float)
    assert not np.ptp(stack[:, : horizon - 3], axis=0).any()
    assert np.median(moves[horizon + 10 :]) > 2
    assert moves[horizon + 5 :].max() > 60


def test_targets_behind_cloud_lose_contrast_and_are_marked():
    hidden = shown = 0
    for seed in range(3):
        made = scene(f"test://sky?targets=9&seed={seed}&{CLEAN}&snr=10")
        for k in range(0, 300, 30):
            for target in made.truth(k):
                assert target.visible == (target.snr >= 5)
                hidden += not target.visible
                shown += target.visible
    assert hidden > 5
    assert shown > hidden


def test_benchmark_shows_its_eight_targets():
    made = scene("test://crossing")
    seen = [[t for t in made.truth(k) if t.visible] for k in range(0, 300, 10)]
    assert {t.id for frame in seen for t in frame} == set(range(8))
    assert np.mean([len(frame) for frame in seen]) > 6
    assert min(t.snr for frame in seen for t in frame) == 5
