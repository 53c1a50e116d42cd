"""Frame accounting: every captured frame of a source is delivered, dropped, lost or in flight."""

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
"""First slot of a journal row that a ledger does not use."""


class Account(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What happened to the frames of one source, as seen by one queue or by the supervisor.

    The account closes when ``entered = delivered + dropped + lost + in_flight``.

    Attributes:
        entered: frames offered to a queue, or captured by the source.
        delivered: frames that the receiver has finished processing.
        dropped: frames dropped on purpose by the drop policy of the queue, by cause.
        lost: frames lost because a receiver or a stage failed, by cause.
        in_flight: frames that wait in the queue or have been sent and are not finished yet.
    """

    entered: Count = 0
    delivered: Count = 0
    dropped: Mapping[str, Count] = {}
    lost: Mapping[str, Count] = {}
    in_flight: Count = 0

    @property
    def closes(self) -> bool:
        """Whether every frame is accounted for exactly once."""
        return self.entered == self.delivered + total(self.dropped) + total(self.lost) + self.in_flight


def total(by_cause: Mapping[str, int]) -> int:
    """Sum the frame counts over all causes."""
    return sum(by_cause.values())


class Ledger:
    """Counts the frames of one source at one queue.

    Args:
        row: journal row that stores the counts, if they must survive the process. Counting continues from its values.
    """

    def __init__(self, row: Row | None = None) -> None:
        self._row: Row = row if row is not None else [0] * SLOTS
        self._redelivered = 0

    def enter(self) -> None:
        """Count a frame that was offered."""
        if self._redelivered:
            self._redelivered -= 1
        else:
            self._row[_ENTERED] += 1

    def deliver(self) -> None:
        """Count a frame that its receiver has finished processing."""
        self._row[_DELIVERED] += 1

    def drop(self, cause: str) -> None:
        """Count a waiting frame dropped by the policy; ``cause`` is one of ``DROPS``."""
        self._row[_CAUSES + DROPS.index(cause)] += 1

    def lose(self, cause: str, count: int = 1) -> None:
        """Count frames lost in a failure; ``cause`` is one of ``LOSSES``."""
        self._row[_CAUSES + len(DROPS) + LOSSES.index(cause)] += count

    def reopen(self) -> None:
        """Continue after the queue was closed: frames counted as lost by closing it are in flight again."""
        self._row[_CAUSES + len(DROPS) + LOSSES.index(CLOSED)] = 0

    def expect_redelivery(self) -> None:
        """Expect the frames in flight to be offered again; they are not counted a second time."""
        self._redelivered = self.account().in_flight

    def account(self) -> Account:
        """Return the current account."""
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
