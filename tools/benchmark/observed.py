"""Run the pipeline in this process under its own supervisor and record the time stamps of every processed frame.

Only the sinks are built here: a recorder around them collects the time stamps that every frame carries.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import psutil
import zmq

from pipeline.accounting import total
from pipeline.child import Child, ThreadChild
from pipeline.config import Config
from pipeline.control_link import Link, SourceReport
from pipeline.graph import Role, StagePlan
from pipeline.journal import Journal
from pipeline.messages import Packet, Stamp, Tracked
from pipeline.receiver import Receiver
from pipeline.sinks.stage import SinkStage
from pipeline.stage import StageLoop
from pipeline.supervisor import Supervisor
from tools.benchmark.job import Unmeasured

OTHERS = "other threads"
"""Name for threads that do not belong to one stage: those of the network, of OpenCV and of ZeroMQ."""


class Passage(NamedTuple):
    """Time stamps of one frame that passed all stages.

    Attributes:
        source: source id.
        capture_ns: monotonic time of capture.
        stamps: times at which the frame entered and left each stage; the sinks are last.
    """

    source: str
    capture_ns: int
    stamps: tuple[Stamp, ...]

    @property
    def track_ms(self) -> float:
        """Age of the frame's tracks in ms: from capture to the end of the stage before the sinks."""
        return (self.stamps[-2].leave_ns - self.capture_ns) / 1e6

    @property
    def done_ns(self) -> int:
        """Monotonic time at which the sinks finished the frame."""
        return self.stamps[-1].leave_ns

    @property
    def batch_ns(self) -> int:
        """Monotonic time at which the frame's batch entered the detector; unique to the batch."""
        return next(stamp.enter_ns for stamp in self.stamps if stamp.stage == "detect")


class Snapshot(NamedTuple):
    """Counters of the run at one moment.

    Attributes:
        at_ns: monotonic time.
        cpu_s: CPU seconds spent so far by each stage and by ``OTHERS``, without those of the supervisor.
        captured, dropped: frames so far, by source.
        idle: last report of each stage: the time of the report (monotonic ns), and the total seconds until then in
            which the stage had nothing to do or could not pass on its output.
    """

    at_ns: int
    cpu_s: Mapping[str, float]
    captured: Mapping[str, int]
    dropped: Mapping[str, int]
    idle: Mapping[str, tuple[int, float]] = {}


class Observation(NamedTuple):
    """Measurements of a run between two snapshots.

    Attributes:
        passages: processed frames, in order of arrival.
        begin, end: the snapshots.
        facts: facts reported by the detector, such as backend and precision.
    """

    passages: list[Passage]
    begin: Snapshot
    end: Snapshot
    facts: Mapping[str, str]

    @property
    def seconds(self) -> float:
        """Time between the snapshots in s."""
        return (self.end.at_ns - self.begin.at_ns) / 1e9

    @property
    def rate(self) -> float:
        """Processed frames per second from the end of the first batch on; nan with fewer than two batches.

        The frames of a batch arrive together. The first batch is left out, because the time that it took is not known.
        """
        batches = [passage.batch_ns for passage in self.passages]
        first = batches.count(batches[0]) if batches else 0
        if first == len(batches):
            return float("nan")
        return (len(batches) - first) / (self.passages[-1].done_ns - self.passages[first - 1].done_ns) * 1e9

    @property
    def dropped(self) -> dict[str, int]:
        """Frames dropped or lost between the snapshots, by source."""
        return {source: count - self.begin.dropped[source] for source, count in self.end.dropped.items()}

    @property
    def captured(self) -> dict[str, int]:
        """Frames captured between the snapshots, by source."""
        return {source: count - self.begin.captured[source] for source, count in self.end.captured.items()}

    @property
    def busy(self) -> dict[str, float]:
        """Share of the time in which each stage except capture was working.

        Stages report every quarter of a second, and the share refers to the time between two reports. Stages that
        reported only once are left out.
        """
        both = {
            stage: (*self.begin.idle[stage], *end) for stage, end in self.end.idle.items() if stage in self.begin.idle
        }
        return {
            stage: 1 - (idle_s - idle_before_s) / (until_ns - since_ns) * 1e9
            for stage, (since_ns, idle_before_s, until_ns, idle_s) in both.items()
            if until_ns > since_ns
        }

    def cpu_ms_per_frame(self) -> dict[str, float]:
        """Return the CPU time per frame in ms by stage. Stages that started or ended in between are left out."""
        frames = max(1, len(self.passages))
        both = self.begin.cpu_s.keys() & self.end.cpu_s.keys()
        return {name: 1000 * (self.end.cpu_s[name] - self.begin.cpu_s[name]) / frames for name in sorted(both)}


def observe(
    config: Config, addresses: Sequence[str], out: Path, seconds: float | None = None, warm_up_s: float = 1.0
) -> Observation:
    """Run the pipeline and measure it.

    Args:
        config: configuration of the run; the sinks always run as a thread of this process.
        addresses: addresses of the sources.
        out: folder for the output files.
        seconds: duration of the measurement, starting ``warm_up_s`` after every source has produced a result. None
            measures from the first result to the end of the sources.
        warm_up_s: warm-up time in s; unused if ``seconds`` is None.

    Raises:
        Unmeasured: the run failed; the message is its first error.
    """
    run = _ObservedRun(config, addresses, out, seconds, warm_up_s)
    outcome = run.run([run.look])
    if outcome.errors:
        raise Unmeasured(outcome.errors[0])
    if run.begin is None or run.end is None:
        raise Unmeasured("the run ended before it could be measured")
    inside = [p for p in run.passages if run.begin.at_ns <= p.done_ns <= run.end.at_ns]
    return Observation(inside, run.begin, run.end, outcome.facts.get("detect", {}))


