from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from pipeline.sinks.labels import Label, LabelPlaces

WITHIN = (640, 480)
SIZE = (18, 10)
RIGHT, LEFT = (113, 96), (69, 96)  # upper corners of the mark at (100, 100)
NO_TRAIL = np.empty((0, 2))


def mark(x=100.0, y=100.0, half=9.0):
    return np.array([x - half, y - half, x + half, y + half])


def label(track=1, place=None, size=SIZE, trail=NO_TRAIL):
    return Label(track, size, mark() if place is None else place, np.asarray(trail, float))


def choose(places, *labels, others=()):
    return places.choose(labels, np.array([*(each.mark for each in labels), *others]), WITHIN)


@example(
    [(0.0, 473.0), (0.0, 463.0)], (9, 10)
)  # in a corner of the picture, the label rows above and below a mark are close
@given(
    st.lists(st.tuples(st.floats(0, 640), st.floats(0, 480)), min_size=2, max_size=2),
    st.sampled_from([(9, 10), (18, 10), (45, 10)]),
)
def test_two_numbers_never_overlap_and_stay_in_the_picture(centres, size):
    labels = [label(i, mark(*centre), size) for i, centre in enumerate(centres)]
    (x, y), (other_x, other_y) = choose(LabelPlaces(), *labels)
    width, height = size
    assert 0 <= min(x, other_x) <= max(x, other_x) <= 640 - width
    assert height <= min(y, other_y) <= max(y, other_y) < 480
    assert abs(x - other_x) > width or abs(y - other_y) > height


def test_numbers_of_coinciding_tracks_take_different_corners():
    right, left = 113, 69
    assert choose(LabelPlaces(), *(label(i) for i in range(9))) == [
        (right, 96), (left, 96), (right, 114), (left, 114), (right, 134), (left, 134), (right, 76), (left, 76),
        (right, 96),
    ]  # fmt: skip


def test_number_is_written_clear_of_marks_without_a_number():
    assert choose(LabelPlaces(), label()) == [RIGHT]
    assert choose(LabelPlaces(), label(), others=[mark(122.0, 92.0)]) == [LEFT]


def test_number_is_written_clear_of_its_own_trail():
    up_right = [(100 + 4 * i, 100 - 2 * i) for i in range(10, 0, -1)]
    assert choose(LabelPlaces(), label(trail=up_right)) == [LEFT]


def test_other_numbers_count_more_than_marks_and_these_more_than_the_trail():
    right, above_left, below_left = (
        np.array(box, float) for box in ((113, 60, 131, 140), (69, 60, 87, 98), (69, 120, 87, 140))
    )
    others = [right, above_left, below_left]
    first, second = choose(LabelPlaces(), label(1, trail=[(80, 112)]), label(2), others=others)
    assert first == (69, 114)  # only the trail is there
    assert second == RIGHT  # only a mark is there


def test_number_keeps_its_corner_until_something_else_is_there():
    places = LabelPlaces()
    assert choose(places, label(7), others=[mark(122.0, 92.0)]) == [LEFT]
    assert choose(places, label(7)) == [LEFT]
    assert choose(places, label(7), others=[mark(78.0, 92.0)]) == [RIGHT]
    assert choose(places, label(7)) == [RIGHT]
    assert choose(places, label(7), others=[mark(122.0, 92.0)]) == [LEFT]
    assert choose(places, label(8)) == [RIGHT]  # another track
    assert choose(places, label(7)) == [RIGHT]  # it was gone for a picture


def test_number_returns_to_its_mark_when_there_is_room():
    places = LabelPlaces()
    around = [mark(x, y) for x in (78.0, 122.0) for y in (91.0, 109.0)]
    assert choose(places, label(7), others=around) == [(113, 134)]
    assert choose(places, label(7)) == [RIGHT]


def test_number_at_the_right_edge_is_written_on_the_left():
    ((x, _),) = choose(LabelPlaces(), label(place=mark(630.0, 100.0)))
    assert x == 630 - 9 - 4 - SIZE[0]


def test_no_tracks_need_no_places():
    assert LabelPlaces().choose([], np.empty((0, 4)), WITHIN) == []
