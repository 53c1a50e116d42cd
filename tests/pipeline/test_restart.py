"""Restart budget and back-off, and how the watchdog of a stage handles silence, exits and deaths."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from pipeline.config import Config, load
from pipeline.control_link import SourceReport, StageState
from pipeline.errors import ConfigError
from pipeline.graph import StagePlan
from pipeline.restart import RestartBudget, StuckLimits, SupervisorConfig
from pipeline.watchdog import EXIT_GRACE_S, Watchdog
from tests.pipeline.children import Child, Clock

TABLE = SupervisorConfig(
    restarts=3, window_s=60, backoff_s=1, backoff_max_s=3, start_s=100, term_s=4, stuck_s=StuckLimits(track=10)
)
PLAN = StagePlan(
    name="track", role="track", where="process", session="s", sources=("a",), control="", journal="", config=Config()
)


def test_backoff_doubles_up_to_its_maximum_until_the_budget_is_used_up() -> None:
    budget = RestartBudget(TABLE, Clock())
    assert [budget.died() for _ in range(4)] == [1, 2, 3, None]


def test_deaths_outside_the_window_do_not_count() -> None:
    clock = Clock()
    budget = RestartBudget(TABLE, clock)
    assert [budget.died() for _ in range(3)] == [1, 2, 3]
    clock.now += 60.5
    assert budget.recent == 0
    assert budget.died() == 1


def test_no_restarts_at_all() -> None:
    assert RestartBudget(replace(TABLE, restarts=0), Clock()).died() is None


def begin(clock: Clock, child: Child, **plan: object) -> Watchdog:
    watch = Watchdog(replace(PLAN, **plan), TABLE, clock)
    assert watch.due
    watch.start(lambda plan: child)
    assert not watch.due
    return watch


def test_death_is_reported_after_the_grace_period() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    assert watch.check() == ""
    child.running = False
    assert watch.check() == ""
    clock.now += EXIT_GRACE_S
    assert watch.check() == "killed by SIGSEGV"
    assert watch.schedule_restart("killed by SIGSEGV")
    assert not watch.due
    clock.now += 1
    assert watch.due
    assert watch.plan.attempt == 1
    assert watch.causes == ["killed by SIGSEGV"]


def test_a_restarted_preprocess_goes_on_with_the_polarity_it_has_followed() -> None:
    config = load(settings=["preprocess.black_hot=[a, b]"])
    watch = begin(Clock(), Child(), name="preprocess", role="preprocess", sources=("a", "b", "c", "d"), config=config)
    reports = {"a": SourceReport(black_hot=False), "c": SourceReport(black_hot=True), "d": SourceReport()}
    watch.record_state(StageState(stage="preprocess", state="running", reports=reports))
    for attempt in (1, 2):  # the second time before it has reported anything
        assert watch.schedule_restart("killed by SIGSEGV")
        assert watch.plan.config.preprocess.black_hot == ["b", "c"]
        assert watch.plan.attempt == attempt
        watch.start(lambda plan: Child())
        watch.record_state(StageState(stage="preprocess", state="running"))


def test_state_is_reset_on_restart() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.record_state(StageState(stage="track", state="running", lost={"a": {"x": 1}}))
    assert watch.schedule_restart("killed by SIGSEGV")
    watch.start(lambda plan: Child())
    assert watch.state is not None
    assert (watch.state.state, watch.state.lost) == ("starting", {"a": {"x": 1}})


def test_stage_that_reported_its_end_has_not_died() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    child.running = False
    watch.check()
    watch.record_state(StageState(stage="track", state="failed", error="disk is full", exit_code=5))
    clock.now += EXIT_GRACE_S
    assert watch.check() == ""
    assert watch.exited_for_s() == EXIT_GRACE_S


def test_silent_stage_is_killed_with_a_longer_limit_during_start() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.record_state(StageState(stage="track", state="starting"))
    clock.now += 99
    assert watch.check() == ""
    watch.record_state(StageState(stage="track", state="running"))
    watch.record_progress(waiting=5, done=0, held_up=False)
    clock.now += 10.0
    assert (watch.check(), child.said) == ("", [])
    clock.now += 0.1
    for said in (["terminate"], ["terminate"], ["terminate", "kill"]):
        watch.check()
        assert (child.said, watch.stuck) == (said, "no heartbeat for 10 s")
        clock.now += 2.1
    watch.check()
    clock.now += EXIT_GRACE_S
    assert watch.check() == "no heartbeat for 10 s, killed by SIGKILL"


def leave(word: str) -> Watchdog:
    """A stage that was stuck, sends a last state after it was asked to exit, and exits."""
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.record_state(StageState(stage="track", state="running"))
    clock.now += 11
    watch.check()
    assert child.said == ["terminate"]
    watch.record_state(StageState(stage="track", state=word))  # type: ignore[arg-type]
    child.running, child.exit_reason = False, "killed by SIGTERM"
    watch.check()
    clock.now += EXIT_GRACE_S
    return watch


def test_stuck_stage_that_exits_when_asked_has_died() -> None:
    watch = leave("aborted")
    assert not watch.final
    assert watch.check() == "no heartbeat for 10 s, killed by SIGTERM"


@pytest.mark.parametrize("word", ["drained", "failed"])
def test_stuck_stage_that_finishes_after_all_has_not_died(word: str) -> None:
    watch = leave(word)
    assert watch.final
    assert watch.check() == ""


def test_stage_that_exits_because_the_run_ends_has_not_died() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.record_state(StageState(stage="track", state="running"))
    for _ in range(2):
        watch.terminate()
    assert child.said == ["terminate"]
    watch.record_state(StageState(stage="track", state="aborted"))
    assert watch.final
    watch.terminate()
    assert child.said == ["terminate"], "the stage has already ended"
    watch.clear(clock.now)
    assert child.said == ["terminate", "kill"], "it does not exit"


def test_extending_deadlines_moves_the_kill_deadline() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.terminate()
    clock.now += 50
    watch.extend_deadlines(49)
    watch.check()
    assert child.said == ["terminate"]


def test_extending_deadlines_excuses_silence() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)
    watch.record_state(StageState(stage="track", state="running"))
    clock.now += 500
    watch.extend_deadlines(499)
    watch.check()
    assert child.said == []


def test_stage_with_heartbeat_but_without_progress_is_killed() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child)

    def seconds(count: int, **seen: object) -> list[str]:
        for _ in range(count):
            clock.now += 1
            watch.record_state(StageState(stage="track", state="running"))
            watch.record_progress(**{"waiting": 3, "done": 7, "held_up": False} | seen)  # type: ignore[arg-type]
            watch.check()
        return child.said

    assert seconds(50, waiting=0) == [], "nothing to do"
    assert seconds(50, held_up=True) == [], "its output waits downstream"
    assert seconds(9) == [], "not long enough"
    assert seconds(9, done=8) == [], "one done"
    assert seconds(3, done=8) == ["terminate"]
    assert seconds(5, done=9) == ["terminate", "kill"], "too late"
    watch.check()
    clock.now += EXIT_GRACE_S
    assert watch.check() == "frames waiting, none processed for 10 s, killed by SIGKILL"
    assert watch.schedule_restart("")
    child = Child()
    watch.start(lambda plan: child)
    assert seconds(5) == [], "the time starts again"


def test_hanging_thread_is_detected_but_not_restarted() -> None:
    clock, child = Clock(), Child()
    watch = begin(clock, child, where="thread")
    clock.now += 1e6
    watch.check()
    assert (child.said, watch.stuck) == ([], "no heartbeat for 100 s")
    watch.record_state(StageState(stage="track", state="running"))
    watch.check()
    assert watch.stuck == "", "it works again"
    assert not watch.schedule_restart("thread ended")


def test_supervisor_settings_are_validated() -> None:
    config = load(None, ["supervisor.stuck_s.detect=7.5", "supervisor.restarts=0"])
    assert (config.supervisor.stuck_s.detect, config.supervisor.restarts) == (7.5, 0)
    with pytest.raises(ConfigError, match="stuck_s"):
        load(None, ["supervisor.stuck_s.sink=7"])
    assert load(None, ["supervisor.rate.sinks=25", "supervisor.term_s=0.5"]).supervisor.rate.sinks == 25
    for wrong in ("rate.sink=1", "rate.sinks=0", "term_s=0", "slow_share=1.1", "slow_s=0"):
        with pytest.raises(ConfigError, match=wrong.partition("=")[0].rpartition(".")[2]):
            load(None, [f"supervisor.{wrong}"])
    with pytest.raises(ConfigError, match="restarts"):
        load(None, ["supervisor.restarts=-1"])
