"""Tracking metrics against hand-computed cases and results of an independent implementation."""

from __future__ import annotations

import math
import random
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tools.mot_metrics import Frame, clear, frame, hota, identity, reach

NOWHERE = np.empty((0, 2))


def line(ids, offset=0.0, frames=10):
    """One true target moving along x; ``ids[t]`` is the track on it in frame t, None for a miss."""
    truth = [np.array([[10.0 * t, 5.0]]) for t in range(frames)]
    return [
        frame([7], xy, 5.0, [] if i is None else [i], NOWHERE if i is None else xy + np.array([0, offset]))
        for xy, i in zip(truth, ids, strict=True)
    ]


def tangled(seed):
    """Five targets close together; misses, clutter, swapped and changed ids."""
    rng = random.Random(seed)

    def uniform(low, high):
        return low + (high - low) * rng.random()

    def chance(p):
        return rng.random() < p

    place = [[uniform(0, 60), uniform(0, 60)] for _ in range(5)]
    speed = [[uniform(-2, 2), uniform(-2, 2)] for _ in range(5)]
    name, fresh, frames = [10, 11, 12, 13, 14], 100, []
    for _ in range(40):
        place = [[p + v for p, v in zip(xy, vs, strict=True)] for xy, vs in zip(place, speed, strict=True)]
        if chance(0.15):
            name[int(uniform(0, 5))], fresh = fresh, fresh + 1
        if chance(0.15):
            i = int(uniform(0, 4))
            name[i], name[i + 1] = name[i + 1], name[i]
        truth = [i for i in range(5) if chance(0.9)]
        found = [i for i in range(5) if chance(0.8)]
        tracks = [[p + uniform(-3, 3) for p in place[i]] for i in found]
        ids = [name[i] for i in found]
        while chance(0.4):
            ids.append(fresh)
            tracks.append([uniform(0, 60), uniform(0, 60)])
            fresh += 1
        frames.append(frame(truth, [place[i] for i in truth], [5 + i / 2 for i in truth], ids, tracks))
    return frames


def scattered(seed):
    """Similarities without geometry, in steps of 1/20 (on the thresholds, with ties); some frames are half empty."""
    rng = random.Random(seed)
    frames = []
    for _ in range(25):
        truth = [i for i in range(4) if rng.random() < 0.6]
        tracks = [i for i in range(6) if rng.random() < 0.45]
        similarity = [[int(21 * rng.random()) / 20 for _ in tracks] for _ in truth]
        matrix = np.array(similarity, float).reshape(len(truth), len(tracks))
        frames.append(Frame(np.array(truth, int), np.array(tracks, int), 1 - matrix, matrix))
    return frames


def test_perfect_tracks_score_one():
    frames = line([1] * 10)
    assert hota(frames) == hota([*frames, frame([], NOWHERE, 5.0, [], NOWHERE)])
    assert (hota(frames).hota, hota(frames).loc_a) == (1.0, 1.0)
    score = clear(frames)
    assert (score.mota, score.motp_px, score.switches) == (1.0, 0.0, 0)
    assert identity(frames).idf1 == 1.0


def test_a_switch_in_the_middle():
    frames = line([1] * 5 + [2] * 5)
    score = hota(frames)
    # Every match shares its id with 5 of 10: AssA = 5 / 10.
    assert (score.det_a, score.ass_a) == pytest.approx((1.0, 0.5))
    assert score.hota == pytest.approx(math.sqrt(0.5))
    assert (clear(frames).mota, clear(frames).switches) == (0.9, 1)
    assert identity(frames).idf1 == 0.5


def test_one_missed_frame():
    frames = line([1] * 4 + [None] + [1] * 5)
    score = hota(frames)
    assert (score.det_a, score.ass_a, score.hota) == pytest.approx((0.9, 0.9, 0.9))
    assert (clear(frames).mota, clear(frames).misses, clear(frames).switches) == (0.9, 1, 0)
    assert identity(frames).idf1 == pytest.approx(18 / 19)


