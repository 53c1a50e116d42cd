"""Every field of the status has a metric in ``/metrics`` that changes with it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from msgspec.structs import replace
from prometheus_client.parser import text_string_to_metric_families

from pipeline.control_link import LATENCY_BOUNDS_S, LatencyBuckets
from pipeline.health.metrics import render
from pipeline.health.status import RunStatus, SourceStatus, StageStatus

STAGE = StageStatus(
    where="process", pid=7, state="running", beat_age_s=0.1, restarts=0, causes=[], backlog=0, rate=None,
    expected_rate=None, idle_share=None, slow=False, rejected=0, duplicates=0, rss_bytes=100,
)  # fmt: skip
SOURCE = SourceStatus(
    medium="open", reconnects=0, captured=0, delivered=0, dropped={}, lost={}, in_flight=0, fps=0.0, newest_age_s=None,
    latency_ms={}, buckets={}, ego_ok=0, tracks={}, tracks_confirmed=0, places={},
    black_hot=False, end="", error="",
)  # fmt: skip
FOUR_MS = LatencyBuckets(counts=(1,) * len(LATENCY_BOUNDS_S), count=1, sum_s=0.004)


def status(stage: StageStatus = STAGE, source: SourceStatus = SOURCE, **fields: Any) -> RunStatus:
    whole = {"pid": 1, "state": "running", "troubles": [], "uptime_s": 1.0, "rss_bytes": 10, "facts": {"device": "cpu"}}
    return RunStatus(**whole | fields, stages={"detect": stage}, sources={"cam": source})


def samples(of: RunStatus) -> dict[tuple[str, ...], float]:
    """Return the values by name and label values, parsed with Prometheus's own parser."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(render(of).decode())
        for sample in family.samples
    }


@pytest.mark.parametrize(
    ("field", "value", "sample", "expected"),
    [
        ("captured", 5, ("irst_frames_captured_total", "cam"), 5),
        ("delivered", 5, ("irst_frames_delivered_total", "cam"), 5),
        ("dropped", {"stale": 3}, ("irst_frames_dropped_total", "stale", "cam"), 3),
        ("lost", {"crash": 2}, ("irst_frames_lost_total", "crash", "cam"), 2),
        ("in_flight", 4, ("irst_frames_in_flight", "cam"), 4),
        ("medium", "reconnecting", ("irst_source_up", "cam"), 0),
        ("reconnects", 3, ("irst_source_reconnects_total", "cam"), 3),
        ("end", "finished", ("irst_source_up", "cam"), 0),
        ("fps", 25.0, ("irst_frames_per_second", "cam"), 25),
        ("newest_age_s", 0.25, ("irst_newest_frame_age_seconds", "cam"), 0.25),
        ("buckets", {"track": FOUR_MS}, ("irst_latency_seconds_bucket", "0.005", "cam", "track"), 1),
        ("buckets", {"track": FOUR_MS}, ("irst_latency_seconds_sum", "cam", "track"), 0.004),
        ("ego_ok", 9, ("irst_ego_motion_ok_total", "cam"), 9),
        ("tracks", {"confirmed": 2}, ("irst_tracks", "cam", "confirmed"), 2),
        ("tracks_confirmed", 6, ("irst_tracks_confirmed_total", "cam"), 6),
        ("places", {"sensor": 3}, ("irst_clutter_places", "cam", "sensor"), 3),
        ("black_hot", True, ("irst_black_hot", "cam"), 1),
    ],
)
def test_every_source_field_has_its_metric(field: str, value: object, sample: tuple[str, ...], expected: float) -> None:
    before, after = samples(status()), samples(status(source=replace(SOURCE, **{field: value})))
    found = {key: number for key, number in after.items() if set(key) == set(sample)}
    assert list(found.values()) == [expected]
    assert before.get(next(iter(found))) != expected


@pytest.mark.parametrize(
    ("field", "value", "name", "expected"),
    [
        ("state", "dead", "irst_stage_up", 0),
        ("beat_age_s", 3.0, "irst_stage_beat_age_seconds", 3),
        ("backlog", 7, "irst_stage_backlog_frames", 7),
        ("rate", 4.5, "irst_stage_messages_per_second", 4.5),
        ("expected_rate", 25.0, "irst_stage_expected_messages_per_second", 25),
        ("idle_share", 0.25, "irst_stage_idle_ratio", 0.25),
        ("slow", True, "irst_stage_slow", 1),
        ("restarts", 2, "irst_stage_restarts_total", 2),
        ("rejected", 4, "irst_rejected_messages_total", 4),
        ("duplicates", 5, "irst_duplicate_messages_total", 5),
        ("rss_bytes", 123, "irst_memory_bytes", 123),
    ],
)
def test_every_stage_field_has_its_metric(field: str, value: object, name: str, expected: float) -> None:
    assert samples(status()).get((name, "detect")) != expected
    assert samples(status(replace(STAGE, **{field: value})))[name, "detect"] == expected


def test_all_status_fields_are_covered() -> None:
    """Fields without a metric: texts, pids, and percentiles, which monitoring computes from the buckets."""
    tested = {
        "captured",
        "delivered",
        "dropped",
        "lost",
        "in_flight",
        "medium",
        "reconnects",
        "end",
        "fps",
        "newest_age_s",
        "buckets",
    }
    tested |= {"ego_ok", "tracks", "tracks_confirmed", "places", "black_hot"}
    assert {field.name for field in msgspec.structs.fields(SourceStatus)} - tested == {"latency_ms", "error"}
    tested = {"state", "beat_age_s", "backlog", "restarts", "rejected", "duplicates", "rss_bytes"}
    tested |= {"rate", "expected_rate", "idle_share", "slow"}
    assert {field.name for field in msgspec.structs.fields(StageStatus)} - tested == {"where", "pid", "causes"}


def test_metrics_of_the_run() -> None:
    degraded = samples(status(state="degraded", troubles=["one", "two"]))
    assert degraded["irst_state", "degraded"] == 1
    assert degraded["irst_state", "running"] == 0
    assert degraded["irst_troubles",] == 2
    assert degraded["irst_uptime_seconds",] == 1
    assert degraded["irst_memory_bytes", "supervisor"] == 10
