"""Table of faults: each with the source it is tried on, the settings it needs and the promised outcome."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from pipeline.config import Config
from pipeline.watchdog import EXIT_GRACE_S
from tools.chaos import injections
from tools.chaos.camera import FFMPEG
from tools.chaos.checks import Expect
from tools.chaos.preload import COMPILER
from tools.chaos.run import STAGES
from tools.chaos.wall_clock import WallClock
from tools.chaos.wedge import Wedge

SLACK_S = 10.0
"""Recovery limit, with room for a busy machine, where the configuration sets none."""
FAST = "test://demo?width=96&height=64&frames=20000&fps=250&live=1"
CREDITS = 2
CUT_OFF = Expect(exit_code=130, drained=False, complete=False, lost={"not drained": 100})
STOPPED = Expect(exit_code=130, complete=False)


@dataclass(frozen=True)
class Fault:
    """One fault of the table.

    Attributes:
        name: what happens, in words.
        inject: function that injects the fault into a run in progress.
        expect: promised outcome.
        source: ``file`` is read to its end; ``camera`` serves that file live until the run is stopped; any other value
            is an address.
        settings: settings in addition to those of all runs.
        within: function that returns the longest allowed recovery in s for a configuration.
        small_disk: write the outputs to a small separate disk.
        small_memory: give the run a shared memory (/dev/shm) with almost no space.
        tool: code preloaded into the run: an adjustable wall clock, or system calls that do not return.
    """

    name: str
    inject: injections.Injection
    expect: Expect = field(default_factory=Expect)
    source: Literal["file", "camera"] | str = "file"
    settings: tuple[str, ...] = ()
    within: Callable[[Config], float] = lambda config: SLACK_S
    small_disk: bool = False
    small_memory: bool = False
    tool: type[WallClock | Wedge] | None = None

    def obstacle(self) -> str:
        """Return why the fault cannot be tried on this machine; empty if it can."""
        if self.source == "camera" and FFMPEG is None:
            return "the ffmpeg program is not installed"
        if self.small_disk and (os.geteuid() or not shutil.which("mount")):
            return "mounting a small disk needs root"
        if self.small_memory and (os.geteuid() or not shutil.which("unshare")):
            return "a separate /dev/shm needs root"
        if self.tool and COMPILER is None:
            return "no C compiler for the code preloaded into the run"
        return ""


def after_death(config: Config) -> float:
    """Return the recovery limit after a crash: detection in ``EXIT_GRACE_S``, restart delay and start."""
    return EXIT_GRACE_S + config.supervisor.backoff_max_s + config.supervisor.start_s


def after_hang(config: Config) -> float:
    """Return the recovery limit for a stage that hangs and does not react to SIGTERM."""
    return config.supervisor.stuck_s.track + config.supervisor.term_s + after_death(config)


def after_thaw(config: Config) -> float:
    """Return the recovery limit for sinks that hang but exit on SIGTERM."""
    return config.supervisor.stuck_s.sinks + config.supervisor.term_s + after_death(config)


def after_freeze(_: Config) -> float:
    """Return the recovery limit for a frozen stage: the longest freeze plus slack."""
    return injections.LONG_FREEZE_S + SLACK_S


def after_outage(config: Config) -> float:
    """Return the recovery limit after an outage of the camera.

    It is the sum of the outage, the time to notice it, the longest delay between reconnects and one attempt.
    """
    capture = config.capture
    return injections.OUTAGE_S + capture.read_timeout_s + capture.reconnect.max_s + capture.open_timeout_s


def restarted(*stages: str, lost: int = 0, exit_code: int = 0, named: str = "") -> Expect:
    """Return the outcome of a run that continues after restarts of exactly these stages."""
    again = frozenset(stages)
    return Expect(exit_code, complete=not exit_code, lost={"crash": lost} if lost else {}, restarted=again, named=named)


FAULTS = (
    *(Fault(f"kill {stage}", injections.kill(stage), restarted(stage), within=after_death) for stage in STAGES),
    Fault(
        "kill detect and track", injections.kill("detect", "track"),
        restarted("detect", "track", lost=2 * CREDITS), within=after_death,
    ),
    *(Fault(f"freeze {stage}", injections.freeze(stage), within=after_freeze) for stage in STAGES),
    Fault(
        "freeze detect until its neighbours hang up", injections.freeze("detect", injections.LONG_FREEZE_S),
        within=after_freeze,
    ),
    Fault(
        "hang track", injections.hang("track"), restarted("track", named="(no heartbeat for 3 s, killed by SIGKILL)"),
        settings=("supervisor.stuck_s.track=3",), within=after_hang,
    ),
    Fault(
        "hang track in C code", injections.wedge("track"),
        restarted("track", named="(no heartbeat for 3 s, killed by SIGKILL)"),
        settings=("supervisor.stuck_s.track=3",), within=after_hang, tool=Wedge,
    ),
    Fault(
        "hang sinks until they are asked to leave", injections.hang_until_asked("sinks"),
        restarted("sinks", named="(no heartbeat for 3 s, killed by SIGTERM)"),
        settings=("supervisor.stuck_s.sinks=3", "supervisor.term_s=30"), within=after_thaw,
    ),
    Fault("kill supervisor", injections.kill_supervisor, Expect(-9, drained=None)),
    Fault("kill everything", injections.kill_everything, Expect(-9, drained=None)),
    Fault("terminate", injections.terminate, STOPPED),
    Fault("terminate, twice", injections.terminate_twice, CUT_OFF),
    Fault("terminate everything", injections.terminate_everything, STOPPED),
    Fault("terminate before a restart", injections.terminate_in_pause, restarted("detect", exit_code=130)),
    Fault("terminate during a restart", injections.terminate_in_start, restarted("detect", exit_code=130)),
    Fault("intruder on Unix sockets", injections.intrude, STOPPED, "camera"),
    Fault("intruder on TCP", injections.intrude, STOPPED, "camera", settings=("queue.transport=tcp",)),
    Fault("camera lost", injections.lose_camera, STOPPED, "camera", within=after_outage),
    Fault("camera sends garbage", injections.garble_camera, STOPPED, "camera", within=after_outage),
    Fault("camera stalls", injections.stall_camera, STOPPED, "camera", within=after_outage),
    Fault("camera changes its size", injections.resize_camera, STOPPED, "camera", within=after_outage),
    Fault("slow viewer", injections.freeze("sinks"), STOPPED, "camera", within=after_freeze),
    Fault(
        "viewer killed", injections.kill("sinks"), restarted("sinks", lost=10, exit_code=130), "camera",
        within=after_death,
    ),
    Fault("ten times the frame rate", injections.wait, STOPPED, FAST),
    Fault("disk full", injections.fill_disk, Expect(5, drained=None, named="No space left"), small_disk=True),
    Fault("tiny shared memory", injections.nothing, small_memory=True),
    Fault("clock leaps", injections.step_clock, tool=WallClock),
)  # fmt: skip
