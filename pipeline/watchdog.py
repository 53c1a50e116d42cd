"""One stage under supervision: whether it lives, whether it speaks, and whether it may be started again."""

from __future__ import annotations

import time
from collections.abc import Callable

from msgspec.structs import replace

from pipeline.child import Child
from pipeline.control_link import StageState
from pipeline.graph import StagePlan
from pipeline.restart import RestartBudget, SupervisorConfig

EXIT_GRACE_S = 1.0
LEFT = "aborted"
FINAL = ("drained", "failed", LEFT)


class Watchdog:
    """Follows one stage through its lives.

    Args:
        plan: of the stage.
        config: the table of limits.
        clock: monotonic seconds.

    Attributes:
        plan: of the present life.
        state: last heard, of this life or the one before; None before the first word.
        causes: why each earlier life ended.
        stuck: what shows that it hangs; empty if nothing does.
        opened: it has got ready in this life, or failed to.
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
        self._kill_at: float | None = None
        self._exited_at: float | None = None

    @property
    def due(self) -> bool:
        """It is time to start it."""
        return self._child is None and self._clock() >= self._start_at

    @property
    def recent(self) -> int:
        """Deaths within the window of the table."""
        return self._budget.recent

    def start(self, launch: Callable[[StagePlan], Child]) -> None:
        """Begin a life."""
        self.opened, self.stuck, self._kill_at, self._exited_at = False, "", None, None
        if self.state is not None:
            self.state = replace(self.state, state="starting")  # what the earlier life said of itself is past
        self._child = launch(self.plan)
        self._last_state_at = self._last_progress_at = self._clock()

    def hear(self, state: StageState) -> None:
        """The stage has spoken."""
        self.state, self._last_state_at = state, self._clock()
        if not self.opened and state.state != "starting":
            self.opened, self._last_progress_at = True, self._last_state_at

    def extend_deadlines(self, seconds: float) -> None:
        """Time in which nobody listened."""
        self._last_state_at += seconds
        self._last_progress_at += seconds
        if self._kill_at is not None:
            self._kill_at += seconds

    def compare(self, waiting: int, done: int, held_up: bool) -> None:
        """What has become of the frames that wait for the stage.

        Args:
            waiting: frames that wait for it or are in its hands.
            done: frames that it has done so far.
            held_up: frames of its own wait further down, so that nothing is expected of it.
        """
        if not waiting or held_up or done != self._done:
            self._done, self._last_progress_at = done, self._clock()

    @property
    def running(self) -> bool:
        """It has a thread or a process that has not ended."""
        return self._child is not None and self._child.running

    @property
    def pid(self) -> int | None:
        """Process that it lives in, while it does."""
        return self._child.pid if self._child is not None and self._child.running else None

    @property
    def silent_s(self) -> float:
        """Seconds since its last word."""
        return self._clock() - self._last_state_at

    @property
    def final(self) -> bool:
        """It has come to its end, by its own word. One that was stuck and leaves when asked has not: it comes back."""
        return self.state is not None and self.state.state in FINAL and not (self.stuck and self.state.state == LEFT)

    @property
    def failed(self) -> bool:
        """Its end is not a good one."""
        return self.state is not None and self.state.state == "failed"

    def exited_for_s(self) -> float:
        """Seconds since it was first seen to have left; 0 while it runs."""
        if self._child is None or self._child.running:
            return 0.0
        if self._exited_at is None:
            self._exited_at = self._clock()
        return self._clock() - self._exited_at

    def look(self) -> str:
        """Have a look; a stuck process is asked to leave, and killed if it has not at its deadline.

        Returns:
            How the stage has died, empty if it has not.
        """
        if self.final or self._child is None:
            return ""
        if not self._child.running:
            # Its last word may still be on its way.
            how = ", ".join(filter(None, (self.stuck, self._child.how)))
            return how if self.exited_for_s() >= EXIT_GRACE_S else ""
        now = self._clock()
        if self._kill_at is not None:
            if now > self._kill_at:
                self._child.kill()
            return ""
        limit: float = getattr(self._config.stuck_s, self.plan.role) if self.opened else self._config.start_s
        self.stuck = ""
        if now - self._last_state_at > limit:
            self.stuck = f"no word for {limit:g} s"
        elif self.opened and now - self._last_progress_at > limit:
            self.stuck = f"frames wait, none done for {limit:g} s"
        if self.stuck:
            self.terminate()
        return ""

    def terminate(self) -> None:
        """Ask a process to leave, if it is there and has not been asked; from now on it has a deadline."""
        if self.plan.where == "process" and self.running and not self.final and self._kill_at is None:
            assert self._child is not None
            self._kill_at = self._clock() + self._config.term_s
            self._child.terminate()

    def schedule_restart(self, cause: str) -> bool:
        """Count the death, and arrange for the next life where there may be one.

        Returns:
            whether there will be one.
        """
        wait_s = self._budget.died() if self.plan.where == "process" else None
        if wait_s is None:
            return False
        self.causes.append(cause)
        self.plan = replace(self.plan, attempt=self.plan.attempt + 1)
        self._child, self._start_at = None, self._clock() + wait_s
        return True

    def end(self, error: str) -> None:
        """It has died for good."""
        self.state = StageState(stage=self.plan.name, state="failed", error=error, exit_code=5)

    def clear(self, deadline: float) -> None:
        """Leave nothing of it behind: wait until its own deadline, or else this one, then kill."""
        if self._child is not None:
            if self._kill_at is not None and not self.final:
                deadline = self._kill_at
            self._child.join(max(0.0, deadline - self._clock()))
            if self.plan.where == "process" and self._child.running:
                self._child.kill()
                self._child.join(60)
