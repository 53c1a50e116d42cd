"""The track stage: restarts, reports, lost frames and start scores."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

import nets
from pipeline.journal import Journal
from pipeline.messages import DETECTION_DTYPE, TENTATIVE, Detected, EgoMotion, Packet
from pipeline.track.clutter import ClutterConfig
from pipeline.track.config import TrackConfig
from pipeline.track.stage import TrackStage
from tests.messages import KNOWN, end, frame_header, rows


def detected(seq, *spots):
    table = rows(DETECTION_DTYPE, *({"x": x, "y": y, "score": 0.9, "snr": 20} for x, y in spots))
    header = frame_header((64, 80), source="a", seq=seq)
    return Packet(Detected(header=header, ego=KNOWN, detections=table.tobytes()), np.zeros((64, 80), np.uint8))


def life(tmp_path, restarts):
    stage = TrackStage(TrackConfig(), "unused", 0.5, restarts, Journal(tmp_path / "j", ["a"]))
    stage.open()
    return stage


def test_a_restarted_stage_reports_it_and_reuses_no_id(tmp_path):
    seen = []
    for restarts in range(3):
        stage = life(tmp_path, restarts)
        for seq in range(4 * restarts, 4 * restarts + 4):
            (packet,) = stage.process([detected(seq, (10, 10), (40, 40))])
            assert packet.message.restarts == restarts
            ids = packet.message.track_table()["id"].tolist()
        seen += ids
    assert seen == [1, 2, 3, 4, 5, 6]


def test_clutter_places_are_reported_per_source_until_it_ends():
    stage = TrackStage(TrackConfig(clutter=ClutterConfig(few=1)), "unused", 0.5)
    ego = EgoMotion(ok=True)
    for seq in range(30):
        for source, spots in (("a", [(10, 10), (40, 40)]), ("b", [])):
            packet = detected(seq, *spots)
            header = msgspec.structs.replace(packet.message.header, source=source)
            list(stage.process([Packet(msgspec.structs.replace(packet.message, header=header, ego=ego))]))
    assert {source: report.places for source, report in stage.reports().items()} == {
        "a": {"scene": 2, "sensor": 0},
        "b": {"scene": 0, "sensor": 0},
    }
    list(stage.process([end("a")]))
    assert list(stage.reports()) == ["b"]


@pytest.mark.parametrize("named", [True, False])
def test_ego_motion_relative_to_a_lost_frame_is_ignored(named):
    """Under a pan of 15 px per frame, tracks keep their ids over a lost frame if the ego-motion counts as unknown."""
    stage, shown, trusted = TrackStage(TrackConfig(), "unused", 0.5), [], []
    for seq in (k for k in range(60) if k != 40):
        ego = EgoMotion(matrix=(1.0, 0.0, -15.0, 0.0, 1.0, 0.0), ok=True, since=max(0, seq - 1) if named else None)
        table = rows(
            DETECTION_DTYPE,
            *(
                {"x": x - 15 * seq, "y": y, "score": 0.9, "snr": 20}
                for x, y in ((1900 + seq / 2, 100), (1850 - seq, 180))
            ),
        )
        header = frame_header((256, 2000), seq=seq, pts=seq / 30)
        (out,) = stage.process([Packet(Detected(header=header, ego=ego, detections=table.tobytes()))])
        tracks = out.message.track_table()
        shown.append(tracks["id"][tracks["state"] != TENTATIVE].tolist())
        trusted.append(out.message.ego.ok)
    assert (shown[-1] == shown[39] == [1, 2]) == named
    assert trusted == [not named or k != 40 for k in range(59)]


@pytest.mark.parametrize(
    ("manifest", "detector", "tracker", "born"),
    [(None, None, None, 2), (0.97, None, None, 1), (0.97, 0.6, None, 2), (0.97, None, 0.5, 2), (0.97, None, 0.99, 0)],
    ids=[
        "manifest without track threshold",
        "track threshold of the manifest",
        "detector threshold",
        "high_score",
        "strict high_score",
    ],
)
def test_which_score_starts_a_track(tmp_path, manifest, detector, tracker, born):
    network, known = nets.load("mshnet")
    path = tmp_path / "own.safetensors"
    nets.save(path, network, msgspec.structs.replace(known, name="own", threshold=0.9, track_threshold=manifest))
    stage = TrackStage(TrackConfig(high_score=tracker), str(path), detector)
    stage.open()
    packet = detected(0, (10, 10), (40, 40))
    table = packet.message.table().copy()
    table["score"] = [0.95, 0.98]
    message = msgspec.structs.replace(packet.message, detections=table.tobytes())
    (out,) = stage.process([Packet(message, packet.picture)])
    assert len(out.message.track_table()) == born
