"""GOSPA against hand-computed cases, the axioms of a metric, and results of an independent implementation."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from tools.gospa import Gospa, gospa, mean

Points = list[tuple[float, float]]

place = st.floats(-30, 30, allow_subnormal=False)
points = st.lists(st.tuples(place, place), max_size=5)
cutoffs = st.floats(0.5, 50)
exponents = st.sampled_from([1.0, 1.5, 2.0])


def between(truth: Points, tracks: Points, cutoff: float, p: float) -> Gospa:
    return gospa(cdist(np.reshape(truth, (-1, 2)), np.reshape(tracks, (-1, 2))), cutoff, p)


def test_one_pair_one_miss_two_false_by_hand() -> None:
    # The pair is 3 px apart; the other target is 30 px from everything.
    distance = [[3.0, 40.0, 40.0], [30.0, 40.0, 40.0]]
    score = gospa(distance, cutoff=10)
    assert score == Gospa(localisation=3.0, missed=5.0, false=10.0, p=1)
    assert score.value == 18.0
    square = gospa(distance, cutoff=10, p=2)
    assert square == Gospa(localisation=9.0, missed=50.0, false=100.0, p=2)
    assert square.value == pytest.approx(math.sqrt(159))


def test_the_best_pairs_are_not_the_nearest_first() -> None:
    # Greedy assignment pairs distance 1 and leaves 9, in total 10. The optimum is 4 + 4.
    assert gospa([[1.0, 4.0], [4.0, 9.0]], cutoff=10) == Gospa(8.0, 0.0, 0.0, 1)


def test_a_pair_at_the_cutoff_does_not_count() -> None:
    assert gospa([[10.0]], cutoff=10) == Gospa(0.0, 5.0, 5.0, 1)
    assert gospa([[9.99]], cutoff=10) == Gospa(9.99, 0.0, 0.0, 1)


def test_empty_frames() -> None:
    assert gospa(np.empty((0, 0)), 10).value == 0
    assert gospa(np.empty((2, 0)), 10) == Gospa(0.0, 10.0, 0.0, 1)
    assert gospa(np.empty((0, 3)), 10, 2) == Gospa(0.0, 0.0, 150.0, 2)


@pytest.mark.parametrize(
    ("distance", "cutoff", "p", "words"),
    [
        ([1.0], 10, 1, r"shape \(1,\)"),
        ([[1.0]], 0, 1, "cutoff 0"),
        ([[1.0]], math.nan, 1, "cutoff nan"),
        ([[1.0]], 1, 0.5, r"p 0\.5"),
    ],
)
def test_what_is_out_of_range_is_refused(distance: list[float], cutoff: float, p: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        gospa(distance, cutoff, p)


def test_mean_of_frames() -> None:
    frames = [Gospa(3.0, 5.0, 0.0, 1), Gospa(1.0, 0.0, 5.0, 1)]
    assert mean(frames) == Gospa(2.0, 2.5, 2.5, 1)
    assert mean(frames).value == np.mean([f.value for f in frames])
    squares = [gospa([[3.0]], 10, 2), gospa([[4.0]], 10, 2)]
    assert mean(squares).value == pytest.approx(math.sqrt((9 + 16) / 2))
    for wrong in ([], [*frames, *squares]):
        with pytest.raises(ValueError, match="one exponent"):
            mean(wrong)


def _by_trying_all(distance: np.ndarray, cutoff: float, p: float) -> float:
    """GOSPA by definition: the minimum over all partial assignments of targets to tracks."""
    n, m = distance.shape
    best = math.inf
    for size in range(min(n, m) + 1):
        for rows in itertools.combinations(range(n), size):
            for columns in itertools.permutations(range(m), size):
                pairs = sum(distance[r, c] ** p for r, c in zip(rows, columns, strict=True))
                best = min(best, pairs + cutoff**p / 2 * (n + m - 2 * size))
    return float(best ** (1 / p))


@given(truth=points.filter(lambda x: len(x) < 5), tracks=points, cutoff=cutoffs, p=exponents)
def test_it_is_the_least_over_all_assignments(truth: Points, tracks: Points, cutoff: float, p: float) -> None:
    distance = cdist(np.reshape(truth, (-1, 2)), np.reshape(tracks, (-1, 2)))
    assert gospa(distance, cutoff, p).value == pytest.approx(_by_trying_all(distance, cutoff, p), abs=1e-6)


@given(a=points, b=points, c=points, cutoff=cutoffs, p=exponents)
def test_it_is_a_metric(a: Points, b: Points, c: Points, cutoff: float, p: float) -> None:
    ab, ba = between(a, b, cutoff, p), between(b, a, cutoff, p)
    assert between(a, a, cutoff, p).value == 0
    assert (ab.value > 0) == (sorted(a) != sorted(b)) or ab.value < 1e-6
    assert ab.value == pytest.approx(ba.value)
    assert ab.value <= between(a, c, cutoff, p).value + between(c, b, cutoff, p).value + 1e-6


@given(truth=points, tracks=points, cutoff=cutoffs, p=exponents)
def test_parts_are_whole_counts_and_bounded(truth: Points, tracks: Points, cutoff: float, p: float) -> None:
    score = between(truth, tracks, cutoff, p)
    alone = cutoff**p / 2
    missed, false = score.missed / alone, score.false / alone
    pairs = len(truth) - round(missed)
    assert (missed, false) == pytest.approx((round(missed), round(false)))
    assert pairs == len(tracks) - round(false) >= 0
    assert 0 <= score.localisation <= pairs * cutoff**p
    assert score.value**p == pytest.approx(score.localisation + score.missed + score.false)


def drawn(seed: int, targets: int, tracks: int, side: float) -> tuple[Points, Points]:
    rng = random.Random(seed)
    both = [(round(side * rng.random(), 1), round(side * rng.random(), 1)) for _ in range(targets + tracks)]
    return both[:targets], both[targets:]


# (seed, targets, tracks, side of the field), cutoff, p: GOSPA, localisation, missed, false. By Stone Soup 1.9.1:
# GOSPAMetric(c=cutoff, p=p).compute_gospa_metric(tracks, truth) on the points of drawn(), each in a State.
REFERENCE = {
    ((1, 3, 3, 20), 10, 1): (21.33592734, 11.33592734, 5.0, 5.0),
    ((1, 3, 3, 20), 10, 2): (13.067899602, 70.77, 50.0, 50.0),
    ((2, 4, 2, 20), 4, 1): (11.498571137, 3.498571137, 6.0, 2.0),
    ((2, 4, 2, 20), 4, 2): (6.651315659, 12.24, 24.0, 8.0),
    ((3, 2, 5, 30), 10, 1): (34.326306879, 9.326306879, 5.0, 20.0),
    ((3, 2, 5, 30), 4, 2): (7.483314774, 0.0, 16.0, 40.0),
    ((4, 6, 6, 15), 10, 1): (26.97697716, 16.97697716, 5.0, 5.0),
    ((4, 6, 6, 15), 10, 2): (14.315027069, 204.92, 0.0, 0.0),
    ((4, 6, 6, 15), 4, 2): (7.155417528, 3.2, 24.0, 24.0),
    ((5, 0, 3, 10), 10, 2): (12.247448714, 0.0, 0.0, 150.0),
    ((6, 3, 0, 10), 4, 1): (6.0, 0.0, 6.0, 0.0),
    ((7, 8, 7, 40), 10, 1): (50.807356406, 15.807356406, 20.0, 15.0),
    ((7, 8, 7, 40), 4, 2): (10.138540329, 14.79, 48.0, 40.0),
}


@pytest.mark.parametrize(("field", "cutoff", "p"), sorted(REFERENCE))
def test_agrees_with_stone_soup(field: tuple[int, int, int, float], cutoff: float, p: float) -> None:
    score = between(*drawn(*field), cutoff, p)
    got = (score.value, score.localisation, score.missed, score.false)
    assert got == pytest.approx(REFERENCE[field, cutoff, p], abs=1e-8)
