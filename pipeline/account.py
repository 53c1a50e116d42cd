"""The loss account: where every captured frame of a source has gone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

Count = Annotated[int, Meta(ge=0)]


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What became of the frames of one source, as one party knows it.

    The account closes when ``entered = delivered + dropped + lost + in_flight``.

    Attributes:
        entered: frames offered to a queue, or captured by the source.
        delivered: frames whose receiver has finished with them.
        dropped: frames dropped on purpose by the queue's policy, by cause.
        lost: frames lost with a receiver or a stage that failed, by cause.
        in_flight: frames waiting or on their way.
    """

    entered: Count = 0
    delivered: Count = 0
    dropped: Mapping[str, Count] = {}
    lost: Mapping[str, Count] = {}
    in_flight: Count = 0

    @property
    def closes(self) -> bool:
        """Every frame is accounted for exactly once."""
        return self.entered == self.delivered + total(self.dropped) + total(self.lost) + self.in_flight


def total(by_cause: Mapping[str, int]) -> int:
    """Frames over all causes."""
    return sum(by_cause.values())


class Ledger:
    """Counts the frames of one source at one queue."""

    def __init__(self) -> None:
        self.entered = 0
        self.delivered = 0
        self.in_flight = 0
        self.dropped: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()

    def enter(self) -> None:
        """A frame has come."""
        self.entered += 1
        self.in_flight += 1

    def deliver(self) -> None:
        """A frame's receiver has finished with it."""
        self.in_flight -= 1
        self.delivered += 1

    def drop(self, cause: str) -> None:
        """A waiting frame was dropped by policy."""
        self.in_flight -= 1
        self.dropped[cause] += 1

    def lose(self, cause: str) -> None:
        """A frame was lost with whoever had it."""
        self.in_flight -= 1
        self.lost[cause] += 1

    def account(self) -> Account:
        """The account at this moment."""
        return Account(
            entered=self.entered,
            delivered=self.delivered,
            dropped=dict(self.dropped),
            lost=dict(self.lost),
            in_flight=self.in_flight,
        )
