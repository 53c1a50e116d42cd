"""Find where the picture is copied in the pipeline: is it in the same memory before and after a step?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import zmq
from msgspec import Struct

from pipeline.config import Config
from pipeline.detect.stage import DetectStage
from pipeline.messages import Packet
from pipeline.preprocess.stage import PreprocessStage
from pipeline.queues import Sender
from pipeline.receiver import Receiver
from pipeline.stage import Stage
from pipeline.track.stage import TrackStage
from tools.benchmark.bare import grabs
from tools.benchmark.job import Findings


class Handover(Struct, frozen=True, kw_only=True):
    """One step of a picture through the pipeline.

    Attributes:
        step: name of a stage, or of a queue with its transport.
        same_memory: False means at least one copy. Copies inside a stage are not detected.
    """

    step: str
    same_memory: bool


def copies(config: Config, folder: Path) -> Findings:
    """Pass one picture through each stage directly, and through a queue of each transport."""
    (grab,) = grabs("test://demo?frames=1", config)  # large enough: ZeroMQ always copies below 64 KiB
    packet = grab.packet("copies", "s0", 0)
    stages: Mapping[str, Stage] = {
        "preprocess": PreprocessStage(config.detect.weights, config.preprocess, config.detect.moving),
        "detect": DetectStage(config.detect),
        "track": TrackStage(config.track, config.detect.weights, config.detect.threshold),
    }
    rows = []
    for name, stage in stages.items():
        stage.open()
        (after,) = stage.process([packet])
        stage.close()
        rows.append(Handover(step=name, same_memory=_same(packet, after)))
        packet = after
    with TemporaryDirectory(dir=folder) as sockets:
        for endpoint in ("inproc://copies", f"ipc://{sockets}/q", "tcp://127.0.0.1:*"):
            name = f"queue {endpoint.partition(':')[0]}"
            rows.append(Handover(step=name, same_memory=_same(packet, _across(packet, endpoint))))
    return Findings({"copies": rows})


def _across(packet: Packet, endpoint: str) -> Packet:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    sender = Sender(context, endpoint)
    receiver = Receiver(context, sender.endpoint, None)
    try:
        sender.offer(packet)
        while True:
            sender.pump(0.05)
            if (came := receiver.receive(0.05)) is not None:
                return came
    finally:
        receiver.close()
        sender.close()
        context.destroy(0)


def _same(one: Packet, other: Packet) -> bool:
    assert one.picture is not None
    assert other.picture is not None
    return bool(np.shares_memory(one.picture, other.picture))
