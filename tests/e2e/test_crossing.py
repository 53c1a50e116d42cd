"""Shipped weights and default settings on eight dim crossing targets, seen by a shaking camera."""

from __future__ import annotations

import nets
from pipeline.capture.scene import Scene, SceneSpec
from pipeline.config import load
from pipeline.messages import EgoMotion
from pipeline.track.tracker import Tracker
from tools import mot_metrics
from tools.evaluate_scene import compare
from tools.replay import detect, track

SCENE = "test://crossing?seed=0&snr=5&jitter_px=2"


def test_crossing_targets_are_tracked_only_with_ego_motion() -> None:
    config = load(None, ["detect.threads=1"])
    scene = Scene(SceneSpec.from_url(SCENE))
    messages = [message for (message,) in track(detect(SCENE, config, [None]), config, [None])]
    held = mot_metrics.hota([compare(scene.truth(m.header.frame), m.track_table()) for m in messages])

    blind = Tracker(config.track, nets.read_manifest(config.detect.weights).threshold)
    frames = [
        compare(scene.truth(m.header.frame), blind.step(m.detection_table(), 1 / scene.spec.fps, EgoMotion(ok=True)))
        for m in messages
    ]
    assert len(messages) == len(scene) == 300
    assert held.hota >= 0.8
    assert mot_metrics.hota(frames).hota <= held.hota - 0.15
