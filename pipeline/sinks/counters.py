"""Counters of the results of one source: frames delivered, tracks, frame rate and latency."""

from __future__ import annotations

from pipeline.control_link import SourceReport
from pipeline.journal import SLOTS, Row
from pipeline.messages import CONFIRMED, TRACK_STATES, EndOfSource, Tracked
from pipeline.sinks.latency import LatencyHistogram

OPENED, _ACTIVE_PAIR, _PAIRS, _CONFIRMED, _FIRST_NS, _LAST_NS, _EGO_OK = 0, 1, 2, 6, 7, 8, 9

MAX_KNOWN = 20_000
"""Number of tracks known to have been counted, at most; more than can be alive at once."""


class Counters:
    """Counts the delivered frames of one source.

    Values that must survive a restart of the process are kept in a row of the journal. The number of delivered frames
    and the next sequence number must stay consistent: the pair is written alternately to two places, and a final write
    selects the valid one. Latency statistics start over after a restart.

    Args:
        row: row of the journal; None keeps the counters in memory.
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
        """Whether the files in the source's folder belong to this run."""
        return bool(self._row[OPENED])

    @opened.setter
    def opened(self, value: bool) -> None:
        self._row[OPENED] = value

    @property
    def delivered(self) -> int:
        """Number of frames delivered, including those before a restart."""
        return self._row[_PAIRS + 2 * self._row[_ACTIVE_PAIR]]

    @property
    def next_seq(self) -> int:
        """Frames with a lower sequence number are already counted."""
        return self._row[_PAIRS + 2 * self._row[_ACTIVE_PAIR] + 1]

    def add_confirmed(self, confirmed: set[int]) -> None:
        """Add tracks that were counted as confirmed before a restart and may still exist."""
        self._known |= confirmed

    def count(self, message: Tracked, now: int) -> None:
        """Count a delivered frame.

        Args:
            message: tracking result of the frame.
            now: monotonic time in ns.
        """
        header, tracks, row = message.header, message.track_table(), self._row
        row[_FIRST_NS] = row[_FIRST_NS] if self.delivered else now
        row[_LAST_NS] = now
        confirmed = set(tracks["id"][tracks["state"] == CONFIRMED].tolist())
        new = confirmed - self._known
        self._known |= new
        if len(self._known) > MAX_KNOWN:  # a run may last for weeks, and older tracks have ended long ago
            self._known = confirmed | set(sorted(self._known)[-MAX_KNOWN // 2 :])
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
        """Record the end of the source."""
        self._end = message

    def report(self) -> SourceReport:
        """Return the counters as a report for the supervisor."""
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
