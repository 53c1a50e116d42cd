"""Measures the message rate of every stage, compares it with the expected rate and finds the stage that is too slow.

The expected rate is configured, or it is the measured rate of live sources and of files that are played at their own
frame rate. Other files wait for the stages, so there is no expected rate for them.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Mapping

from msgspec import Struct
from msgspec.structs import replace

from pipeline.restart import SupervisorConfig
from pipeline.watchdog import Watchdog

SAMPLES = 50
"""Approximate number of readings in a window."""
COUNT_TOLERANCE = 1
"""Number of messages by which the count in a window may differ by chance."""


class Pace(Struct, frozen=True, kw_only=True):
    """Throughput of one stage over the last ``supervisor.slow_s`` seconds.

    Attributes:
        rate: messages processed per second, counting only live sources if their rate is the expected one. For a
            capture, frames read from the medium. None while there are too few readings.
        expected: messages per second that it should process; None if nothing is expected.
        idle: fraction of the time in which the stage was idle; None for a capture and while there are too few readings.
        slow: the stage is below the expected rate and has the smallest idle fraction of all such stages, so it is the
            bottleneck for which the others wait.
    """

    rate: float | None = None
    expected: float | None = None
    idle: float | None = None
    slow: bool = False


class Meter:
    """Mean rate of increase of a counter over a sliding window.

    Args:
        window_s: length of the window in seconds.
        clock: monotonic clock in seconds.
    """

    def __init__(self, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s, self._clock = window_s, clock
        self._seen: deque[tuple[float, float]] = deque()

    def read(self, count: float) -> None:
        """Add a reading of the counter. A decrease means that the counter was reset, so measuring starts again."""
        now = self._clock()
        if self._seen and count < self._seen[-1][1]:
            self._seen.clear()
        if len(self._seen) > 2 and now - self._seen[-2][0] < self._window_s / SAMPLES:
            self._seen.pop()
        self._seen.append((now, count))
        while now - self._seen[0][0] > self._window_s and now - self._seen[1][0] >= self._window_s:
            self._seen.popleft()

    @property
    def seconds(self) -> float:
        """Time span of the readings: once the window is full, its length or slightly more."""
        return self._seen[-1][0] - self._seen[0][0] if self._seen else 0.0

    @property
    def rate(self) -> float | None:
        """Rate per second; None before there are two readings."""
        return (self._seen[-1][1] - self._seen[0][1]) / self.seconds if self.seconds else None


class PaceMonitor:
    """Measures the paces of all stages.

    Args:
        table: limits and expected rates.
        live: ids of the sources that do not wait for the stages.
        clock: monotonic clock in seconds.

    Attributes:
        now: paces as of the last call of ``update``, by stage.
    """

    def __init__(
        self, table: SupervisorConfig, live: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table, self._live = table, frozenset(live)
        self._meters: defaultdict[tuple[str, str], Meter] = defaultdict(lambda: Meter(table.slow_s, clock))
        self.now: Mapping[str, Pace] = {}

    def update(self, watches: Mapping[str, Watchdog], judge: bool) -> None:
        """Update the measurements and find the stage that is too slow.

        While any stage starts, is dead or hangs, rates are not meaningful for its neighbours either. Measuring starts
        again afterwards.

        Args:
            watches: watchdogs of all stages, by name.
            judge: whether rates are to be judged; False while the run is ending, which clears the measurements.
        """
        if not judge or any(map(_is_unsettled, watches.values())):
            self._meters.clear()
        captures = [watch for watch in watches.values() if not watch.plan.inputs]
        paces = {watch.plan.name: self._first_pace(watch) for watch in captures}
        given = {watch.plan.sources[0]: paces[watch.plan.name].rate for watch in captures}
        known = {source: rate for source, rate in given.items() if source in self._live and rate is not None}
        paces |= {name: self._pace(watch, watches, known) for name, watch in watches.items() if watch.plan.inputs}
        short = [name for name, pace in paces.items() if self._short(name, pace)]
        least = min((pace.idle for name in short if (pace := paces[name]).idle is not None), default=0.0)
        self.now = {
            name: replace(pace, slow=name in short and (pace.idle is None or pace.idle <= least))
            for name, pace in paces.items()
        }

    def _first_pace(self, watch: Watchdog) -> Pace:
        accounts = watch.state.queues.values() if watch.state is not None else ()
        rate = self._rate(watch, "came", sum(account.entered for account in accounts))
        return Pace(rate=rate, expected=None if watch.final else self._table.rate.capture)

    def _pace(self, watch: Watchdog, watches: Mapping[str, Watchdog], live: Mapping[str, float]) -> Pace:
        expected: float | None = getattr(self._table.rate, watch.plan.role)
        rates = [live[source] for source in watch.plan.sources if source in live]
        before = [other.state for other in watches.values() if other.plan.output in watch.plan.inputs]
        counted = self._live if expected is None and self._live else frozenset(watch.plan.sources)
        accounts = [item for state in before if state is not None for item in state.queues.items()]
        done = sum(account.delivered for source, account in accounts if source in counted)
        idle = self._rate(watch, "idle", watch.state.idle_s if watch.state is not None else 0.0)
        return Pace(
            rate=self._rate(watch, "done", done),
            expected=sum(rates) if expected is None and rates else expected,
            idle=None if idle is None else min(1.0, idle),
        )

    def _rate(self, watch: Watchdog, what: str, count: float) -> float | None:
        meter = self._meters[watch.plan.name, what]
        meter.read(count)
        return meter.rate

    def _short(self, name: str, pace: Pace) -> bool:
        if pace.rate is None or pace.expected is None:
            return False
        seconds = min(meter.seconds for (stage, _), meter in self._meters.items() if stage == name)
        missing = (self._table.slow_share * pace.expected - pace.rate) * seconds
        return seconds >= self._table.slow_s and missing > COUNT_TOLERANCE


def _is_unsettled(watch: Watchdog) -> bool:
    """Whether the stage is not in regular operation and has not finished either."""
    return not watch.final and (
        watch.state is None or watch.state.state != "running" or not watch.running or bool(watch.stuck)
    )
