"""Classification of a run by the states of its stages and the reports on its sources."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from msgspec.structs import replace

from pipeline.config import Config, Placement
from pipeline.control_link import SourceReport, StageState
from pipeline.health.metrics import render
from pipeline.health.status import RunStatus, observe
from pipeline.supervisor import Supervisor

SECOND = 1_000_000_000
REPORT = SourceReport(delivered=9, newest_ns=SECOND, tracks={"confirmed": 3})


class Child:
    """A stage that runs until it is waited for."""

    pid, running = os.getpid(), True

    def join(self, timeout_s: float) -> None:
        self.running = False

    def terminate(self) -> None:
        """Do nothing."""


@pytest.fixture
def supervisor() -> Iterator[Supervisor]:
    """Return the supervisor of a run whose stages all run."""
    with Supervisor(Config(), [("demo", "test://demo")], None) as made:
        for name, watch in made.watches.items():
            watch.start(lambda plan: Child())  # type: ignore[arg-type, return-value]
            watch.record_state(StageState(stage=name, state="running"))
        report(made, REPORT)
        yield made


def report(supervisor: Supervisor, of_demo: SourceReport) -> None:
    watch = supervisor.watches["sinks"]
    assert watch.state is not None
    watch.record_state(replace(watch.state, reports={"demo": of_demo}))


def seen(supervisor: Supervisor, seconds: float) -> RunStatus:
    return observe(supervisor, round(seconds * SECOND), 5.0)


def test_stage_that_starts_again_is_named(supervisor: Supervisor) -> None:
    assert (seen(supervisor, 1).state, seen(supervisor, 1).troubles) == ("running", [])
    watch = supervisor.watches["detect"]
    assert watch.schedule_restart("killed by SIGKILL")
    dead = seen(supervisor, 1)
    watch.start(lambda plan: Child())  # type: ignore[arg-type, return-value]
    starting = seen(supervisor, 1)
    watch.state = None  # as if the stage had died before its first heartbeat
    waiting = seen(supervisor, 1)
    again = ["stage detect is starting again (after: killed by SIGKILL)"]
    assert (dead.state, dead.troubles) == ("degraded", ["stage detect died (killed by SIGKILL) and is restarted"])
    assert (starting.state, starting.troubles) == ("degraded", again)
    assert (waiting.state, waiting.troubles) == ("degraded", again)


def test_results_grow_old_until_the_source_ends(supervisor: Supervisor) -> None:
    fresh, stale = seen(supervisor, 3), seen(supervisor, 9)
    report(supervisor, replace(REPORT, end="finished"))
    ended = seen(supervisor, 9)
    assert (fresh.state, fresh.sources["demo"].newest_age_s, fresh.sources["demo"].tracks) == (
        "running",
        2.0,
        {"confirmed": 3},
    )
    assert (stale.state, stale.troubles) == ("degraded", ["source demo: newest result is 8.0 s old"])
    assert (ended.state, ended.sources["demo"].newest_age_s, ended.sources["demo"].tracks) == ("running", None, {})
    assert "irst_newest_frame_age_seconds{" not in render(ended).decode()


def test_time_to_the_first_result_counts_once_the_stages_are_ready(supervisor: Supervisor) -> None:
    """Loading a network may take longer than a result may be old."""
    report(supervisor, SourceReport())
    assert seen(supervisor, 1).state == "running"
    late = observe(supervisor, SECOND, max_age_s=0.0)
    supervisor.watches["detect"].start(lambda plan: Child())  # type: ignore[arg-type, return-value]
    loading = observe(supervisor, SECOND, max_age_s=0.0)
    assert (late.state, late.troubles) == ("degraded", ["source demo: no result for 0.0 s"])
    assert (loading.state, loading.troubles) == ("starting", [])


def test_status_puts_the_lanes_together() -> None:
    sources = [("left", "test://demo"), ("right", "test://demo")]
    with Supervisor(Config(placement=Placement(lanes=2)), sources, None) as supervisor:
        for name, watch in supervisor.watches.items():
            watch.start(lambda plan: Child())  # type: ignore[arg-type, return-value]
            watch.record_state(StageState(stage=name, state="running"))
        told = {
            "preprocess.0": {"reports": {"left": SourceReport(places={"pixel": 2})}},
            "track.0": {"reports": {"left": SourceReport(places={"scene": 3})}},
            "preprocess.1": {"reports": {"right": SourceReport(places={"pixel": 5}, black_hot=True)}},
            "detect.0": {"facts": {"device": "cuda:0"}},
            "detect.1": {"facts": {"device": "cuda:1", "notice": "no memory"}},
        }
        for name, fields in told.items():
            supervisor.watches[name].record_state(StageState(stage=name, state="running", **fields))  # type: ignore[arg-type]
        status = seen(supervisor, 1)
    assert status.facts == {"device": "cuda:0", "notice": "no memory"}
    assert status.sources["left"].places == {"pixel": 2, "scene": 3}
    assert status.sources["right"].places == {"pixel": 5}
    assert (status.sources["left"].black_hot, status.sources["right"].black_hot) == (False, True)


def test_failed_source_is_named(supervisor: Supervisor) -> None:
    report(supervisor, replace(REPORT, end="failed", error="rtsp://user:secret@host: no answer"))
    (trouble,) = seen(supervisor, 2).troubles
    assert trouble.startswith("source demo failed: ")
    assert "secret" not in trouble
