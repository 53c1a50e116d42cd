"""Change detection over the frames of one source: dim targets are found, and unreliable frames give no evidence."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest

from pipeline.capture.scene import Scene, SceneSpec
from pipeline.messages import IDENTITY, EgoMotion
from pipeline.moving.change_detection import MAX_THRESHOLD, RAW_SHARES, ChangeDetector
from pipeline.moving.config import MovingConfig
from pipeline.moving.peaks import find_peaks
from pipeline.moving.threshold_smoothing import UNCERTAINTY
from pipeline.preprocess.ego_motion import EgoMotionConfig, EgoMotionEstimator

STILL = EgoMotion(matrix=IDENTITY, inliers=50, ok=True, method="flow")
LOST = EgoMotion(matrix=IDENTITY, inliers=0, ok=False, method="none")
RATE = 25.0
ALL_PAST_FRAMES = 24
"""Number of frames after which there are three past frames to compare with."""


def noise(seed, shape=(128, 160), sigma=20.0):
    return np.clip(np.random.default_rng(seed).normal(3000, sigma, shape), 0, 65535).astype(np.uint16)


def texture(shape=(128, 160), sigma=60.0):
    soft = cv2.GaussianBlur(np.random.default_rng(7).normal(0, 1, shape), (0, 0), 2)
    return (soft * sigma / soft.std()).astype(np.int32)


def in_8_bits(frame):
    return (frame - 2900).clip(0, 255).astype(np.uint8)


def evidence(frames, detector=None, ego=STILL, start=0):
    detector = detector or ChangeDetector(MovingConfig())
    return [detector.update(frame, ego, (start + k) / RATE) for k, frame in enumerate(frames)]


def watched(url, frames=90, shift=0):
    """Yield, for each frame with evidence, its index, the pixels above threshold and the visible targets (id, y, x)."""
    scene = Scene(SceneSpec.from_url(url))
    estimator, detector = EgoMotionEstimator(EgoMotionConfig()), ChangeDetector(MovingConfig())
    for k in range(frames):
        picture = scene.frame(k) >> shift
        seen = detector.update(picture, estimator.estimate(picture), k / RATE)
        if seen is not None:
            visible = [(truth.id, round(truth.y), round(truth.x)) for truth in scene.truth(k) if truth.visible]
            yield k, seen.significance > seen.threshold, visible


def around(y, x, reach):
    return slice(max(0, y - reach), y + reach + 1), slice(max(0, x - reach), x + reach + 1)


def count_false_peaks(over, visible):
    over = over.copy()
    for _, y, x in visible:
        over[around(y, x, 6)] = False
    return cv2.connectedComponents(over.astype(np.uint8))[0] - 1


@pytest.mark.parametrize("url", ["test://sky?snr=5&targets=8", "test://crossing?snr=5&jitter_px=2"])
def test_targets_of_snr_5_under_a_moving_camera_are_detected_with_few_false_peaks(url):
    early, hits, false = [], [], []
    for k, over, visible in watched(url):
        (hits if k >= ALL_PAST_FRAMES else early).extend(over[around(y, x, 2)].any() for _, y, x in visible)
        if k >= ALL_PAST_FRAMES:
            false.append(count_false_peaks(over, visible))
    assert len(false) == 90 - ALL_PAST_FRAMES
    assert np.mean(early) > 0.3
    assert np.mean(hits) > 0.85
    assert np.mean(false) < 2 * MovingConfig().false_peaks * RAW_SHARES[1]


def test_noise_of_half_a_count_gives_the_same_detections_as_noise_of_sixteen():
    hits, false = [], []
    for shift in (0, 5):
        seen = [
            found
            for found in watched("test://sky?snr=6&targets=8&camera=pan", 54, shift)
            if found[0] >= ALL_PAST_FRAMES
        ]
        hits.append([(k, name) for k, over, places in seen for name, y, x in places if over[around(y, x, 2)].any()])
        false.append([count_false_peaks(over, places) for _, over, places in seen])
    all_counts, few = (set(found) for found in hits)
    assert len(all_counts) > 150
    assert len(all_counts & few) > 0.9 * len(all_counts | few)
    assert np.mean(false[1]) < 2 * MovingConfig().false_peaks * RAW_SHARES[1]


def test_fifty_targets_do_not_reduce_sensitivity():
    hits = []
    for k, over, visible in watched("test://sky?snr=6&targets=50"):
        if k >= 2 * ALL_PAST_FRAMES:
            hits += [over[around(y, x, 2)].any() for _, y, x in visible]
    assert np.mean(hits) > 0.8


def test_evidence_requires_a_past_frame_also_after_an_interruption():
    detector = ChangeDetector(MovingConfig(interval_s=0.2))
    first = [seen is not None for seen in evidence([noise(k) for k in range(30)], detector)]
    begin = first.index(True)
    assert all(first[begin:])
    assert begin == 2, "a third of five frames"
    for broken in (
        evidence([(noise(50) + texture()).astype(np.uint16)], detector, LOST, start=30),
        evidence([noise(51, (96, 96))], detector, start=31),
        evidence([noise(52, (96, 96))], detector, start=20),
        evidence([noise(53, (96, 96))], detector, start=200),
    ):
        assert broken == [None]
    again = [seen is not None for seen in evidence([noise(60 + k) for k in range(30)], detector, start=300)]
    assert again == first


@pytest.mark.parametrize("textured", [False, True])
def test_unknown_camera_motion_is_accepted_over_a_clear_sky_only(textured):
    detector, hits, count = ChangeDetector(MovingConfig()), [], 0
    for k in range(60):
        x, y = 20 + 2 * k, 60 + k // 3
        frame = noise(k) + np.linspace(0, 300, 128, dtype=np.int32)[:, None] + textured * np.roll(texture(), 3 * k, 1)
        frame[around(y, x, 1)] += 60
        seen = detector.update(frame.astype(np.uint16), LOST, k / RATE)
        count += seen is not None
        if seen is not None and k >= ALL_PAST_FRAMES:
            hits.append((seen.significance > seen.threshold)[around(y, x, 2)].any())
    if textured:
        assert count == 0
    else:
        assert np.mean(hits) > 0.9


@pytest.mark.parametrize("shape", [(1, 1), (3, 200), (31, 32)])
def test_tiny_frames_give_no_evidence(shape):
    assert evidence([noise(k, shape) for k in range(30)]) == [None] * 30


def test_pure_noise_stays_within_the_false_peak_rate():
    seen = [found for found in evidence([noise(k) for k in range(80)]) if found is not None]
    assert len(seen) > 50
    over = [cv2.connectedComponents((found.significance > found.threshold).astype(np.uint8))[0] - 1 for found in seen]
    assert np.mean(over) < 2 * MovingConfig().false_peaks * RAW_SHARES[1]
    assert all(((found.threshold > 3) & (found.threshold < 7 + UNCERTAINTY)).all() for found in seen)


def test_sharpness_separates_points_from_jittering_edges_and_has_little_weight_in_noise():
    rng = np.random.default_rng(0)
    texture = 120 + 80 * cv2.GaussianBlur(rng.normal(size=(140, 180)), (0, 0), 2.5)
    points, edges = [], []
    detector = ChangeDetector(MovingConfig())
    for k in range(60):
        shake = np.array([[1, 0, rng.normal(0, 0.3) - 8], [0, 1, rng.normal(0, 0.3) - 8]])
        frame = cv2.warpAffine(texture, shake, (160, 128)) + rng.normal(0, 2, (128, 160))
        x, y = 20 + 2 * k, 64
        frame[y, x] += 60
        seen = detector.update(frame.clip(0, 255).astype(np.uint8), STILL, k / RATE)
        if k < ALL_PAST_FRAMES or seen is None:
            continue
        assert seen.sharpness.weight == 1
        peaks = find_peaks(seen.significance)
        peaks = peaks.select(peaks.height >= np.sort(peaks.height)[-20])
        ratios = seen.sharpness.log_likelihood_ratio(seen.sharpness.picture[peaks.y, peaks.x])
        away = np.hypot(peaks.x - x, peaks.y - y)
        points.extend(ratios[away < 3])
        edges.extend(ratios[away > 30])
    assert len(points) > 20
    assert np.median(points) > 0.5, "one of 50 changes, and its own ghost beside it"
    assert np.median(edges) < -1
    weights = []
    for start in range(0, 600, 100):
        found = [seen for seen in evidence([noise(start + k, (256, 320)) for k in range(60)]) if seen is not None]
        weights.append([seen.sharpness.weight for seen in found])
    assert np.mean([found[0] for found in weights]) < 0.4, "mostly from the first frame that has a past"
    assert all(max(found[-20:]) < 0.2 for found in weights)


def test_a_cell_half_out_of_view_keeps_its_threshold():
    # The 16 visible rows of the cell have too few peaks to estimate a threshold.
    detector = ChangeDetector(MovingConfig())
    before = evidence([noise(k) for k in range(40)], detector)[-1]
    away = EgoMotion(matrix=(1.0, 0.0, 0.0, 0.0, 1.0, 48.0), inliers=50, ok=True, method="flow")
    frame = np.roll(noise(39), 48, axis=0)
    after = detector.update(frame, away, 40 / RATE)
    assert before is not None and after is not None
    assert np.isfinite(after.threshold[:64]).all()
    assert after.threshold[0, 0] == pytest.approx(before.threshold[0, 0], rel=0.05)


def test_video_with_repeated_blocks_gives_no_evidence_even_at_key_frames():
    rng = np.random.default_rng(0)
    textures = [rng.normal(120, 6, (128, 160)).round().astype(np.uint8) for _ in range(3)]
    frames = [textures[k // 40] for k in range(120)]
    assert evidence(frames) == [None] * 120


def test_the_less_noise_a_codec_has_left_the_higher_the_thresholds():
    def threshold(sigma):
        frames = [np.random.default_rng(k).normal(100, sigma, (128, 160)).round().astype(np.uint8) for k in range(40)]
        return float(np.median(evidence(frames)[-1].threshold))

    plain, coded = threshold(3.0), threshold(1.25)
    # Rounding makes it 1.28 counts, so 400^-0.9 as many peaks may pass: in Gaussian noise, those above a threshold
    # whose square is larger by 2 ln 400^0.9.
    assert coded**2 - plain**2 == pytest.approx(2 * 0.9 * math.log(400), rel=0.4)
    assert threshold(2.2) == pytest.approx(plain, rel=0.05)


def test_codec_detection_is_reset_when_another_recording_begins():
    frozen = [in_8_bits(noise(0))] * 30
    for others, start in (([in_8_bits(noise(k)) for k in range(10)], 0), ([noise(k) for k in range(10)], 1030)):
        detector = ChangeDetector(MovingConfig())
        assert evidence(frozen, detector, start=1000) == [None] * 30
        assert [seen is not None for seen in evidence(others, detector, start=start)] == [False] * 3 + [True] * 7


def test_8_bit_sensor_noise_is_treated_like_16_bits_with_hysteresis():
    def both(sigmas):
        frames = [in_8_bits(noise(k, sigma=sigma)) for k, sigma in enumerate(sigmas)]
        pairs = zip(evidence(frames), evidence([frame.astype(np.uint16) for frame in frames]), strict=True)
        return [np.array_equal(one.threshold, other.threshold) for one, other in pairs if one and other]

    assert all(both([5.3] * 10 + [4.8] * 50))
    assert not any(both([4.8] * 30))
    assert not all(both([5.3] * 10 + [3.0] * 50))


def test_glittering_sea_is_mostly_disabled_and_the_sky_above_it_is_not():
    rng = np.random.default_rng(0)
    frames = []
    for k in range(60):
        picture = noise(k).astype(float)
        rows, columns = rng.integers(64, 128, 60), rng.integers(0, 160, 60)
        picture[rows, columns] += rng.exponential(2000, 60)
        frames.append(picture.clip(0, 65535).astype(np.uint16))
    false = []
    for seen in evidence(frames)[30:]:
        assert seen is not None
        assert np.isinf(seen.threshold[64:]).mean() > 0.8
        assert seen.threshold[64:].min() > 0.8 * MAX_THRESHOLD
        assert (seen.threshold[:60] < MAX_THRESHOLD / 2).all()
        peaks = find_peaks(seen.significance)
        false.append((peaks.height > seen.threshold[peaks.y, peaks.x]).sum())
    assert np.mean(false) < 3, "of sixty"


def test_a_pan_that_leaves_nothing_in_view_does_not_silence_what_follows():
    """A turret slews by a picture width a second; the noise of pictures without anything in common is not known."""
    world = in_8_bits(3000 + texture((128, 1000)))
    rng, detector, at, seen = np.random.default_rng(0), ChangeDetector(MovingConfig()), 0, []
    for k in range(110):
        pan = 8 if 40 <= k < 75 else 0
        at += pan
        picture = (world[:, at : at + 160] + rng.normal(0, 6, (128, 160))).clip(0, 255).astype(np.uint8)
        ego = EgoMotion(matrix=(1.0, 0.0, -pan, 0.0, 1.0, 0.0), inliers=50, ok=True, method="flow")
        seen.append(detector.update(picture, ego, k / RATE) is not None)
    assert all(seen[10:40])
    assert not all(seen[60:75])
    assert all(seen[-ALL_PAST_FRAMES // 2 :])


def test_a_picture_too_small_for_motion_detection_has_no_defects_of_the_larger_one_before():
    detector, pan = ChangeDetector(MovingConfig()), EgoMotion(matrix=(1.0, 0.0, 0.5, 0.0, 1.0, 0.0), ok=True)
    for k in range(30):
        picture = noise(k)
        picture[100, 100] = 4000
        detector.update(picture, pan, k / RATE)
    assert detector.defects["at"].tolist() == [100 * 160 + 100]
    detector.update(noise(0, (16, 16)), LOST, 30 / RATE)
    assert not len(detector.defects)


def test_a_repeated_time_stamp_is_no_step_back_in_time():
    detector = ChangeDetector(MovingConfig())
    times = [*range(9), *range(8, 30)]  # the frame at 8 / 25 s is stored
    given = [detector.update(noise(k), STILL, time / RATE) for k, time in enumerate(times)]
    assert [seen is not None for seen in given] == [time >= 3 for time in times]


def test_stuck_pixels_are_learned_anew_when_the_counts_change_their_scale():
    detector = ChangeDetector(MovingConfig())
    deep = [noise(k) for k in range(30)]
    for frame in deep:
        frame[::16, ::16] = 60_000
    evidence(deep, detector)
    shallow = [(noise(100 + k, sigma=60.0) // 12).clip(0, 255).astype(np.uint8) for k in range(20)]
    assert [len(seen.mended) for seen in evidence(shallow, detector, start=30) if seen is not None] == [0] * 17
