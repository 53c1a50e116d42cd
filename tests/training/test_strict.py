import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training import naive
from training.metrics.strict import StrictScore, components, match


def mask(*rows):
    return np.array([[c == "#" for c in row] for row in rows])


def test_components_touch_at_corners_and_come_in_raster_order():
    areas, centroids = components(mask("..#...", ".#...#", ".....#"))
    assert areas.tolist() == [2, 2]
    assert centroids.tolist() == [[0.5, 1.5], [1.5, 5.0]]


def test_no_components():
    areas, centroids = components(np.zeros((3, 4), bool))
    assert (areas.shape, centroids.shape) == ((0,), (0, 2))


def test_three_pixels_apart_is_too_far():
    assert [len(i) for i in match(np.array([[0.0, 0.0]]), np.array([[0.0, 3.0]]))] == [0, 0]
    assert [len(i) for i in match(np.array([[0.0, 0.0]]), np.array([[0.0, 2.999]]))] == [1, 1]


def test_matching_finds_both_where_greedy_finds_one():
    # The prediction at 2 is near both targets, the one at 0 only near the target at 0.5.
    predicted, true = np.array([[0.0, 2.0], [0.0, 0.0]]), np.array([[0.0, 0.5], [0.0, 4.5]])
    pairs = sorted(zip(*(i.tolist() for i in match(predicted, true)), strict=True))
    assert pairs == [(0, 1), (1, 0)]


def test_one_prediction_serves_one_target():
    predicted, true = np.array([[0.0, 1.0]]), np.array([[0.0, 0.0], [0.0, 1.5]])
    assert [i.tolist() for i in match(predicted, true)] == [[0], [1]]


@given(st.data())
def test_as_many_pairs_as_an_exhaustive_search_finds(data):
    points = st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), max_size=5, unique=True)
    predicted = np.array(data.draw(points), float).reshape(-1, 2)
    true = np.array(data.draw(points), float).reshape(-1, 2)
    near = np.linalg.norm(predicted[:, None] - true[None], axis=-1) < 3

    def most(row, used):
        if row == len(predicted):
            return 0
        options = [1 + most(row + 1, used | {t}) for t in np.flatnonzero(near[row]) if t not in used]
        return max([most(row + 1, used), *options])

    rows, columns = match(predicted, true)
    assert len(rows) == most(0, frozenset())
    assert near[rows, columns].all()
    assert len(set(rows.tolist())) == len(set(columns.tolist())) == len(rows)


def test_missed_targets_false_alarms_and_empty_pictures():
    score = StrictScore()
    truth = mask("##........", "..........", ".........#")
    score.update(mask("###.......", "..........", "....##...."), truth)  # hit, miss, false alarm of 2 px: I 2, U 6
    score.update(mask("#.........", "..........", ".........."), np.zeros((3, 10), bool))  # false alarm of 1 px
    score.update(np.zeros((3, 10), bool), np.zeros((3, 10), bool))
    figures = score.summary()
    assert figures["iou"] == pytest.approx(2 / 7)
    assert figures["niou"] == pytest.approx((2 / 6 + 0) / 2)  # the empty picture does not count
    assert figures["pd"] == pytest.approx(1 / 2)
    assert figures["fa"] == pytest.approx(3 / 90)
    assert figures["false_alarms_per_picture"] == pytest.approx(2 / 3)
    assert score.f1 == pytest.approx(2 * 1 / (3 + 2))
    assert figures["pd_by_area"]["1-4"] == {"targets": 2, "pd": 0.5}
    assert figures["pd_by_area"]["26-"] == {"targets": 0, "pd": None}


def test_false_alarms_as_large_as_a_hit_still_count():
    score = StrictScore()
    score.update(mask("##......##", "##......##"), mask("##........", "##........"))
    assert score.summary()["fa"] == pytest.approx(4 / 20)


def test_a_perfect_prediction():
    rng = np.random.default_rng(0)
    score = StrictScore()
    for _ in range(5):
        truth = rng.random((32, 32)) > 0.97
        score.update(truth, truth)
    figures = score.summary()
    assert (figures["iou"], figures["niou"], figures["pd"], figures["fa"], score.f1) == (1, 1, 1, 0, 1)


@pytest.mark.parametrize(
    ("area", "name"), [(1, "1-4"), (4, "1-4"), (5, "5-9"), (9, "5-9"), (10, "10-25"), (25, "10-25"), (26, "26-")]
)
def test_sizes_fall_in_their_bins(area, name):
    truth = np.zeros((1, 40), bool)
    truth[0, :area] = True
    score = StrictScore()
    score.update(truth, truth)
    assert {key for key, bin_ in score.summary()["pd_by_area"].items() if bin_["targets"]} == {name}


def test_nothing_scored_yet():
    figures = StrictScore().summary()
    assert [figures[key] for key in ("iou", "niou", "pd", "fa", "false_alarms_per_picture")] == [None] * 5


def shapes(sides, values):
    """Up to five rectangles (row, column, height, width, value) on a 20x24 grid."""
    side = st.integers(1, sides)
    return st.lists(st.tuples(st.integers(0, 19), st.integers(0, 23), side, side, st.sampled_from(values)), max_size=5)


def paint(drawn):
    grid = np.zeros((20, 24), np.float32)
    for row, column, height, width, value in drawn:
        grid[row : row + height, column : column + width] = value
    return grid


def assert_one_of(figures, expected):
    """Check that the figures agree, all at once, with one way of breaking ties."""
    got = figures | {"pd_by_area": [(one["targets"], one["pd"]) for one in figures["pd_by_area"].values()]}
    rounded = [{key: round(v, 12) if isinstance(v, float) else v for key, v in one.items()} for one in (got, *expected)]
    assert rounded[0] in rounded[1:]


@settings(max_examples=60)
@given(st.lists(st.tuples(shapes(6, [1]), shapes(6, [1])), min_size=1, max_size=3), st.randoms())
def test_figures_are_those_of_plain_loops(drawn, random):
    score, pictures = StrictScore(), []
    for predicted, truth in drawn:
        # Places half of the predictions near a target, because random ones would never match.
        moved = [(max(0, r + random.randint(-2, 2)), max(0, c + random.randint(-2, 2)), *rest) for r, c, *rest in truth]
        pictures.append((paint(predicted[:2] + moved) > 0, paint(truth) > 0))
        score.update(*pictures[-1])
    assert_one_of(score.summary(), naive.strict([(p.tolist(), t.tolist()) for p, t in pictures]))
