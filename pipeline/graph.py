"""The graph of stages and queues, and where each stage runs.

    capture (one per source) -> preprocess -> detect -> track -> sinks

A plan contains everything that a stage needs, so that it can be built in a thread or in a process in the same way. The
endpoint between two stages follows from where they run; the stages themselves do not depend on it.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Literal

import zmq
from msgspec import Struct
from msgspec.structs import replace

from pipeline.accounting import Ledger
from pipeline.capture.address import redact
from pipeline.capture.factory import is_live, open_source
from pipeline.capture.live import Feed, LiveSource
from pipeline.capture.source import Source
from pipeline.capture.stage import CaptureLoop, resume
from pipeline.config import Config, Where
from pipeline.control_link import Link, SourceReport, StageState
from pipeline.cores import usable_cores
from pipeline.errors import ConfigError, PipelineError, SourceError, one_line
from pipeline.journal import Journal
from pipeline.malloc import keep_freed_memory
from pipeline.queues import Policy, Sender
from pipeline.receiver import Receiver
from pipeline.stage import Stage, StageLoop

Role = Literal["capture", "preprocess", "detect", "track", "sinks"]
CHAIN: tuple[Role, ...] = ("preprocess", "detect", "track", "sinks")
FILES, FILES_PER_SOURCE = 64, {"thread": 10, "process": 6}
"""Open files of this process, and additional ones per source by where it is captured. Every socket needs one."""


class StagePlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is needed to build and run one stage anywhere on this machine.

    Attributes:
        name: unique name in the graph: ``capture.ID`` or the role.
        role: kind of stage.
        where: whether it runs in a thread or in a process.
        session: name of the run.
        sources: ids of the sources whose frames it processes; for capture, its own source.
        inputs, output: endpoints of its queues.
        credits: number of frames that may be in transit to it from each input.
        per_source: number of outgoing frames of one source that may be in transit at once; None means no limit other
            than the credits.
        control: endpoint of the supervisor's switchboard.
        journal: path of the file for counters that survive the stage.
        attempt: number of times that the stage has died before.
        address: address of the source with credentials; for capture only.
        policy: drop policy of the source; for capture only.
        out: output folder; for sinks only.
        config: configuration of the run.
    """

    name: str
    role: Role
    where: Where
    session: str
    sources: tuple[str, ...]
    inputs: tuple[str, ...] = ()
    output: str | None = None
    credits: int = 1
    per_source: int | None = None
    control: str
    journal: str
    attempt: int = 0
    address: str = ""
    policy: Policy = Policy.LOSSLESS
    out: str | None = None
    config: Config

    def resumed(self, known: Mapping[str, SourceReport]) -> StagePlan:
        """Return the plan for going on with the polarity that a preprocess stage has last reported of its sources."""
        if self.role != "preprocess":
            return self
        configured = self.config.preprocess
        black_hot = [
            source
            for source in self.sources
            if (known[source].black_hot if source in known else configured.is_black_hot(source))
        ]
        return replace(self, config=replace(self.config, preprocess=replace(configured, black_hot=black_hot)))

    @property
    def waits(self) -> bool:
        """Whether the source waits for the stages instead of running at its own frame rate; for captures only."""
        return self.policy is Policy.LOSSLESS and not is_live(self.address)


def plan(
    config: Config,
    sources: Sequence[tuple[str, str]],
    out: Path | None,
    session: str,
    folder: Path,
    control: Mapping[Where, str],
) -> list[StagePlan]:
    """Lay out the graph.

    Args:
        config: configuration of the run.
        sources: (id, address) of every source.
        out: output folder, if any.
        session: name of the run.
        folder: private folder for Unix sockets.
        control: endpoints of the supervisor's switchboard, for threads and for processes.

    Returns:
        One plan per stage, from the last stage to the captures, which is the order in which to start them.

    Raises:
        ConfigError: the limit of open files is too low for so many sources.
    """
    where = {role: getattr(config.placement, role) for role in CHAIN}
    if config.sinks.display:
        where["sinks"] = "process"  # window systems require the main thread of a process
    captures: dict[str, Where] = {
        id_: ("process" if is_live(address) else "thread")
        if config.placement.capture == "auto"
        else config.placement.capture
        for id_, address in sources
    }
    needed, allowed = FILES + sum(FILES_PER_SOURCE[place] for place in captures.values()), getrlimit(RLIMIT_NOFILE)[0]
    if RLIM_INFINITY != allowed < needed:
        raise ConfigError(f"{len(sources)} sources need {needed} open files, {allowed} are allowed (see ulimit -n)")

    ports = iter(free_ports(len(sources) + len(CHAIN)))

    def endpoint(name: str, *places: Where) -> str:
        if "process" not in places:
            return f"inproc://{session}.{name}"
        return f"ipc://{folder}/{name}" if config.queue.transport == "ipc" else f"tcp://127.0.0.1:{next(ports)}"

    ids = tuple(id_ for id_, _ in sources)
    policies = {id_: config.queue.policy_for(is_live(address)) for id_, address in sources}
    lossless = set(policies.values()) <= {Policy.LOSSLESS}
    granted = config.queue.granted(lossless)
    # A batch filled by a single camera adds latency: its first frames get older while waiting for the next ones.
    batch = config.detect.batch_size if lossless else min(config.detect.batch_size, len(ids))
    inputs = tuple(endpoint(f"c{i}", captures[id_], where["preprocess"]) for i, id_ in enumerate(ids))
    plans = [
        StagePlan(
            name=f"capture.{id_}",
            role="capture",
            where=captures[id_],
            session=session,
            sources=(id_,),
            output=inputs[i],
            control=control[captures[id_]],
            journal=str(folder / f"capture.{id_}.journal"),
            address=address,
            policy=policies[id_],
            config=config,
        )
        for i, (id_, address) in enumerate(sources)
    ]
    for role, after in zip(CHAIN, (*CHAIN[1:], None), strict=True):
        output = endpoint(role, where[role], where[after]) if after is not None else None
        plans.append(
            StagePlan(
                name=role,
                role=role,
                where=where[role],
                session=session,
                sources=ids,
                inputs=inputs,
                output=output,
                credits=max(granted, batch) if role == "detect" else granted,
                per_source=None if lossless else granted,
                control=control[where[role]],
                journal=str(folder / f"{role}.journal"),
                out=str(out) if out is not None and role == "sinks" else None,
                config=config,
            )
        )
        inputs = (output,) if output is not None else ()
    return plans[::-1]


