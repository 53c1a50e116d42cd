"""The table of restarts: budget, back-off, and what the watch over one stage makes of silence and death."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pipeline.config import Config, load
from pipeline.errors import ConfigError
from pipeline.graph import StagePlan
from pipeline.link import StageState
from pipeline.restart import Budget, StuckLimits, SupervisorConfig
from pipeline.watch import LAST_WORD_S, Watch

TABLE = SupervisorConfig(
    restarts=3, window_s=60, backoff_s=1, backoff_max_s=3, start_s=100, stuck_s=StuckLimits(track=10)
)
PLAN = StagePlan(
    name="track", role="track", where="process", session="s", sources=("a",), control="", journal="", config=Config()
)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Child:
    """A child that dies when it is killed."""

    def __init__(self) -> None:
        self.running, self.how = True, "killed by SIGSEGV"
        self.said: list[str] = []

    def kill(self) -> None:
        self.said.append("kill")
        self.running = False

    def join(self, timeout_s: float) -> None:
        pass


def test_pauses_double_up_to_the_longest_and_the_budget_ends() -> None:
    budget = Budget(TABLE, Clock())
    assert [budget.died() for _ in range(4)] == [1, 2, 3, None]


def test_deaths_long_ago_do_not_count() -> None:
    clock = Clock()
    budget = Budget(TABLE, clock)
    assert [budget.died() for _ in range(3)] == [1, 2, 3]
    clock.now += 60.5
    assert budget.recent == 0
    assert budget.died() == 1


def test_no_restarts_at_all() -> None:
    assert Budget(replace(TABLE, restarts=0), Clock()).died() is None


def begin(clock: Clock, child: Child, **plan: object) -> Watch:
    watch = Watch(replace(PLAN, **plan), TABLE, clock)
    assert watch.due
    watch.start(lambda plan: child)
    assert not watch.due
    return watch


def test_a_death_is_a_death_only_after_time_for_a_last_word() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    assert watch.look() == ""
    child.running = False
    assert watch.look() == ""
    clock.now += LAST_WORD_S
    assert watch.look() == "killed by SIGSEGV"
    assert watch.bury("killed by SIGSEGV")
    assert not watch.due
    clock.now += 1
    assert watch.due
    assert watch.plan.attempt == 1
    assert watch.causes == ["killed by SIGSEGV"]


def test_the_next_life_does_not_run_on_the_word_of_the_last() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.hear(StageState(stage="track", state="running", lost={"a": {"x": 1}}))
    assert watch.bury("killed by SIGSEGV")
    watch.start(lambda plan: Child())
    assert watch.state is not None
    assert (watch.state.state, watch.state.lost) == ("starting", {"a": {"x": 1}})


def test_a_stage_that_said_its_last_word_is_not_dead() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    child.running = False
    watch.look()
    watch.hear(StageState(stage="track", state="failed", error="disk is full", exit_code=5))
    clock.now += LAST_WORD_S
    assert watch.look() == ""
    assert watch.gone_for() == LAST_WORD_S


def test_silence_may_be_longer_at_the_start_and_ends_in_a_kill() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.hear(StageState(stage="track", state="starting"))
    clock.now += 99
    assert watch.look() == ""
    watch.hear(StageState(stage="track", state="running"))
    watch.compare(waiting=5, done=0, held_up=False)
    clock.now += 10.0
    assert (watch.look(), child.said) == ("", [])
    clock.now += 0.1
    watch.look()
    assert child.said == ["kill"]
    watch.look()
    clock.now += LAST_WORD_S
    assert watch.look() == "no word for 10 s"


def test_time_in_which_nobody_listened_is_nobodys_silence() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.hear(StageState(stage="track", state="running"))
    clock.now += 500
    watch.excuse(499)
    watch.look()
    assert child.said == []


def test_a_stage_that_speaks_but_does_nothing_for_the_frames_that_wait_is_killed() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)

    def seconds(count: int, **seen: object) -> list[str]:
        for _ in range(count):
            clock.now += 1
            watch.hear(StageState(stage="track", state="running"))
            watch.compare(**{"waiting": 3, "done": 7, "held_up": False} | seen)  # type: ignore[arg-type]
            watch.look()
        return child.said

    assert seconds(50, waiting=0) == [], "nothing to do"
    assert seconds(50, held_up=True) == [], "its own frames wait further down"
    assert seconds(9) == [], "not long enough"
    assert seconds(9, done=8) == [], "one done"
    assert seconds(3, done=8) == ["kill"]
    watch.look()
    clock.now += LAST_WORD_S
    assert watch.look() == "frames wait, none done for 10 s"
    assert watch.bury("")
    watch.start(lambda plan: Child())
    assert seconds(5) == ["kill"], "time begins anew"


def test_threads_are_neither_killed_nor_started_again() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child, where="thread")
    clock.now += 1e6
    watch.look()
    assert child.said == []
    assert not watch.bury("thread ended")


def test_the_table_is_checked() -> None:
    config = load(None, ["supervisor.stuck_s.detect=7.5", "supervisor.restarts=0"])
    assert (config.supervisor.stuck_s.detect, config.supervisor.restarts) == (7.5, 0)
    with pytest.raises(ConfigError, match="stuck_s"):
        load(None, ["supervisor.stuck_s.sink=7"])
    with pytest.raises(ConfigError, match="restarts"):
        load(None, ["supervisor.restarts=-1"])
