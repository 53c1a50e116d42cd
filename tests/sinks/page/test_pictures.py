"""Pictures for the viewers of the live page."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from pipeline.sinks.page.pictures import UNWATCHED_S, WATCHED_S, Pictures

SECOND = 1_000_000_000


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100 * SECOND

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def gray(value: int) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


@pytest.mark.parametrize(("fps", "shown"), [(10, 10), (14, 14), (16, 15), (25, 15), (60, 15)])
def test_rate_is_limited_and_slower_cameras_are_not(clock: Clock, fps: int, shown: int) -> None:
    pictures, drawn = Pictures(["a"], 15, clock), 0
    for _ in range(fps * 10):
        pictures.wait("a", "", 0)
        if pictures.wanted("a"):
            pictures.show("a", gray(0))
            drawn += 1
        clock.now += SECOND // fps
    assert drawn == pytest.approx(shown * 10, abs=1)


def test_what_nobody_watches_is_drawn_once_a_second(clock: Clock) -> None:
    pictures, drawn = Pictures(["a", "b"], 15, clock), {"a": 0, "b": 0}
    for _ in range(10 * 25):
        pictures.wait("a", "", 0)
        for source in drawn:
            if pictures.wanted(source):
                pictures.show(source, gray(0))
                drawn[source] += 1
        clock.now += SECOND // 25
    assert drawn["b"] == 10 / UNWATCHED_S
    assert drawn["a"] > 100
    clock.now += round(WATCHED_S * SECOND)
    pictures.show("a", gray(0))
    clock.now += round(0.9 * UNWATCHED_S * SECOND)
    assert not pictures.wanted("a")


def test_late_viewer_gets_the_last_picture_and_its_age(clock: Clock) -> None:
    pictures = Pictures(["a"], 15, clock)
    assert pictures.wanted("a")
    pictures.show("a", gray(0))
    pictures.end("a", "finished", "")
    clock.now += 90 * SECOND
    shot = pictures.wait("a", "", 0)
    assert shot is not None
    assert pictures.age_ms(shot) == 90_000


def test_viewer_gets_the_newest_picture_and_none_twice(clock: Clock) -> None:
    pictures = Pictures(["a"], 15, clock)
    assert pictures.wait("a", "", 0) is None
    for value in (40, 80, 200):
        pictures.show("a", gray(value))
        clock.now += 1
    shot = pictures.wait("a", "", 0)
    assert shot is not None
    decoded = cv2.imdecode(np.frombuffer(shot.jpeg(), np.uint8), cv2.IMREAD_COLOR)
    assert decoded.shape == (48, 64, 3)
    assert abs(float(decoded.mean()) - 200) < 2
    assert shot.jpeg() is shot.jpeg()
    assert pictures.wait("a", shot.number, 0) is None
    assert pictures.wait("a", "number of an earlier run", 0) is shot


def test_waiting_viewer_is_released_by_a_picture_and_by_the_end(clock: Clock) -> None:
    pictures, got = Pictures(["a"], 15, clock), []

    def view() -> None:
        shot = pictures.wait("a", "", 60)
        got.append(shot)
        got.append(pictures.wait("a", shot.number if shot else "", 60))

    viewer = threading.Thread(target=view)
    viewer.start()
    pictures.show("a", gray(1))
    while not got:
        pass
    pictures.close()
    viewer.join(30)
    assert got[0] is not None
    assert got[1:] == [None]


def test_unknown_source() -> None:
    with pytest.raises(KeyError):
        Pictures(["a"], 15).wait("b", "", 0)
