"""The books of one source: what was delivered, how fast and how late."""

from __future__ import annotations

from pipeline.journal import SLOTS, Row
from pipeline.link import SourceReport
from pipeline.messages import CONFIRMED, TRACK_STATES, EndOfSource, Tracked
from pipeline.sinks.latency import LatencyHistogram

OPENED, _ACTIVE_PAIR, _PAIRS, _CONFIRMED, _FIRST_NS, _LAST_NS, _EGO_OK = 0, 1, 2, 6, 7, 8, 9


class Counters:
    """Counts deliveries.

    What must survive the process stands in a row of a journal. Frames delivered and the number of the next one
    belong together: they are written to one of two places, and the last write says which of them counts.
    Latencies start afresh in every life.

    Args:
        row: of the journal.
    """

    def __init__(self, row: Row | None = None) -> None:
        self._row: Row = row if row is not None else [0] * SLOTS
        self._known: set[int] = set()
        self._latency: dict[str, LatencyHistogram] = {}
        self._newest_ns = 0
        self._tracks: dict[str, int] = {}
        self._end: EndOfSource | None = None

    @property
    def opened(self) -> bool:
        """The source's files are those of this run."""
        return bool(self._row[OPENED])

    @opened.setter
    def opened(self, value: bool) -> None:
        self._row[OPENED] = value

    @property
    def delivered(self) -> int:
        """Frames delivered in all lives."""
        return self._row[_PAIRS + 2 * self._row[_ACTIVE_PAIR]]

    @property
    def next_seq(self) -> int:
        """Frames below this number are in the books already."""
        return self._row[_PAIRS + 2 * self._row[_ACTIVE_PAIR] + 1]

    def add_confirmed(self, confirmed: set[int]) -> None:
        """Tracks that an earlier life has counted as confirmed and that may still be there."""
        self._known |= confirmed

    def count(self, message: Tracked, now: int) -> None:
        """A frame was delivered.

        Args:
            message: of the frame.
            now: monotonic ns.
        """
        header, tracks, row = message.header, message.track_table(), self._row
        row[_FIRST_NS] = row[_FIRST_NS] if self.delivered else now
        row[_LAST_NS] = now
        new = set(tracks["id"][tracks["state"] == CONFIRMED].tolist()) - self._known
        self._known |= new
        row[_CONFIRMED] += len(new)
        row[_EGO_OK] += message.ego.ok
        self._newest_ns = header.capture_mono_ns
        self._tracks = {state: int((tracks["state"] == number).sum()) for number, state in enumerate(TRACK_STATES)}
        for stage, leave_ns in (*((stamp.stage, stamp.leave_ns) for stamp in header.stamps), ("total", now)):
            self._latency.setdefault(stage, LatencyHistogram()).add(leave_ns - header.capture_mono_ns)
        turn, delivered = 1 - row[_ACTIVE_PAIR], self.delivered + 1
        row[_PAIRS + 2 * turn], row[_PAIRS + 2 * turn + 1] = delivered, header.seq + 1
        row[_ACTIVE_PAIR] = turn

    def end(self, message: EndOfSource) -> None:
        """The source has ended."""
        self._end = message

    def report(self) -> SourceReport:
        """What the books say."""
        row, delivered = self._row, self.delivered
        elapsed = (row[_LAST_NS] - row[_FIRST_NS]) / 1e9
        return SourceReport(
            delivered=delivered,
            tracks_confirmed=row[_CONFIRMED],
            fps=round((delivered - 1) / elapsed, 2) if elapsed > 0 else 0.0,
            latency={stage: histogram.summary() for stage, histogram in self._latency.items()},
            buckets={stage: histogram.buckets() for stage, histogram in self._latency.items()},
            newest_ns=self._newest_ns,
            ego_ok=row[_EGO_OK],
            tracks=self._tracks,
            end=self._end.reason if self._end else "",
            error=self._end.error if self._end else "",
        )
