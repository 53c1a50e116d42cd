"""Status of a run in the Prometheus text format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Metric, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    StateSetMetricFamily,
)
from prometheus_client.registry import Collector

from pipeline import __version__
from pipeline.control_link import LATENCY_BOUNDS_S
from pipeline.health.status import RunStatus, SourceStatus, StageStatus

STATES = ("starting", "running", "degraded", "draining")


def render(status: RunStatus) -> bytes:
    """Render the response body of ``/metrics``."""
    registry = CollectorRegistry()
    registry.register(_RunCollector(status))
    return generate_latest(registry)


class _RunCollector(Collector):
    def __init__(self, status: RunStatus) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield all metrics of the run."""
        status = self._status
        info = InfoMetricFamily("irst_run", "Version, weights and backend")
        sentences = ("chosen", "notice")
        facts = {key: value for key, value in status.facts.items() if value and key not in sentences}
        info.add_metric([], {"version": __version__, **facts})
        yield info
        yield StateSetMetricFamily("irst_state", "State of the run", {state: state == status.state for state in STATES})
        yield GaugeMetricFamily("irst_uptime_seconds", "Time since the start", status.uptime_s)
        yield GaugeMetricFamily("irst_troubles", "Problems that degrade the run", len(status.troubles))
        yield _memory(status)
        yield from _stages(status.stages)
        yield from _sources(status.sources)


def _memory(status: RunStatus) -> Metric:
    metric = GaugeMetricFamily("irst_memory_bytes", "Resident memory of a process", labels=["process"])
    metric.add_metric(["supervisor"], status.rss_bytes)
    for name, stage in status.stages.items():
        if stage.rss_bytes is not None:
            metric.add_metric([name], stage.rss_bytes)
    return metric


def _stages(stages: Mapping[str, StageStatus]) -> Iterator[Metric]:
    up = GaugeMetricFamily("irst_stage_up", "1 while the stage runs", labels=["stage"])
    age = GaugeMetricFamily("irst_stage_beat_age_seconds", "Time since the last heartbeat", labels=["stage"])
    backlog = GaugeMetricFamily("irst_stage_backlog_frames", "Frames waiting for the stage", labels=["stage"])
    rate = GaugeMetricFamily("irst_stage_messages_per_second", "Messages processed", labels=["stage"])
    expected = GaugeMetricFamily("irst_stage_expected_messages_per_second", "Messages expected", labels=["stage"])
    idle = GaugeMetricFamily("irst_stage_idle_ratio", "Share of idle time", labels=["stage"])
    slow = GaugeMetricFamily("irst_stage_slow", "1 while the stage is too slow for its expected rate", labels=["stage"])
    restarts = CounterMetricFamily("irst_stage_restarts", "Restarts of the stage", labels=["stage"])
    rejected = CounterMetricFamily("irst_rejected_messages", "Invalid control messages", labels=["stage"])
    duplicates = CounterMetricFamily("irst_duplicate_messages", "Duplicate messages discarded", labels=["stage"])
    for name, stage in stages.items():
        up.add_metric([name], stage.state == "running")
        age.add_metric([name], stage.beat_age_s)
        backlog.add_metric([name], stage.backlog)
        for family, value in ((rate, stage.rate), (expected, stage.expected_rate), (idle, stage.idle_share)):
            if value is not None:
                family.add_metric([name], value)
        slow.add_metric([name], stage.slow)
        restarts.add_metric([name], stage.restarts)
        rejected.add_metric([name], stage.rejected)
        duplicates.add_metric([name], stage.duplicates)
    yield from (up, age, backlog, rate, expected, idle, slow, restarts, rejected, duplicates)


def _sources(sources: Mapping[str, SourceStatus]) -> Iterator[Metric]:
    captured = CounterMetricFamily("irst_frames_captured", "Frames captured", labels=["source"])
    delivered = CounterMetricFamily("irst_frames_delivered", "Frames with results", labels=["source"])
    dropped = CounterMetricFamily("irst_frames_dropped", "Frames dropped by policy", labels=["source", "cause"])
    lost = CounterMetricFamily("irst_frames_lost", "Frames lost", labels=["source", "cause"])
    in_flight = GaugeMetricFamily("irst_frames_in_flight", "Frames being processed", labels=["source"])
    up = GaugeMetricFamily("irst_source_up", "1 while the source is open", labels=["source"])
    reconnects = CounterMetricFamily("irst_source_reconnects", "Reconnections of the source", labels=["source"])
    fps = GaugeMetricFamily("irst_frames_per_second", "Mean rate of results", labels=["source"])
    age = GaugeMetricFamily("irst_newest_frame_age_seconds", "Age of the newest result", labels=["source"])
    ego = CounterMetricFamily("irst_ego_motion_ok", "Frames with reliable ego-motion", labels=["source"])
    tracks = GaugeMetricFamily("irst_tracks", "Tracks in the newest frame", labels=["source", "state"])
    confirmed = CounterMetricFamily("irst_tracks_confirmed", "Tracks ever confirmed", labels=["source"])
    places = GaugeMetricFamily("irst_clutter_places", "Known clutter locations", labels=["source", "on"])
    black_hot = GaugeMetricFamily("irst_black_hot", "1 while hot objects are dark", labels=["source"])
    latency = HistogramMetricFamily("irst_latency_seconds", "Capture to end of stage", labels=["source", "stage"])
    for id_, source in sources.items():
        captured.add_metric([id_], source.captured)
        delivered.add_metric([id_], source.delivered)
        for cause, count in source.dropped.items():
            dropped.add_metric([id_, cause], count)
        for cause, count in source.lost.items():
            lost.add_metric([id_, cause], count)
        in_flight.add_metric([id_], source.in_flight)
        up.add_metric([id_], source.medium == "open" and not source.end)
        reconnects.add_metric([id_], source.reconnects)
        fps.add_metric([id_], source.fps)
        if source.newest_age_s is not None:
            age.add_metric([id_], source.newest_age_s)
        ego.add_metric([id_], source.ego_ok)
        for state, count in source.tracks.items():
            tracks.add_metric([id_, state], count)
        confirmed.add_metric([id_], source.tracks_confirmed)
        for where, count in source.places.items():
            places.add_metric([id_, where], count)
        black_hot.add_metric([id_], source.black_hot)
        for stage, known in source.buckets.items():
            bounds = [*zip(map(str, LATENCY_BOUNDS_S), known.counts, strict=True), ("+Inf", known.count)]
            latency.add_metric([id_, stage], bounds, known.sum_s)
    yield from (
        captured,
        delivered,
        dropped,
        lost,
        in_flight,
        up,
        reconnects,
        fps,
        age,
        ego,
        tracks,
        confirmed,
        places,
        black_hot,
        latency,
    )
