"""The live page as part of the sink stage."""

from __future__ import annotations

import json
import urllib.request

import cv2
import numpy as np

from pipeline.sinks.config import PageConfig, SinkConfig
from pipeline.sinks.stage import SinkStage
from tests.messages import end, tracked_packet


def fetch(url: str) -> tuple[bytes, str]:
    """Return the answer and the number of the picture."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        return answer.read(), answer.headers.get("Picture", "")


def test_stage_draws_mainly_for_viewers_and_keeps_the_whole_trail():
    stage = SinkStage(SinkConfig(page=PageConfig(port=0, max_fps=240)), None, sources=["a", "b"])
    stage.open()
    try:
        url = stage.facts()["page"]
        position = 10.0
        for seq in range(40):  # nobody watches
            stage.process([tracked_packet([{"id": 7, "x": position, "y": 30.0}], seq=seq)])
            position += 1
        before, number = fetch(f"{url}picture/a")
        assert before.startswith(b"\xff\xd8")
        stage.process([tracked_packet([{"id": 7, "x": position, "y": 30.0}], seq=40)])
        picture = cv2.imdecode(np.frombuffer(fetch(f"{url}picture/a?have={number}")[0], np.uint8), cv2.IMREAD_COLOR)
        scale = picture.shape[1] // 80
        behind = picture[30 * scale : 31 * scale, 20 * scale : 40 * scale].astype(int)
        assert (np.ptp(behind, axis=2) > 15).any(axis=0).mean() > 0.9  # the coloured trail of frames not drawn
        stage.process([end("a", reason="failed", error="the plug was pulled")])
        assert [(one["state"], one["error"]) for one in json.loads(fetch(f"{url}sources")[0])] == [
            ("failed", "the plug was pulled"),
            ("waiting", ""),
        ]
    finally:
        stage.close()
