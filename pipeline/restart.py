"""When a stage counts as stuck, and how often it is started again: the table, and one stage's budget."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Annotated

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class StuckLimits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Seconds without a word after which a stage counts as stuck, by role.

    A stage says nothing while it processes: these are the longest times one frame, or one batch, may take.
    """

    capture: Seconds = 30.0
    preprocess: Seconds = 30.0
    detect: Seconds = 120.0
    track: Seconds = 30.0
    sinks: Seconds = 60.0


class SupervisorConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is done about stages in processes of their own that die or hang.

    Attributes:
        stuck_s: see ``StuckLimits``.
        start_s: the same while a stage starts: weights are loaded, a device is set up.
        restarts: times that each stage is started again within ``window_s``; 0 never.
        window_s: deaths longer ago do not count.
        backoff_s: pause before the first restart; doubles with each death that counts.
        backoff_max_s: longest pause.
    """

    stuck_s: StuckLimits = StuckLimits()
    start_s: Seconds = 120.0
    restarts: Annotated[int, Meta(ge=0, le=1000)] = 5
    window_s: Seconds = 60.0
    backoff_s: Annotated[float, Meta(ge=0, le=3600)] = 0.5
    backoff_max_s: Annotated[float, Meta(ge=0, le=3600)] = 10.0


class Budget:
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