def test_a_switch_across_a_gap_counts():
    assert clear(line([1, 1, None, None, 2, 2], frames=6)).switches == 1


def test_a_false_track():
    frames = line([1] * 10)
    for t in range(5):
        xy = [[10.0 * t, 5.0]]
        frames[t] = frame([7], xy, 5.0, [1, 9], [*xy, [500.0, 500.0]])
    score = hota(frames)
    assert (score.det_a, score.ass_a) == pytest.approx((10 / 15, 1.0))
    assert (clear(frames).mota, clear(frames).false_positives) == (0.5, 5)
    assert identity(frames).idf1 == pytest.approx(20 / 25)


def test_an_offset_counts_by_its_share_of_the_reach():
    # 4.8 px of 2 x 5 px: similarity 0.52, good for the ten thresholds up to 0.5.
    frames = line([1] * 10, offset=4.8)
    assert hota(frames).hota == pytest.approx(10 / 19)
    assert hota(frames).loc_a == pytest.approx((10 * 0.52 + 9) / 19)
    assert clear(frames).motp_px == pytest.approx(4.8)


@pytest.mark.parametrize(("offset", "matches"), [(5.0, 10), (5.01, 0)])
def test_a_match_ends_at_the_reach(offset, matches):
    frames = line([1] * 10, offset=offset)
    assert clear(frames).matches == matches
    assert identity(frames).recall == matches / 10


def test_clear_keeps_a_pair_although_another_track_is_nearer():
    xy = [[0.0, 0.0]]
    first = frame([1], xy, 5.0, [1, 2], [[0.0, 1.0], [0.0, 4.0]])
    second = frame([1], xy, 5.0, [1, 2], [[0.0, 4.0], [0.0, 1.0]])
    score = clear([first, second])
    assert (score.switches, score.motp_px) == (0, 2.5)


def test_a_frame_without_tracks_does_not_end_a_match():
    xy = [[0.0, 0.0]]
    frames = [
        frame([1], xy, 5.0, [1], [[0.0, 4.0]]),
        frame([1], xy, 5.0, [], NOWHERE),
        frame([1], xy, 5.0, [1, 2], [[0.0, 4.0], [0.0, 1.0]]),
    ]
    assert (clear(frames).switches, clear(frames).motp_px) == (0, 4.0)


def test_reach_is_half_the_diagonal_but_not_under_five():
    assert reach([[6, 8], [12, 16], [math.nan, math.nan]]).tolist() == [5, 10, 5]


@pytest.mark.parametrize("tracks", [[], [1]])
@pytest.mark.parametrize("count", [0, 3])
def test_figures_that_need_targets_are_undefined_without_them(tracks, count):
    frames = [frame([], NOWHERE, 5.0, tracks, [(1.0, 1.0)] * len(tracks))] * count
    h, c, i = hota(frames), clear(frames), identity(frames)
    assert (c.matches, c.misses, c.false_positives) == (0, 0, count * len(tracks))
    assert all(math.isnan(share) for share in (h.hota, h.det_a, h.ass_a, c.mota, c.motp_px, c.pd, i.idf1, i.recall))


def test_without_tracks_all_is_missed():
    frames = line([None] * 10)
    assert (hota(frames).hota, clear(frames).pd, identity(frames).idf1) == (0, 0, 0)
    assert clear(frames).misses == 10


def test_memory_for_many_short_tracks_in_many_videos():
    """One target per video, and a new track in each of its frames: 40 x 8000 pairs, of which 8000 meet."""
    at = [[0.0, 0.0]]
    frames = [frame([v], at, 5.0, [200 * v + k], at) for v in range(40) for k in range(200)]
    tracemalloc.start()
    score = hota(frames)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (score.det_a, score.ass_a) == pytest.approx((1.0, 1 / 200))
    assert peak < 40e6  # the matrix of all pairs at all thresholds has 49 MB


