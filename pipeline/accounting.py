"""The loss account: where every captured frame of a source has gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from msgspec import Meta, Struct

from pipeline.journal import SLOTS, Row

Count = Annotated[int, Meta(ge=0)]

CRASH, CLOSED = "crash", "closed"
DROPS = ("superseded", "overflow", "stale")
LOSSES = (CRASH, CLOSED)
_ENTERED, _DELIVERED, _CAUSES = 0, 1, 2
FREE_SLOT = _CAUSES + len(DROPS) + len(LOSSES)
"""First slot of a row that a ledger leaves to others."""


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
    """Counts the frames of one source at one queue.

    Args:
        row: of a journal, where the counts are to outlive the process; they go on from what it says.
    """

    def __init__(self, row: Row | None = None) -> None:
        self._row: Row = row if row is not None else [0] * SLOTS
        self._redelivered = 0

    def enter(self) -> None:
        """A frame has come."""
        if self._redelivered:
            self._redelivered -= 1
        else:
            self._row[_ENTERED] += 1

    def deliver(self) -> None:
        """A frame's receiver has finished with it."""
        self._row[_DELIVERED] += 1

    def drop(self, cause: str) -> None:
        """A waiting frame was dropped by policy; the cause is one of ``DROPS``."""
        self._row[_CAUSES + DROPS.index(cause)] += 1

    def lose(self, cause: str, count: int = 1) -> None:
        """Frames were lost with whoever had them; the cause is one of ``LOSSES``."""
        self._row[_CAUSES + len(DROPS) + LOSSES.index(cause)] += count

    def reopen(self) -> None:
        """Whoever closed the queue goes on with it: what was lost by that is in flight again."""
        self._row[_CAUSES + len(DROPS) + LOSSES.index(CLOSED)] = 0

    def expect_redelivery(self) -> None:
        """The frames in flight will come again, and are counted already."""
        self._redelivered = self.account().in_flight

    def account(self) -> Account:
        """The account at this moment."""
        entered, delivered, *causes = (self._row[i] for i in range(FREE_SLOT))
        dropped = dict(zip(DROPS, causes, strict=False))
        lost = dict(zip(LOSSES, causes[len(DROPS) :], strict=True))
        return Account(
            entered=entered,
            delivered=delivered,
            dropped={cause: count for cause, count in dropped.items() if count},
            lost={cause: count for cause, count in lost.items() if count},
            in_flight=entered - delivered - sum(causes),
        )