class _ObservedRun(Supervisor):
    def __init__(
        self, config: Config, addresses: Sequence[str], out: Path, seconds: float | None, warm_up_s: float
    ) -> None:
        sources = [(f"s{i}", address) for i, address in enumerate(addresses)]
        super().__init__(config, sources, out)
        self.passages: list[Passage] = []
        self.begin: Snapshot | None = None
        self.end: Snapshot | None = None
        self._seconds, self._warm_up_s = seconds, warm_up_s
        self._warm_at = 0.0

    def look(self, _: Supervisor) -> None:
        now = time.monotonic()
        if self._seconds is None:
            if self.begin is None and self.passages:
                self.begin = self._snapshot()._replace(at_ns=self.passages[0].done_ns)
            self.end = self._snapshot()
            return
        if not self._warm_at and len({passage.source for passage in self.passages}) == len(self.source_ids):
            self._warm_at = now + self._warm_up_s
        if self.begin is None and self._warm_at and now >= self._warm_at:
            self.begin = self._snapshot()
        if (
            self.begin is not None
            and self.end is None
            and time.monotonic_ns() - self.begin.at_ns >= self._seconds * 1e9
        ):
            self.end = self._snapshot()
            self.stop()

    def _launch(self, plan: StagePlan) -> Child:
        return _RecordedSinks(plan, self._context, self.passages) if plan.role == "sinks" else super()._launch(plan)

    def _snapshot(self) -> Snapshot:
        accounts = {source: self.account(source) for source in self.source_ids}
        return Snapshot(
            time.monotonic_ns(),
            self._cpu_s(),
            {source: account.entered for source, account in accounts.items()},
            {source: total(account.dropped) + total(account.lost) for source, account in accounts.items()},
            {
                name: (state.idle_until_ns, state.idle_s)
                for name, state in self.states.items()
                if not name.startswith("capture.")
            },
        )

    def _cpu_s(self) -> dict[str, float]:
        """Sum the CPU seconds of threads of this process and of worker processes by stage."""
        names = {thread.native_id: thread.name for thread in threading.enumerate()}
        main = threading.main_thread().native_id
        spent: dict[str, float] = {}
        for thread in psutil.Process().threads():
            if thread.id != main:
                name = self._stage_of(names.get(thread.id, ""))
                spent[name] = spent.get(name, 0.0) + thread.user_time + thread.system_time
        for plan_name, watch in self.watches.items():
            if watch.plan.where == "process" and watch.pid is not None:
                with contextlib.suppress(psutil.Error):
                    times = psutil.Process(watch.pid).cpu_times()
                    name = self._stage_of(plan_name)
                    spent[name] = spent.get(name, 0.0) + times.user + times.system
        return spent

    def _stage_of(self, name: str) -> str:
        """Return the stage that a thread or process belongs to by its name; all cameras count as one stage."""
        if name.startswith(("capture.", "read ")):
            return "capture"
        stage = name.partition("_")[0].partition(".")[0]  # thread pools append a number to the name, lanes another
        return stage if stage in get_args(Role) else OTHERS


class _RecordedSinks(ThreadChild):
    def __init__(self, plan: StagePlan, context: zmq.Context[zmq.Socket[bytes]], passages: list[Passage]) -> None:
        self._thread = threading.Thread(target=_run_sinks, args=(plan, context, passages), name=plan.name, daemon=True)
        self._thread.start()


def _run_sinks(plan: StagePlan, context: zmq.Context[zmq.Socket[bytes]], passages: list[Passage]) -> None:
    link = Link(context, plan.control, plan.name)
    journal = Journal(Path(plan.journal), plan.sources)
    sinks = SinkStage(plan.config.sinks, Path(plan.out) if plan.out else None, link.ask_stop, journal=journal)
    inputs = [Receiver(context, endpoint, plan.session, plan.credits) for endpoint in plan.inputs]
    StageLoop(plan.name, _Recorder(sinks, passages), inputs, None, link, plan.sources, plan.session).run()


class _Recorder:
    """Wraps the sinks and records every frame that they finish."""

    batch_size = 1
    window_s = 0.0

    def __init__(self, sinks: SinkStage, passages: list[Passage]) -> None:
        self._sinks, self._passages = sinks, passages
        self.open, self.close, self.facts = sinks.open, sinks.close, sinks.facts

    def process(self, packets: Sequence[Packet]) -> Iterable[Packet]:
        enter = time.monotonic_ns()
        out = self._sinks.process(packets)
        stamp = Stamp(stage="sinks", enter_ns=enter, leave_ns=time.monotonic_ns())
        for message, _ in packets:
            if isinstance(message, Tracked):
                header = message.header
                self._passages.append(Passage(header.source, header.capture_mono_ns, (*header.stamps, stamp)))
        return out

    def reports(self) -> Mapping[str, SourceReport]:
        return self._sinks.reports()
