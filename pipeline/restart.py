"""What is expected of every stage, and what is done when it does not come: the table, and one stage's budget."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Rate = Annotated[float, Meta(gt=0, le=1e6)]


class StuckLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds without a word after which a stage counts as stuck, by role.

    A stage says nothing while it processes: these are the longest times one frame, or one batch, may take.
    """

    capture: Seconds = 30.0
    preprocess: Seconds = 30.0
    detect: Seconds = 120.0
    track: Seconds = 30.0
    sinks: Seconds = 60.0


class Rates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages per second expected of a stage, by role; of each camera, for captures.

    None: what the live sources of the run give, as their captures measure it. Of a capture, and of a stage through
    which files alone come, nothing is expected then: files wait for the stages, and cameras have the last word on
    their rate.
    """

    capture: Rate | None = None
    preprocess: Rate | None = None
    detect: Rate | None = None
    track: Rate | None = None
    sinks: Rate | None = None


class SupervisorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is expected of stages, and what is done about those in processes of their own that die or hang.

    Attributes:
        stuck_s: see ``StuckLimits``.
        start_s: the same while a stage starts: weights are loaded, a device is set up.
        term_s: from SIGTERM, which asks a stage to leave, to SIGKILL.
        rate: see ``Rates``.
        slow_share: a stage is slow that does less than this share of the rate expected; 0 calls none slow.
        slow_s: seconds over which rates are measured.
        restarts: times that each stage is started again within ``window_s``; 0 never.
        window_s: deaths longer ago do not count.
        backoff_s: pause before the first restart; doubles with each death that counts.
        backoff_max_s: longest pause.
    """

    stuck_s: StuckLimits = StuckLimits()
    start_s: Seconds = 120.0
    term_s: Seconds = 2.0
    rate: Rates = Rates()
    slow_share: Annotated[float, Meta(ge=0, le=1)] = 0.8
    slow_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    restarts: Annotated[int, Meta(ge=0, le=1000)] = 5
    window_s: Seconds = 60.0
    backoff_s: Annotated[float, Meta(ge=0, le=3600)] = 0.5
    backoff_max_s: Annotated[float, Meta(ge=0, le=3600)] = 10.0


class RestartBudget:
    """The restarts of one stage.

    Args:
        config: the table.
        clock: monotonic seconds.
    """

    def __init__(self, config: SupervisorConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._deaths: deque[float] = deque()

    @property
    def recent(self) -> int:
        """Deaths within the window."""
        while self._deaths and self._clock() - self._deaths[0] > self._config.window_s:
            self._deaths.popleft()
        return len(self._deaths)

    def died(self) -> float | None:
        """Count a death now.

        Returns:
            seconds to wait before the next start; None if the budget is spent.
        """
        self._deaths.append(self._clock())
        if self.recent > self._config.restarts:
            return None
        return min(self._config.backoff_s * 2.0 ** (self.recent - 1), self._config.backoff_max_s)
