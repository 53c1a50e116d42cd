"""Supervision settings (time limits, expected rates, restarts) and the restart budget of one stage."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Rate = Annotated[float, Meta(gt=0, le=1e6)]


class StuckLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds without a heartbeat after which a stage counts as stuck, by role.

    A stage sends no heartbeat while it processes, so these are the longest times that one frame or batch may take.
    """

    capture: Seconds = 30.0
    preprocess: Seconds = 30.0
    detect: Seconds = 120.0
    track: Seconds = 30.0
    sinks: Seconds = 60.0


class Rates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages per second expected of a stage, by role. For captures, the frame rate expected of each camera.

    None means the measured rate of the live sources of the run. In that case nothing is expected of captures, since the
    camera determines its rate, and of stages that process files only, since files wait for the stages.
    """

    capture: Rate | None = None
    preprocess: Rate | None = None
    detect: Rate | None = None
    track: Rate | None = None
    sinks: Rate | None = None


class SupervisorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is expected of stages, and how stages in their own processes are restarted when they die or hang.

    Attributes:
        stuck_s: see ``StuckLimits``.
        start_s: the same limit while a stage starts, loads weights and sets up a device.
        term_s: seconds from SIGTERM, which asks a stage to exit, to SIGKILL.
        rate: see ``Rates``.
        slow_share: a stage counts as slow below this fraction of the expected rate; 0 disables the check.
        slow_s: seconds over which rates are measured.
        restarts: maximum number of restarts of each stage within ``window_s``; 0 disables restarts.
        window_s: seconds after which a death is no longer counted.
        backoff_s: seconds before the first restart; doubles with each death that is counted.
        backoff_max_s: upper limit of that delay in seconds.
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
    """Restart budget of one stage.

    Args:
        config: limits and delays.
        clock: monotonic clock in seconds.
    """

    def __init__(self, config: SupervisorConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config, self._clock = config, clock
        self._deaths: deque[float] = deque()

    @property
    def recent(self) -> int:
        """Number of deaths within the window."""
        while self._deaths and self._clock() - self._deaths[0] > self._config.window_s:
            self._deaths.popleft()
        return len(self._deaths)

    def died(self) -> float | None:
        """Count a death at the present time.

        Returns:
            Seconds to wait before the restart; None if the budget is used up.
        """
        self._deaths.append(self._clock())
        if self.recent > self._config.restarts:
            return None
        return min(self._config.backoff_s * 2.0 ** (self.recent - 1), self._config.backoff_max_s)
