"""The graph of stages and queues, and where each stage runs.

    capture (one per source) -> preprocess -> detect -> track -> sinks

There may be several lanes: copies of preprocess, detect and track, each for some of the sources.

A plan contains everything that a stage needs, so that it can be built in a thread or in a process in the same way. The
endpoint between two stages follows from where they run; the stages themselves do not depend on it.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from resource import RLIM_INFINITY, RLIMIT_NOFILE, getrlimit
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from pipeline.capture.factory import is_live
from pipeline.config import Config, Where
from pipeline.control_link import SourceReport
from pipeline.cores import usable_cores
from pipeline.errors import ConfigError
from pipeline.queues import Policy

Role = Literal["capture", "preprocess", "detect", "track", "sinks"]
LANE: tuple[Role, ...] = ("preprocess", "detect", "track")
FILES, FILES_PER_LANE, FILES_PER_SOURCE = 64, 32, {"thread": 10, "process": 6}
"""Open files of this process, additional ones for every lane but the first, and per source by where it is captured.
Every socket needs one."""


class StagePlan(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All that is needed to build and run one stage anywhere on this machine.

    Attributes:
        name: unique name in the graph: ``capture.ID`` or the role, followed by ``.NUMBER`` if there are several lanes.
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
    where: dict[Role, Where] = {role: getattr(config.placement, role) for role in (*LANE, "sinks")}
    if config.sinks.display:
        where["sinks"] = "process"  # window systems require the main thread of a process
    captures: dict[str, Where] = {
        id_: ("process" if is_live(address) else "thread")
        if config.placement.capture == "auto"
        else config.placement.capture
        for id_, address in sources
    }
    lanes = config.placement.lanes_for(len(sources))
    if lanes > 1 and config.detect.threads is None:
        threads = max(1, usable_cores() // lanes)
        config = replace(config, detect=replace(config.detect, threads=threads))
    _check_open_files(captures, lanes)

    ports = iter(free_ports(len(sources) + lanes * len(LANE)))

    def endpoint(name: str, *places: Where) -> str:
        if "process" not in places:
            return f"inproc://{session}.{name}"
        return f"ipc://{folder}/{name}" if config.queue.transport == "ipc" else f"tcp://127.0.0.1:{next(ports)}"

    ids = tuple(id_ for id_, _ in sources)
    policies = {id_: config.queue.policy_for(is_live(address)) for id_, address in sources}
    lossless = set(policies.values()) <= {Policy.LOSSLESS}
    granted = config.queue.granted(lossless)
    captured = {id_: endpoint(f"c{i}", captures[id_], where["preprocess"]) for i, id_ in enumerate(ids)}
    plans = [
        StagePlan(
            name=f"capture.{id_}",
            role="capture",
            where=captures[id_],
            session=session,
            sources=(id_,),
            output=captured[id_],
            control=control[captures[id_]],
            journal=str(folder / f"capture.{id_}.journal"),
            address=address,
            policy=policies[id_],
            config=config,
        )
        for id_, address in sources
    ]

    def stage(
        role: Role, name: str, members: tuple[str, ...], inputs: tuple[str, ...], after: Role | None
    ) -> StagePlan:
        # A batch filled by a single camera adds latency: its first frames get older while waiting for the next ones.
        batch = config.detect.batch_size if lossless else min(config.detect.batch_size, len(members))
        return StagePlan(
            name=name,
            role=role,
            where=where[role],
            session=session,
            sources=members,
            inputs=inputs,
            output=endpoint(name, where[role], where[after]) if after is not None else None,
            credits=max(granted, batch) if role == "detect" else granted,
            per_source=None if lossless else granted,
            control=control[where[role]],
            journal=str(folder / f"{name}.journal"),
            out=str(out) if out is not None and role == "sinks" else None,
            config=config,
        )

    tracked: list[str] = []
    for lane in range(lanes):
        members = ids[lane::lanes]
        inputs = tuple(captured[id_] for id_ in members)
        for role, after in zip(LANE, (*LANE[1:], "sinks"), strict=True):
            plans.append(stage(role, role if lanes == 1 else f"{role}.{lane}", members, inputs, after))
            inputs = (plans[-1].output or "",)
        tracked += inputs
    plans.append(stage("sinks", "sinks", ids, tuple(tracked), None))
    return plans[::-1]


def _check_open_files(captures: Mapping[str, Where], lanes: int) -> None:
    """Raise ConfigError if the limit of open files is too low, given where each source is captured."""
    needed = FILES + FILES_PER_LANE * (lanes - 1) + sum(FILES_PER_SOURCE[place] for place in captures.values())
    allowed, _ = getrlimit(RLIMIT_NOFILE)
    if RLIM_INFINITY != allowed < needed:
        raise ConfigError(f"{len(captures)} sources need {needed} open files, {allowed} are allowed (see ulimit -n)")


def free_ports(count: int) -> list[int]:
    """Return ``count`` different TCP ports that are free now on the loopback interface."""
    with ExitStack() as held:  # a released port may be assigned again at once
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
