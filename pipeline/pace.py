"""How many messages every stage does in a second, how many are expected of it, and which stage is too slow.

What is expected stands in the table, or is what live sources give, and files that are played at their own pace. Other
files give nothing to expect: they wait for the stages.
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
"""That a window is made of, about."""
COUNT_TOLERANCE = 1
"""Messages more or less that a window may happen to hold."""


class Pace(Struct, frozen=True, kw_only=True):
    """Of one stage, over the last ``supervisor.slow_s`` seconds.

    Attributes:
        rate: messages done per second, those of live sources alone where their rate is what is expected; for a
            capture, frames that came from the medium. None while there is too little to go by.
        expected: messages per second that it should do; None where nothing is expected.
        idle: share of its time that was to spare; None for a capture, and while there is too little to go by.
        slow: it falls short, and of the stages that do it has the least time to spare: the others wait for it.
    """

    rate: float | None = None
    expected: float | None = None
    idle: float | None = None
    slow: bool = False


class Meter:
    """The mean growth of a count over a sliding window.

    Args:
        window_s: seconds.
        clock: monotonic seconds.
    """

    def __init__(self, window_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._window_s, self._clock = window_s, clock
        self._seen: deque[tuple[float, float]] = deque()

    def read(self, count: float) -> None:
        """The count is this now; one that has fallen has begun anew."""
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
        """That the readings span: the window and a little more, once it is full."""
        return self._seen[-1][0] - self._seen[0][0] if self._seen else 0.0

    @property
    def rate(self) -> float | None:
        """Per second; None before there are two readings."""
        return (self._seen[-1][1] - self._seen[0][1]) / self.seconds if self.seconds else None


class PaceMonitor:
    """The paces of all stages.

    Args:
        table: of what is expected.
        live: ids of the sources that do not wait for the stages.
        clock: monotonic seconds.

    Attributes:
        now: as of the last look, by stage.
    """

    def __init__(
        self, table: SupervisorConfig, live: Iterable[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._table, self._live = table, frozenset(live)
        self._meters: defaultdict[tuple[str, str], Meter] = defaultdict(lambda: Meter(table.slow_s, clock))
        self.now: Mapping[str, Pace] = {}

    def look(self, watches: Mapping[str, Watchdog], judge: bool) -> None:
        """Measure, and see who falls short.

        A stage that starts, dies or hangs is in trouble of another kind, which its neighbours share: measuring begins
        anew when that is over.

        Args:
            watches: of all stages, by name.
            judge: the run is not about to end.
        """
        if not judge or any(map(_is_unsettled, watches.values())):
            self._meters.clear()
        captures = [watch for watch in watches.values() if not watch.plan.inputs]
        paces = {watch.plan.name: self._first_pace(watch) for watch in captures}
        given = [paces[watch.plan.name].rate for watch in captures if self._live.issuperset(watch.plan.sources)]
        known = [rate for rate in given if rate is not None]
        live = sum(known) if known else None
        paces |= {name: self._pace(watch, watches, live) for name, watch in watches.items() if watch.plan.inputs}
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

    def _pace(self, watch: Watchdog, watches: Mapping[str, Watchdog], live: float | None) -> Pace:
        expected: float | None = getattr(self._table.rate, watch.plan.role)
        before = [other.state for other in watches.values() if other.plan.output in watch.plan.inputs]
        counted = self._live if expected is None and self._live else frozenset(watch.plan.sources)
        accounts = [item for state in before if state is not None for item in state.queues.items()]
        done = sum(account.delivered for source, account in accounts if source in counted)
        idle = self._rate(watch, "idle", watch.state.idle_s if watch.state is not None else 0.0)
        return Pace(
            rate=self._rate(watch, "done", done),
            expected=live if expected is None else expected,
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
    """It is not at work as stages are between their start and their end."""
    return not watch.final and (
        watch.state is None or watch.state.state != "running" or not watch.running or bool(watch.stuck)
    )
