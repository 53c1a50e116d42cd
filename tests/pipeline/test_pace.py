"""Rates over a sliding window, expected rates, and the stage that is reported as slow."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.accounting import Account
from pipeline.config import Config, Placement
from pipeline.control_link import StageState
from pipeline.graph import plan
from pipeline.pace import Meter, PaceMonitor
from pipeline.restart import Rates, SupervisorConfig
from pipeline.watchdog import Watchdog
from tests.pipeline.children import Child, Clock

STEP_S = 0.1
FILE, CAMERA = "test://demo", "test://demo?live=1"
STAGES = ("preprocess", "detect", "track", "sinks")


def test_meter_measures_the_mean_rate_over_its_window() -> None:
    clock = Clock()
    meter = Meter(10, clock)
    assert (meter.rate, meter.seconds) == (None, 0)
    meter.read(5)
    assert meter.rate is None
    for _ in range(100):
        clock.now += STEP_S
        meter.read(5)
    assert meter.rate == 0
    assert meter.seconds == pytest.approx(10)
    for i in range(50):
        clock.now += STEP_S
        meter.read(6 + i)
    assert meter.rate == pytest.approx(5, rel=0.05), "half of the window at 10 per second"
    for i in range(100):
        clock.now += STEP_S
        meter.read(56 + i)
    assert meter.rate == pytest.approx(10)
    assert 10 <= meter.seconds < 10.5


def test_meter_restarts_when_the_count_falls() -> None:
    clock = Clock()
    meter = Meter(10, clock)
    for count in (100, 110, 2, 4):
        clock.now += 1
        meter.read(count)
    assert (meter.rate, meter.seconds) == (2, 1)


class StageChain:
    """A chain of simulated stages with given frame rates, and their watchdogs.

    Args:
        addresses: addresses of the sources.
        lanes: number of lanes.
        table: settings of the supervisor.
    """

    def __init__(self, *addresses: str, lanes: int = 1, **table: object) -> None:
        self.clock, self.counts = Clock(), {}
        sources = [(f"s{i}", address) for i, address in enumerate(addresses)]
        plans = plan(
            Config(placement=Placement(lanes=lanes)),
            sources,
            None,
            "s",
            Path("/nowhere"),
            {"thread": "", "process": ""},
        )
        config = SupervisorConfig(slow_s=4, **table)  # type: ignore[arg-type]
        self.watches = {each.name: Watchdog(each, config, self.clock) for each in plans}
        for watch in self.watches.values():
            watch.start(lambda _: Child())
        self.paces = PaceMonitor(config, [id_ for id_, address in sources if address == CAMERA], self.clock)

    def advance(self, seconds: float, came: dict[str, float], idle: dict[str, float], done: dict[str, float]) -> None:
        """Advance the time.

        Args:
            seconds: number of seconds.
            came: frames/s captured, by source.
            idle: idle fraction, by stage.
            done: frames/s processed by every stage except captures, by source.
        """
        for _ in range(round(seconds / STEP_S)):
            self.clock.now += STEP_S
            for key, rate in [(("came", s), r) for s, r in came.items()] + [(("done", s), r) for s, r in done.items()]:
                self.counts[key] = self.counts.get(key, 0.0) + rate * STEP_S
            for name, watch in self.watches.items():
                self.counts["idle", name] = self.counts.get(("idle", name), 0.0) + idle.get(name, 0.0) * STEP_S
                first = name.startswith("capture.")
                queues = {
                    source: Account(
                        entered=int(self.counts.get(("came" if first else "done", source), 0)),
                        delivered=int(self.counts.get(("done", source), 0)),
                    )
                    for source in watch.plan.sources
                }
                watch.record_state(
                    StageState(stage=name, state="running", queues=queues, idle_s=self.counts["idle", name])
                )
            self.paces.update(self.watches, judge=True)

    @property
    def slow(self) -> list[str]:
        return [name for name, pace in self.paces.now.items() if pace.slow]


BUSY = {"preprocess": 0.6, "detect": 0.02, "track": 0.8, "sinks": 0.9}


def test_least_idle_stage_is_slow_while_the_camera_is_faster() -> None:
    line = StageChain(CAMERA)
    line.advance(3.9, {"s0": 25}, BUSY, {"s0": 10})
    assert line.slow == [], "not long enough"
    line.advance(0.5, {"s0": 25}, BUSY, {"s0": 10})
    assert line.slow == ["detect"]
    pace = line.paces.now["detect"]
    assert (pace.rate, pace.expected) == (pytest.approx(10, rel=0.1), pytest.approx(25, rel=0.1))
    assert pace.idle == pytest.approx(0.02)
    line.advance(5, {"s0": 25}, BUSY | {"detect": 0.5, "track": 0.1}, {"s0": 10})
    assert line.slow == ["track"]
    line.advance(5, {"s0": 10}, BUSY, {"s0": 10})
    assert line.slow == [], "the camera is no faster than the stages"
    assert line.paces.now["capture.s0"].expected is None
    assert line.paces.now["capture.s0"].rate == pytest.approx(10, rel=0.1)


def test_small_or_chance_deviations_are_not_slow() -> None:
    for came, done, slow in ((25, 21, []), (25, 19, ["detect"]), (0.5, 0.25, [])):
        line = StageChain(CAMERA)
        line.advance(8, {"s0": came}, BUSY, {"s0": done})
        assert line.slow == slow, (came, done)


def test_no_expected_rate_if_all_sources_are_files() -> None:
    line = StageChain(FILE)
    line.advance(8, {"s0": 5}, BUSY, {"s0": 5})
    assert [line.paces.now[name].expected for name in STAGES] == [None] * 4
    assert line.paces.now["sinks"].rate == pytest.approx(5, rel=0.1)
    assert line.slow == []


def test_files_beside_cameras_do_not_count() -> None:
    line = StageChain(CAMERA, FILE, CAMERA)
    line.advance(8, {"s0": 10, "s1": 40, "s2": 20}, BUSY, {"s0": 5, "s1": 40, "s2": 5})
    pace = line.paces.now["detect"]
    assert (pace.rate, pace.expected) == (pytest.approx(10, rel=0.1), pytest.approx(30, rel=0.1))
    assert line.slow == ["detect"]


def test_lane_has_to_keep_up_with_its_own_cameras_only() -> None:
    line = StageChain(CAMERA, CAMERA, CAMERA, lanes=2)
    line.advance(8, {"s0": 10, "s1": 25, "s2": 20}, {"track.1": 0.1}, {"s0": 10, "s1": 5, "s2": 20})
    paces = line.paces.now
    assert [paces[name].expected for name in ("detect.0", "detect.1", "sinks")] == pytest.approx([30, 25, 55], rel=0.1)
    assert [paces[name].rate for name in ("detect.0", "detect.1", "sinks")] == pytest.approx([30, 5, 35], rel=0.1)
    assert line.slow == ["sinks", "detect.1", "preprocess.1"], "the least idle stages of what is too slow"


def test_expected_rate_can_be_configured() -> None:
    line = StageChain(FILE, rate=Rates(track=12))
    line.advance(8, {"s0": 5}, BUSY, {"s0": 5})
    assert line.slow == ["track"]
    line = StageChain(CAMERA, rate=Rates(capture=25, detect=4))
    line.advance(8, {"s0": 10}, BUSY, {"s0": 10})
    assert line.paces.now["detect"].expected == 4
    assert line.slow == ["capture.s0"], "a camera below its expected rate"


def test_zero_slow_share_disables_the_check() -> None:
    line = StageChain(CAMERA, slow_share=0)
    line.advance(8, {"s0": 25}, BUSY, {"s0": 1})
    assert line.slow == []


def test_measuring_restarts_with_a_stage() -> None:
    line = StageChain(CAMERA)
    line.advance(8, {"s0": 25}, BUSY, {"s0": 10})
    assert line.slow == ["detect"]
    line.watches["track"].record_state(StageState(stage="track", state="starting"))
    line.paces.update(line.watches, judge=True)
    assert line.slow == []
    line.advance(3, {"s0": 25}, BUSY, {"s0": 10})
    assert line.slow == []
    line.advance(2, {"s0": 25}, BUSY, {"s0": 10})
    assert line.slow == ["detect"]


def test_ending_run_is_not_judged() -> None:
    line = StageChain(CAMERA)
    line.advance(8, {"s0": 25}, BUSY, {"s0": 10})
    line.paces.update(line.watches, judge=False)
    assert line.slow == []
