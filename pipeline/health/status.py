"""Snapshot of the state of a run, collected from the supervisor, and its classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import psutil
from msgspec import Struct

from pipeline.capture.address import redact
from pipeline.control_link import Latency, LatencyBuckets, SourceReport
from pipeline.pace import Pace
from pipeline.supervisor import Supervisor
from pipeline.watchdog import Watchdog

RunState = Literal["starting", "running", "degraded", "draining"]


class StageStatus(Struct, frozen=True, kw_only=True):
    """Status of a stage.

    Attributes:
        where: ``thread`` or ``process``.
        pid: Process in which the stage runs; None while it does not run.
        state: State reported by the stage, or ``waiting`` before its first heartbeat, ``stuck`` if it hangs, ``dead``
            if it died and has not been restarted yet.
        beat_age_s: Seconds since the last heartbeat.
        restarts: Number of restarts.
        causes: Reason of each restart.
        backlog: Frames that wait for the stage or are being processed by it.
        rate, expected_rate, idle_share, slow: See ``pipeline.pace.Pace``.
        rejected: Invalid control messages to its outgoing queue.
        duplicates: Messages discarded because they had been received before.
        rss_bytes: Resident memory of its process; None if it is a thread of the supervisor.
    """

    where: str
    pid: int | None
    state: str
    beat_age_s: float
    restarts: int
    causes: Sequence[str]
    backlog: int
    rate: float | None
    expected_rate: float | None
    idle_share: float | None
    slow: bool
    rejected: int
    duplicates: int
    rss_bytes: int | None


class SourceStatus(Struct, frozen=True, kw_only=True):
    """Status of a source.

    Attributes:
        medium: State of the medium: ``open``, ``reconnecting`` and so on; empty before the first report of the capture.
        reconnects: Number of reconnections since the last start of its capture stage.
        captured, delivered, dropped, lost, in_flight: Loss account of the source, in frames.
        fps: Delivered frames per second since the first one.
        newest_age_s: Seconds since the newest delivered frame was captured; None before the first one and after the end
            of the source.
        latency_ms: Latency from capture to the end of each stage, over all frames.
        buckets: The same latencies as a histogram.
        ego_ok: Frames with a reliable ego-motion estimate.
        tracks: Number of tracks in the newest frame, by state; empty after the end of the source.
        tracks_confirmed: Number of distinct tracks confirmed so far.
        places: Number of known clutter locations in the ``scene`` and on the ``sensor``, and of the pixels hidden from
            the network: single defects (``pixel``) and burnt-in ``graphics``; without those that no stage has reported
            yet.
        black_hot: Whether hot objects are dark in the newest frame.
        end, error: How and why the source ended; empty while it runs.
    """

    medium: str
    reconnects: int
    captured: int
    delivered: int
    dropped: Mapping[str, int]
    lost: Mapping[str, int]
    in_flight: int
    fps: float
    newest_age_s: float | None
    latency_ms: Mapping[str, Latency]
    buckets: Mapping[str, LatencyBuckets]
    ego_ok: int
    tracks: Mapping[str, int]
    tracks_confirmed: int
    places: Mapping[str, int]
    black_hot: bool
    end: str
    error: str


class RunStatus(Struct, frozen=True, kw_only=True):
    """Status of a run.

    Attributes:
        pid: Process id of the supervisor.
        state: ``degraded`` if there are ``troubles``.
        troubles: Current problems, one line each.
        uptime_s: Seconds since the supervisor was created.
        rss_bytes: Resident memory of the supervisor's process, which includes all stages that are threads.
        facts: Facts of the detect stage: weights, sha256, backend, device and so on.
        stages: Status of the stages, by name.
        sources: Status of the sources, by id.
    """

    pid: int
    state: RunState
    troubles: Sequence[str]
    uptime_s: float
    rss_bytes: int
    facts: Mapping[str, str]
    stages: Mapping[str, StageStatus]
    sources: Mapping[str, SourceStatus]


def observe(supervisor: Supervisor, now_ns: int, max_age_s: float) -> RunStatus:
    """Collect the status of a run; called in the supervisor's thread.

    Args:
        supervisor: Supervisor of the run.
        now_ns: Current monotonic time, ns.
        max_age_s: Age of the newest result, s, above which a source counts as a trouble. Before its first result, the
            time since all of its stages have been ready counts.
    """
    watches, reports = supervisor.watches, supervisor.reports()
    uptime_s = (now_ns - supervisor.born_ns) / 1e9
    stages = {name: _stage(watch, watches, supervisor.paces.get(name, Pace())) for name, watch in watches.items()}
    sources = {id_: _source(supervisor, id_, reports.get(id_, SourceReport()), now_ns) for id_ in supervisor.source_ids}
    troubles = [
        *(f"stage {name} {line}" for name, watch in watches.items() if (line := _stage_trouble(watch, stages[name]))),
        *(
            line
            for id_, source in sources.items()
            for line in _source_troubles(id_, source, _open_s(watches, id_), max_age_s)
        ),
    ]
    state: RunState = "running"
    if supervisor.stopping:
        state = "draining"
    elif any(stage.state in ("waiting", "starting") and not stage.restarts for stage in stages.values()):
        state = "starting"
    elif troubles:
        state = "degraded"
    own = psutil.Process()
    return RunStatus(
        pid=own.pid,
        state=state,
        troubles=troubles,
        uptime_s=round(uptime_s, 3),
        rss_bytes=own.memory_info().rss,
        facts=supervisor.facts().get("detect", {}),
        stages=stages,
        sources=sources,
    )


def _stage(watch: Watchdog, watches: Mapping[str, Watchdog], pace: Pace) -> StageStatus:
    reported = watch.state
    state: str = "waiting" if reported is None else reported.state
    if watch.pid is None and not watch.final and (reported is not None or watch.causes):
        state = "dead"
    elif watch.stuck:
        state = "stuck"
    before = [other.state for other in watches.values() if other.plan.output in watch.plan.inputs]
    backlog = sum(account.in_flight for other in before if other is not None for account in other.queues.values())
    return StageStatus(
        where=watch.plan.where,
        pid=watch.pid,
        state=state,
        beat_age_s=round(watch.silent_s, 3),
        restarts=len(watch.causes),
        causes=list(watch.causes),
        backlog=backlog,
        rate=pace.rate,
        expected_rate=pace.expected,
        idle_share=pace.idle,
        slow=pace.slow,
        rejected=reported.rejected if reported is not None else 0,
        duplicates=reported.duplicates if reported is not None else 0,
        rss_bytes=_memory(watch.pid) if watch.plan.where == "process" else None,
    )


def _source(supervisor: Supervisor, id_: str, report: SourceReport, now_ns: int) -> SourceStatus:
    account, capture = supervisor.account(id_), supervisor.states.get(f"capture.{id_}")
    states = [watch.state for watch in supervisor.watches.values() if watch.plan.role in ("preprocess", "track")]
    known = [state.reports[id_] for state in states if state is not None and id_ in state.reports]
    return SourceStatus(
        medium=capture.facts.get("state", "") if capture is not None else "",
        reconnects=int(capture.facts.get("reconnects", 0)) if capture is not None else 0,
        captured=account.entered,
        delivered=account.delivered,
        dropped=account.dropped,
        lost=account.lost,
        in_flight=account.in_flight,
        fps=report.fps,
        newest_age_s=round((now_ns - report.newest_ns) / 1e9, 3) if report.newest_ns and not report.end else None,
        latency_ms=report.latency,
        buckets=report.buckets,
        ego_ok=report.ego_ok,
        tracks=report.tracks if not report.end else {},
        tracks_confirmed=report.tracks_confirmed,
        places={where: count for each in known for where, count in each.places.items()},
        black_hot=any(each.black_hot for each in known),
        end=report.end,
        error=redact(report.error),
    )


def _stage_trouble(watch: Watchdog, stage: StageStatus) -> str:
    if stage.state == "dead" and stage.causes:
        return f"died ({stage.causes[-1]}) and is restarted"
    if stage.state in ("dead", "failed"):
        return stage.state
    if stage.state in ("waiting", "starting") and stage.restarts:
        return f"is starting again (after: {stage.causes[-1]})"
    if stage.state == "stuck":
        return f"is stuck: {watch.stuck}"
    if stage.slow:
        return f"is slow: {stage.rate:.1f} of {stage.expected_rate:.1f} messages/s"
    return ""


def _open_s(watches: Mapping[str, Watchdog], id_: str) -> float:
    """Return for how many seconds all stages on the way of a source have been ready."""
    return min(watch.open_s for watch in watches.values() if id_ in watch.plan.sources)


def _source_troubles(id_: str, source: SourceStatus, open_s: float, max_age_s: float) -> list[str]:
    if source.end:
        return [f"source {id_} failed: {source.error}"] if source.end == "failed" else []
    found = [f"source {id_} is reconnecting"] if source.medium == "reconnecting" else []
    if source.newest_age_s is not None and source.newest_age_s > max_age_s:
        found.append(f"source {id_}: newest result is {source.newest_age_s:.1f} s old")
    elif source.newest_age_s is None and open_s > max_age_s:
        found.append(f"source {id_}: no result for {open_s:.1f} s")
    return found


def _memory(pid: int | None) -> int | None:
    try:
        return int(psutil.Process(pid).memory_info().rss) if pid is not None else None
    except psutil.Error:
        return None