def run(plan: StagePlan, context: zmq.Context[zmq.Socket[bytes]], unwanted: Callable[[], bool] = lambda: False) -> None:
    """Build a stage from its plan and run it to its end, in the calling thread.

    Args:
        plan: plan of the stage.
        context: ZeroMQ context; threads share the one of the supervisor.
        unwanted: returns True if the process of the stage knows of a reason to exit.
    """
    keep_freed_memory()
    link = Link(context, plan.control, plan.name, unwanted)
    try:
        loop = _loop(plan, context, link)
    except Exception as error:
        code = error.exit_code if isinstance(error, PipelineError) else 5
        link.send_state(StageState(stage=plan.name, state="failed", error=one_line(error), exit_code=code))
        link.close()
        return
    loop.run()


def _loop(plan: StagePlan, context: zmq.Context[zmq.Socket[bytes]], link: Link) -> CaptureLoop | StageLoop:
    queue, journal = plan.config.queue, Journal(Path(plan.journal), plan.sources)
    if plan.role == "capture":
        (id_,) = plan.sources
        assert plan.output is not None
        row = journal.row(id_)
        ledger = Ledger(row)
        source = _set_up_source(plan, seen=ledger.account().entered > 0)
        if plan.attempt:
            resume(ledger, source, plan.policy)
        sender = Sender(
            context,
            plan.output,
            policies={id_: plan.policy},
            staleness_s=queue.staleness_s,
            ledgers={id_: ledger},
            session=plan.session,
        )
        return CaptureLoop(plan.name, source, id_, plan.session, plan.policy, sender, link, row)
    stage = _build(plan, link, journal)
    output = None
    if plan.output is not None:
        output = Sender(context, plan.output, session=plan.session, per_source=plan.per_source)
    inputs = [Receiver(context, endpoint, plan.session, plan.credits) for endpoint in plan.inputs]
    return StageLoop(plan.name, stage, inputs, output, link, plan.sources, plan.session)


def _set_up_source(plan: StagePlan, seen: bool) -> Source:
    """Return the source of a capture. One that cannot be set up fails when it is opened, which ends it and no other."""
    try:
        return open_source(plan.address, plan.config.capture, seen)
    except Exception as error:
        failure = SourceError(str(error)) if isinstance(error, PipelineError) else error

        def connect() -> Feed:
            raise failure

        return LiveSource(redact(plan.address), connect, plan.config.capture)


def _build(plan: StagePlan, link: Link, journal: Journal) -> Stage:
    """Build the stage of a plan. Imports are local so that a process loads only what its own stage needs."""
    config = plan.config
    if plan.role == "preprocess":
        from pipeline.preprocess.stage import PreprocessStage

        return PreprocessStage(
            config.detect.weights,
            config.preprocess,
            config.detect.moving,
            threads=min(len(plan.sources), usable_cores()),
        )
    if plan.role == "detect":
        from pipeline.detect.stage import DetectStage

        return DetectStage(config.detect)
    if plan.role == "track":
        from pipeline.track.stage import TrackStage

        return TrackStage(config.track, config.detect.weights, config.detect.threshold, plan.attempt, journal)
    from pipeline.sinks.stage import SinkStage

    out = Path(plan.out) if plan.out is not None else None
    return SinkStage(
        config.sinks,
        out,
        link.ask_stop,
        attempt=plan.attempt,
        journal=journal,
        masks=config.detect.masks,
        sources=plan.sources,
    )


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports that are free now on the loopback interface."""
    with ExitStack() as held:  # a released port may be assigned again at once
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
