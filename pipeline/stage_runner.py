"""Builds a stage from its plan and runs it, in a thread of the main process or in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import zmq

from pipeline.accounting import Ledger
from pipeline.capture.address import redact
from pipeline.capture.factory import open_source
from pipeline.capture.live import Feed, LiveSource
from pipeline.capture.source import Source
from pipeline.capture.stage import CaptureLoop, resume
from pipeline.control_link import Link, StageState
from pipeline.cores import usable_cores
from pipeline.errors import PipelineError, SourceError, one_line
from pipeline.graph import StagePlan
from pipeline.journal import Journal
from pipeline.malloc import keep_freed_memory
from pipeline.queues import Sender
from pipeline.receiver import Receiver
from pipeline.stage import Stage, StageLoop


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
