"""Watchdog of one stage: detects that it has died or hangs, terminates it and schedules its restart."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import replace

from pipeline.child import Child
from pipeline.control_link import StageState
from pipeline.graph import StagePlan
from pipeline.restart import RestartBudget, SupervisorConfig

EXIT_GRACE_S = 1.0  # after the exit of a stage, during which its last state may still arrive
ABORTED = "aborted"
FINAL = ("drained", "failed", ABORTED)


class Watchdog:
    """Monitors one stage across its restarts.

    Args:
        plan: plan of the stage.
        config: time limits and restart budget.
        clock: monotonic clock in seconds.

    Attributes:
        plan: plan of the current run of the stage.
        state: last state received, of this run of the stage or the previous one; None before the first.
        causes: cause of each death that led to a restart.
        stuck: the evidence that the stage hangs; empty if there is none.
        opened: whether the stage has finished starting since its last (re)start, successfully or not.
    """

    def __init__(self, plan: StagePlan, config: SupervisorConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self.plan = plan
        self.state: StageState | None = None
        self.causes: list[str] = []
        self.stuck = ""
        self._config, self._clock, self._budget = config, clock, RestartBudget(config, clock)
        self._child: Child | None = None
        self._last_state_at = self._last_progress_at = self._start_at = clock()
        self._done = 0
        self.opened = False
        self._opened_at = 0.0
        self._kill_at: float | None = None
        self._exited_at: float | None = None

    @property
    def due(self) -> bool:
        """Whether it is time to start the stage."""
        return self._child is None and self._clock() >= self._start_at

    @property
    def recent(self) -> int:
        """Number of deaths within the restart window."""
        return self._budget.recent

    def start(self, launch: Callable[[StagePlan], Child]) -> None:
        """Start the stage."""
        self.opened, self.stuck, self._kill_at, self._exited_at = False, "", None, None
        if self.state is not None:
            self.state = replace(self.state, state="starting")  # the state before the restart is out of date
        self._child = launch(self.plan)
        self._last_state_at = self._last_progress_at = self._clock()

    def record_state(self, state: StageState) -> None:
        """Record a state sent by the stage."""
        self.state, self._last_state_at = state, self._clock()
        if not self.opened and state.state != "starting":
            self.opened, self._last_progress_at = True, self._last_state_at
            self._opened_at = self._last_state_at

    def extend_deadlines(self, seconds: float) -> None:
        """Extend all time limits by a time in which the supervisor did not read states."""
        self._last_state_at += seconds
        self._last_progress_at += seconds
        if self._kill_at is not None:
            self._kill_at += seconds

    def record_progress(self, waiting: int, done: int, held_up: bool) -> None:
        """Record whether the stage makes progress with the frames that wait for it.

        Args:
            waiting: number of frames that wait for it or are being processed by it.
            done: number of frames that it has finished so far.
            held_up: whether its own output waits downstream, so that no progress is expected of it.
        """
        if not waiting or held_up or done != self._done:
            self._done, self._last_progress_at = done, self._clock()

    @property
    def running(self) -> bool:
        """Whether its thread or process has not ended."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int | None:
        """Id of its process; None if it is not running."""
        return self._child.pid if self._child is not None and self._child.running else None

    @property
    def silent_s(self) -> float:
        """Seconds since its last state."""
        return self._clock() - self._last_state_at

    @property
    def open_s(self) -> float:
        """Seconds since it has finished starting; 0 before."""
        return self._clock() - self._opened_at if self.opened else 0.0

    @property
    def final(self) -> bool:
        """Whether it has reported its end. A stuck stage that exits when asked does not count: it is restarted."""
        return self.state is not None and self.state.state in FINAL and not (self.stuck and self.state.state == ABORTED)

    @property
    def failed(self) -> bool:
        """Whether it has ended with an error."""
        return self.state is not None and self.state.state == "failed"

    def exited_for_s(self) -> float:
        """Seconds since its exit was first noticed; 0 while it runs."""
        if self._child is None or self._child.running:
            return 0.0
        if self._exited_at is None:
            self._exited_at = self._clock()
        return self._clock() - self._exited_at

    def check(self) -> str:
        """Check the stage. A stuck process is asked to exit, and killed if it has not done so at its deadline.

        Returns:
            The cause of death of the stage; empty if it has not died.
        """
        if self.final or self._child is None:
            return ""
        if not self._child.running:
            # Its last state may still be in transit.
            cause = ", ".join(filter(None, (self.stuck, self._child.exit_reason)))
            return cause if self.exited_for_s() >= EXIT_GRACE_S else ""
        now = self._clock()
        if self._kill_at is not None:
            if now > self._kill_at:
                self._child.kill()
            return ""
        limit: float = getattr(self._config.stuck_s, self.plan.role) if self.opened else self._config.start_s
        self.stuck = ""
        if now - self._last_state_at > limit:
            self.stuck = f"no heartbeat for {limit:g} s"
        elif self.opened and now - self._last_progress_at > limit:
            self.stuck = f"frames waiting, none processed for {limit:g} s"
        if self.stuck:
            self.terminate()
        return ""

    def terminate(self) -> None:
        """Ask the process to exit and set its deadline, unless it is not running or has been asked before."""
        if self.plan.where == "process" and self.running and not self.final and self._kill_at is None:
            assert self._child is not None
            self._kill_at = self._clock() + self._config.term_s
            self._child.terminate()

    def schedule_restart(self, cause: str) -> bool:
        """Count a death and schedule a restart if the budget allows it.

        Returns:
            Whether the stage will be restarted.
        """
        wait_s = self._budget.died() if self.plan.where == "process" else None
        if wait_s is None:
            return False
        self.causes.append(cause)
        known = self.state.reports if self.state is not None else {}
        self.plan = replace(self.plan, attempt=self.plan.attempt + 1).resumed(known)
        self._child, self._start_at = None, self._clock() + wait_s
        return True

    def end(self, error: str) -> None:
        """Mark the stage as failed; it will not be restarted."""
        self.state = StageState(stage=self.plan.name, state="failed", error=error, exit_code=5)

    def clear(self, deadline: float) -> None:
        """Wait for the stage to exit until its own deadline, or else this one; then kill it."""
        if self._child is not None:
            if self._kill_at is not None and not self.final:
                deadline = self._kill_at
            self._child.join(max(0.0, deadline - self._clock()))
            if self.plan.where == "process" and self._child.running:
                self._child.kill()
                self._child.join(60)
