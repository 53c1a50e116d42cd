"""Valid inputs of every target, created with the real encoders."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from nets import manifest as weights_files
from nets.normalisation import FrameZScore
from nets.registry import build
from pipeline.accounting import Account
from pipeline.control_link import Latency, SourceReport, StageState, Stop
from pipeline.messages import (
    DETECTION_DTYPE,
    EXCEEDING_DTYPE,
    REPLACED_DTYPE,
    TRACK_DTYPE,
    Detected,
    EgoMotion,
    EndOfSource,
    Frame,
    FrameHeader,
    Intensity,
    Moving,
    Packet,
    Prepared,
    Stamp,
    Tracked,
)
from pipeline.opencv import require_opencv
from pipeline.receiver import Credit, Done, Leave, Mapped, Ready, Received
from pipeline.shared_memory import Offer, Place
from pipeline.wire import encode, encode_struct
from tools.fuzz.mutate import join

SESSION = "fuzz"


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    require_opencv()
    cv2.setNumThreads(1)
    memory = Path("/dev/shm")  # noqa: S108 - files in memory are cheap
    return tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None)


def folder() -> Path:
    """Return the folder where targets may write, in memory if the system offers that."""
    return Path(_temporary().name)


def frame(seq: int) -> Packet:
    """Create a small frame with that number."""
    return Packet(Frame(header=_header(seq=seq)), np.zeros((2, 3), np.uint8))


def _header(**changes: Any) -> FrameHeader:
    facts: dict[str, Any] = {
        "session": SESSION,
        "source": "a",
        "seq": 1,
        "frame": 1,
        "pts": 0.5,
        "height": 2,
        "width": 3,
    }
    facts |= {"dtype": "uint8", "bit_depth": 8, "capture_mono_ns": 1, "capture_wall_ns": 10**18}
    return FrameHeader(**facts | changes)


def wire() -> list[bytes]:
    """Create one message of every kind."""
    stamps = (Stamp(stage="capture", enter_ns=1, leave_ns=2), Stamp(stage="detect", enter_ns=3, leave_ns=2**40))
    deep = _header(dtype="uint16", bit_depth=14, stamps=stamps)
    ego = EgoMotion(matrix=(1.0, 0.01, -2.5, -0.01, 1.0, 3.0), inliers=50, residual=0.4, ok=True, method="flow")
    detections, tracks = np.ones(2, DETECTION_DTYPE).tobytes(), np.ones(1, TRACK_DTYPE).tobytes()
    pixels, sharp = (np.ones(1, dtype).tobytes() for dtype in (EXCEEDING_DTYPE, "<f4"))
    stuck = np.ones(1, REPLACED_DTYPE).tobytes()
    moving = Moving(change=bytes(6), exceeding=pixels, mended=stuck, sharp=sharp, weight=0.5)
    packets = [
        frame(0),
        Packet(
            Prepared(
                header=deep,
                intensity=Intensity(mean=900.5, gain=0.1),
                ego=ego,
                moving=moving,
                hidden=stuck,
                black_hot=True,
            ),
            np.ones((2, 3), np.uint16),
        ),
        Packet(
            Detected(header=_header(), ego=EgoMotion(), detections=detections, noisy=0.5), np.zeros((2, 3), np.uint8)
        ),
        Packet(Tracked(header=deep, ego=ego, detections=detections, tracks=tracks), np.ones((2, 3), np.uint16)),
        Packet(EndOfSource(session=SESSION, source="a", reason="failed", error="é", captured=9, dropped={"stale": 2})),
    ]
    plain = [[bytes(part) for part in encode(packet)] for packet in packets]
    offered = [*plain[0], encode_struct(Offer(pid=1, fd=1, block=1, size=4096))]
    placed = [*plain[0][:2], b"", encode_struct(Place(block=1, offset=0, size=6))]
    return [join(parts) for parts in [*plain, offered, placed]]


def control() -> list[bytes]:
    """Create every control message of a queue and of the supervisor."""
    account = Account(entered=9, delivered=5, dropped={"stale": 2}, lost={"closed": 1}, in_flight=1)
    report = SourceReport(delivered=5, fps=25.0, latency={"detect": Latency(5, 1.0, 2.0, 3.0)}, end="failed", error="x")
    state = StageState(
        stage="sinks", state="running", lost={"a": {"x": 1}}, queues={"a": account}, reports={"a": report}, length=9,
        facts={"device": "cpu"},
    )  # fmt: skip
    messages = [
        Ready(2),
        Mapped(1),
        Received("a", 1),
        Credit("a", 1),
        Done("a", 1),
        Leave(),
        Stop(gentle=True),
        state,
        StageState(stage="a", state="failed"),
    ]
    return [encode_struct(message) for message in messages]


def queue() -> list[bytes]:
    """Create conversations of receivers with their sender."""
    talks = [
        [Ready(2), Received("a", 0), Credit("a", 0), Done("a", 0), Received("a", 1), Done("a", 1), Leave()],
        [Ready(4), Done("a", 0), Done("a", 1), Done("a", 2), Done("a", -1)],
        [Ready(1), Ready(3), Mapped(1), Credit("a", 0), Done("b", 1), Done("a", 0)],
    ]
    return [join([encode_struct(word) for word in talk]) for talk in talks]


def config() -> list[bytes]:
    """Return configurations of a run."""
    sections = "queue: {policy: bounded, credits: 2}\ntrack:\n  max_coast_s: 2.0\n  high_score: null\n"
    trees = [f"extends: base.yaml\n{sections}", "detect:\n  weights: mshnet\n  tile: 512\ncapture: {image_fps: 25}\n"]
    return [tree.encode() for tree in [*trees, "a: &a {b: 1}\nc: {<<: *a}\n", "sinks: {overlay: false, trail_s: 1e1}"]]


def settings() -> list[bytes]:
    """Return arguments of ``--set``."""
    return [b"track.max_coast_s=2", b"queue.policy=latest", b"a.b={c: 1}"]


def recipe() -> list[bytes]:
    """Return training recipes."""
    return [
        b"data:\n  sources: [{folder: a, weight: 2.0, scale: [0.5, 1.0]}]\nnetwork: {options: {}}\n",
        b"data: {sources: [{folder: a}]}\nnormalisation: {windows: [31]}\nnetwork: {options: {in_channels: 2}}\n",
    ]


@cache
def weights() -> list[bytes]:
    """Create a safetensors file of weights."""
    manifest()
    return [(folder() / "seed.safetensors").read_bytes()]


@cache
def manifest() -> list[bytes]:
    """Create the manifest of the weights."""
    path = folder() / "seed.safetensors"
    manifest = weights_files.Manifest(
        name="seed", architecture="unet", options={"in_channels": 1, "width": 1}, sha256="0" * 64, threshold=0.5,
        input=weights_files.Input(channels=1, normalisation=FrameZScore()),
        training=weights_files.Training(data={"a": 1}, split="s", recipe="r", seed=0, commit="c", steps=1),
        validation=weights_files.Validation(protocol="p", split="s", metrics={"a": {"iou": 0.5, "n": 3, "fa": None}}),
    )  # fmt: skip
    network = build("unet", in_channels=1, width=1)
    network.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()})
    weights_files.save(path, network, manifest)
    return [path.with_suffix(".json").read_bytes()]


def labels() -> list[bytes]:
    """Return label files of videos."""
    return [b"frame,x,y,w,h\n0,10,12.5,3,4\n1,11,13,,\n3,1e1,-2,5,5\n", b'x,y,frame,w,h\r\n1,2,0,"3",4\r\n']


@cache
def pictures() -> list[bytes]:
    """Create pictures in every supported format."""
    rng = np.random.default_rng(0)
    grey = (rng.random((32, 40)) * 8).astype(np.uint8)
    deep, colour = grey.astype(np.uint16) * 1000, np.dstack([grey] * 3)
    seeds = [_encoded(suffix, grey) for suffix in (".png", ".jpg", ".bmp", ".tif")]
    seeds += [_encoded(".png", deep), _encoded(".tif", deep), _encoded(".png", colour), _encoded(".jpg", colour)]
    stack = folder() / "seed.tif"
    cv2.imwritemulti(str(stack), [deep, deep])
    return [*seeds, stack.read_bytes()]


def _encoded(suffix: str, image: Any) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])


@cache
def videos() -> list[bytes]:
    """Create videos in three container formats."""
    seeds = []
    for suffix, codec in ((".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "FFV1")):
        path = folder() / f"seed{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
        for level in (0, 50, 100):
            writer.write(np.full((48, 64, 3), level, np.uint8))
        writer.release()
        seeds.append(path.read_bytes())
    return seeds


def addresses() -> list[bytes]:
    """Return addresses of sources as given on the command line."""
    seeds = "rtsp://user:pass@host:554/path?token=abc&x=1|video.mp4|/dev/video0|0|file:///a/b.png|udp://@239.0.0.1:1234"
    seeds += (
        "|srt://h:9?streamid=a&passphrase=b|http://[::1]:80/a.mp4|test://sky?live=1|frames/*.png|zmq+tcp://h:5|a:b@h"
    )
    return seeds.encode().split(b"|")


def scenes() -> list[bytes]:
    """Return addresses of rendered scenes."""
    seeds = "test://sky|test://sea?width=64&height=64&snr=9.5|test://demo?camera=pan%2Bjitter&jitter_px=0.2&seed=7"
    return seeds.encode().split(b"|")
