"""Interleaved timing and medians, with a manual clock."""

from __future__ import annotations

import pytest

from tools.benchmark.timing import MOST, interleave, summarise


class Clock:
    """A clock that advances only by the durations of the timed functions."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def way(self, name: str, *seconds: float):
        left = iter(seconds)

        def run() -> None:
            self.calls.append(name)
            self.now += next(left, seconds[-1])

        return run


def test_ways_take_turns_and_the_first_round_does_not_count() -> None:
    clock = Clock()
    seconds = interleave({"a": clock.way("a", 9, 1, 2, 3), "b": clock.way("b", 9, 10, 20, 30)}, 0, clock)
    assert seconds == {"a": [1, 2, 3], "b": [10, 20, 30]}
    assert clock.calls == ["a", "b"] * 4


def test_rounds_go_on_while_there_is_budget() -> None:
    clock = Clock()
    assert len(interleave({"a": clock.way("a", 1)}, 6, clock)["a"]) == 5, "six seconds including the warm-up"
    assert len(interleave({"a": clock.way("a", 1)}, 1e9, clock)["a"]) == MOST
    assert len(interleave({"a": clock.way("a", 1)}, 0, clock, least=10)["a"]) == 10


def test_median_and_quartiles_by_hand() -> None:
    assert summarise([4, 1, 3, 2, 100]) == (3, pytest.approx((4 - 2) / 3))
    assert summarise([1, 2, 3, 4]) == (2.5, pytest.approx((3.25 - 1.75) / 2.5)), "quartiles are interpolated"
    assert summarise([7]) == (7, 0)
