"""The waits between attempts, with connections whose fate the test decides."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.capture.config import CaptureConfig, ReconnectConfig
from pipeline.capture.live import LiveSource
from pipeline.errors import SourceError

PICTURE = np.zeros((32, 32), np.uint16)


class Connection:
    """Gives so many pictures, then is lost."""

    frames, notice = 0, ""

    def __init__(self, pictures):
        self._left, self.closed = pictures, False

    def read(self):
        self._left -= 1
        return PICTURE if self._left >= 0 else None

    def close(self):
        self.closed = True


class Medium:
    """Connections one after another; None is an attempt that fails."""

    def __init__(self, *pictures):
        self._plan, self.made = iter(pictures), []

    def connect(self):
        pictures = next(self._plan, None)
        if pictures is None:
            raise SourceError("cam: no answer")
        self.made.append(Connection(pictures))
        return self.made[-1]


def live(medium, monkeypatch, seen=False, **reconnect):
    """A source and the list of waits it asks for, which end at once."""
    config = CaptureConfig(reconnect=ReconnectConfig(**reconnect), bit_depth=14)
    source = LiveSource("cam", medium.connect, config, seen=seen)
    waits = []
    monkeypatch.setattr(source._closed, "wait", lambda seconds: waits.append(seconds) or source._closed.is_set())
    source.open()
    return source, waits


def test_waits_double_up_to_the_longest_and_start_anew_after_a_picture(monkeypatch):
    medium = Medium(1, None, None, None, None, 2, None, 1)
    source, waits = live(medium, monkeypatch, initial_s=1, max_s=5)
    assert [source.grab().frame for _ in range(4)] == [0, 1, 2, 3]
    assert waits == [1, 2, 4, 5, 1]
    assert source.reconnects == 2
    assert [connection.closed for connection in medium.made] == [True, True, False]


def test_a_connection_without_a_picture_is_no_success(monkeypatch):
    source, waits = live(Medium(1, 0, 0, 0, 1), monkeypatch, initial_s=1, max_s=60)
    assert source.grab().frame == 0
    assert source.grab().frame == 1
    assert waits == [1, 2, 4]
    assert source.reconnects == 1


def test_source_that_never_gives_a_picture(monkeypatch):
    source, _ = live(Medium(0, 1), monkeypatch)
    with pytest.raises(SourceError, match=r"^cam: opened, but gives no picture within 5 s \(read_timeout_s\)$"):
        source.grab()


def test_source_seen_before_is_lost_from_the_start_and_waited_for(monkeypatch):
    source, waits = live(Medium(None, 0, None, 1), monkeypatch, seen=True, initial_s=1, max_s=5)
    assert source.state == "reconnecting"
    assert source.grab().frame == 0
    assert (source.state, waits) == ("open", [1, 2, 4])


def test_source_seen_before_is_given_up_like_any_other(monkeypatch):
    with pytest.raises(SourceError, match=r"^cam: no answer \(lost 0\.0 s ago, gave up\)$"):
        live(Medium(None), monkeypatch, seen=True, give_up_s=1e-9)


def test_source_that_replays_must_be_there_although_it_was_seen_before():
    source = LiveSource("cam", Medium(None).connect, CaptureConfig(), replays=True, seen=True)
    with pytest.raises(SourceError, match=r"^cam: no answer$"):
        source.open()


def test_giving_up_tells_the_last_reason(monkeypatch):
    source, _ = live(Medium(1), monkeypatch, give_up_s=1e-9)
    source.grab()
    with pytest.raises(SourceError, match=r"^cam: no answer \(lost 0\.0 s ago, gave up\)$"):
        source.grab()


def test_close_lets_go_of_the_connection(monkeypatch):
    medium = Medium(5)
    source, _ = live(medium, monkeypatch)
    assert source.grab().bit_depth == 14
    source.close()
    source.close()
    assert (medium.made[0].closed, source.state, source.grab()) == (True, "closed", None)