def test_an_id_twice_in_a_frame_is_refused():
    with pytest.raises(ValueError, match="track: an id occurs twice"):
        frame([1], [[0, 0]], 5.0, [2, 2], [[0, 0], [1, 1]])


# Figures of TrackEval 1.3.0 (HOTA, CLEAR, Identity) for the same similarities.
REFERENCE = {
    1: (0.352245168425, 0.520751945788, 0.239148319429, 0.834139185967, 0.475409836066, 17, 42, 37, 0.420485175202),
    2: (0.363623584962, 0.535204291651, 0.24857153689, 0.836203280068, 0.474576271186, 19, 43, 31, 0.409836065574),
    3: (0.410873499287, 0.518738199294, 0.326335189238, 0.840915034886, 0.483146067416, 11, 41, 40, 0.515406162465),
}


@pytest.mark.parametrize("seed", sorted(REFERENCE))
def test_agrees_with_trackeval(seed):
    frames = tangled(seed)
    h, c, i = hota(frames), clear(frames), identity(frames)
    got = (h.hota, h.det_a, h.ass_a, h.loc_a, c.mota, c.switches, c.false_positives, c.misses, i.idf1)
    assert got == pytest.approx(REFERENCE[seed], abs=1e-9)


# HOTA, DetA, AssA, LocA, MOTA, switches, false, missed, IDF1, identity precision and recall of the same similarities,
# by TrackEval 1.3.0 (eval_sequence of HOTA, CLEAR and Identity) and to 1e-12 the same by roboflow trackers 2.6.1
# (trackers.eval.compute_*_metrics).
SCATTERED = {
    1: (
        0.23109729953,
        0.4715030093,
        0.11419191394,
        0.81405959095,
        -0.22950819672,
        35,
        27,
        13,
        0.35294117647,
        0.32,
        0.39344262295,
    ),
    2: (
        0.21109512654,
        0.39431787686,
        0.11552079898,
        0.7881869105,
        -0.17543859649,
        27,
        20,
        20,
        0.31578947368,
        0.31578947368,
        0.31578947368,
    ),
    3: (
        0.21912482116,
        0.40195170888,
        0.12053137053,
        0.79257928352,
        -0.22807017544,
        27,
        27,
        16,
        0.336,
        0.30882352941,
        0.36842105263,
    ),
    5: (
        0.2537343897,
        0.44410447776,
        0.14532480639,
        0.84898773097,
        -0.01639344262,
        23,
        18,
        21,
        0.36974789916,
        0.37931034483,
        0.3606557377,
    ),
}


@pytest.mark.parametrize("seed", sorted(SCATTERED))
def test_agrees_with_trackeval_and_trackers_on_any_similarity(seed):
    frames = scattered(seed)
    h, c, i = hota(frames), clear(frames), identity(frames)
    got = (h.hota, h.det_a, h.ass_a, h.loc_a, c.mota, c.switches, c.false_positives, c.misses)
    assert (*got, i.idf1, i.precision, i.recall) == pytest.approx(SCATTERED[seed], abs=1e-9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000))
def test_names_and_order_within_a_frame_are_without_effect(seed):
    frames = tangled(seed)
    rng = np.random.default_rng(seed)
    renamed = []
    for f in frames:
        a, b = rng.permutation(len(f.truth_ids)), rng.permutation(len(f.track_ids))
        renamed.append(
            type(f)(1000 - f.truth_ids[a], 5000 - f.track_ids[b], f.distance[np.ix_(a, b)], f.similarity[np.ix_(a, b)])
        )
    assert hota(renamed).hota == pytest.approx(hota(frames).hota, abs=1e-12)
    assert identity(renamed).idf1 == pytest.approx(identity(frames).idf1)
    assert clear(renamed).mota == pytest.approx(clear(frames).mota)
