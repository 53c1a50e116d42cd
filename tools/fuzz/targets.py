"""The readers of foreign bytes, each as a function of an input alone, with seeds from the real encoders.

Besides raising nothing but what it declares, a reader must keep a promise about what it accepts; ``check``
asserts it. Inputs that once broke one lie in ``corpus/TARGET`` and are tried first.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import tempfile
import zlib
from collections.abc import Sequence
from functools import cache, partial
from pathlib import Path
from random import Random
from typing import Any

import cv2
import msgspec
import numpy as np
import torch
import yaml
import zmq

from nets import manifest as weights
from nets.normalisation import FrameZScore
from nets.registry import build
from pipeline import config as configuration
from pipeline.account import Account
from pipeline.capture import container
from pipeline.capture.address import MASK, parse, redact, source_ids
from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import is_live
from pipeline.capture.images import ImageSequence
from pipeline.capture.scene.spec import SceneSpec
from pipeline.capture.video_file import VideoFile
from pipeline.errors import ConfigError, SourceError
from pipeline.link import Latency, SourceReport, StageState, Stop
from pipeline.messages import (
    DETECTION_DTYPE,
    TRACK_DTYPE,
    Detected,
    EgoMotion,
    EndOfSource,
    Frame,
    FrameHeader,
    Intensity,
    Packet,
    Prepared,
    Stamp,
    Tracked,
)
from pipeline.opencv import require
from pipeline.queues import Done, Leave, Ready, Sender
from pipeline.settings import NO_YAML, parse_yaml
from pipeline.wire import WireError, decode, decode_struct, encode, encode_struct
from tools.evaluate_video import read_labels
from tools.fuzz import words
from tools.fuzz.engine import Target
from tools.fuzz.mutate import Mutation, join, mutate_bytes, mutate_parts, mutate_repaired, mutate_tree, split
from training import config as recipes
from training.data import read_grey

CORPUS = Path(__file__).parent / "corpus"
SESSION = "fuzz"
LONGEST_WIRE_ERROR = 1000
_SECRET = "hunter2"  # noqa: S105
_PNG = b"\x89PNG\r\n\x1a\n"
_SUFFIXES = {_PNG: ".png", b"\xff\xd8": ".jpg", b"BM": ".bmp", b"RIFF": ".avi", b"\x1a\x45\xdf\xa3": ".mkv"}
_sender_numbers = itertools.count()
_decoders: list[msgspec.msgpack.Decoder[Any]] = [
    msgspec.msgpack.Decoder(Ready | Done | Leave),
    msgspec.msgpack.Decoder(StageState),
    msgspec.msgpack.Decoder(Stop),
]

in_text = partial(mutate_bytes, tokens=words.ADDRESS)
in_msgpack = partial(
    mutate_tree,
    decode=msgspec.msgpack.decode,
    encode=msgspec.msgpack.encode,
    otherwise=partial(mutate_bytes, tokens=words.MSGPACK),
)
in_scenes = partial(mutate_bytes, tokens=words.SCENE)
in_pictures = partial(mutate_bytes, tokens=words.PICTURE)


def check_wire(data: bytes) -> None:
    """A message of several parts: what is accepted survives another journey."""
    try:
        packet = decode(split(data), SESSION)
    except WireError as error:
        assert len(str(error)) <= LONGEST_WIRE_ERROR, "the error repeats what was sent"
        raise
    again = decode([bytes(part) for part in encode(packet)], SESSION)
    assert again.message == packet.message
    if packet.picture is not None:
        header = packet.message.header  # type: ignore[union-attr]
        assert packet.picture.shape == (header.height, header.width)
        assert packet.picture.dtype == header.dtype
        assert not packet.picture.flags.writeable
    for name, dtype in (("detections", DETECTION_DTYPE), ("tracks", TRACK_DTYPE)):
        table = np.frombuffer(getattr(packet.message, name, b""), dtype)
        assert all(np.isfinite(table[column]).all() for column in ("x", "y", "score")), f"{name} are not finite"


def check_control(data: bytes) -> None:
    """A control message of the queues or of the supervisor's line."""
    errors = []
    for decoder in _decoders:
        try:
            said = decode_struct(data, decoder)
        except WireError as error:
            assert len(str(error)) <= LONGEST_WIRE_ERROR, "the error repeats what was sent"
            errors.append(error)
        else:
            decode_struct(encode_struct(said), decoder)
    if len(errors) == len(_decoders):
        raise errors[0]


def check_queue(data: bytes) -> None:
    """A sender that hears anything at all from its receiver: its account of the frames stays right."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    sender = Sender(context, f"inproc://fuzz-{next(_sender_numbers)}", clock=lambda: 0)
    peer = context.socket(zmq.DEALER)
    peer.connect(sender.endpoint)
    try:
        for seq in range(3):
            sender.offer(_frame(seq))
        sender.offer(Packet(EndOfSource(session=SESSION, source="a", reason="finished")))
        for part in split(data):
            peer.send(part)
            sender.pump()
        account = sender.account("a")
        assert account.closes, f"{account} does not close"
        assert account.entered == 3
        assert 0 <= account.in_flight <= 3
    finally:
        peer.close(0)
        sender.close()
    account = sender.account("a")
    assert account.closes, f"{account} does not close at the end"
    assert account.in_flight == 0
    if sender.rejected:
        raise WireError(f"{sender.rejected} messages rejected")


def check_config(data: bytes) -> None:
    """The YAML file of a run, which may extend itself and a neighbour; what is accepted can be written down."""
    (_folder() / "base.yaml").write_text("track: {max_coast_s: 1}\n", encoding="utf-8")
    config = configuration.load(_file(data, "config.yaml"))
    msgspec.convert(msgspec.to_builtins(config), configuration.Config)


def check_setting(data: bytes) -> None:
    """A word behind ``--set``."""
    configuration.load(None, [data.decode("utf-8", "surrogateescape")])


def check_recipe(data: bytes) -> None:
    """The YAML file of a training."""
    recipes.load(_file(data, "recipe.yaml"))


def check_manifest(data: bytes) -> None:
    """The manifest of weights, beside the weights it was written for."""
    _file(_seed_weights()[0], "m.safetensors")
    weights.load(str(_file(data, "m.json").with_suffix(weights.SUFFIX)))


def check_weights(data: bytes) -> None:
    """A safetensors file whose manifest has the right hash."""
    path = _file(data, "w.safetensors")
    manifest = msgspec.json.decode(_seed_manifest()[0], type=weights.Manifest)
    path.with_suffix(".json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(manifest, sha256=weights.sha256(path)))
    )
    weights.load(str(path))


def check_labels(data: bytes) -> None:
    """The labels of a video: coordinates are numbers."""
    for frame, boxes in read_labels(_file(data, "labels.csv")).items():
        assert frame >= 0, "negative frame"
        for x, y, w, h in boxes:
            assert math.isfinite(x) and math.isfinite(y), "coordinates are not finite"
            assert (math.isnan(w) and math.isnan(h)) or (0 <= w < math.inf and 0 <= h < math.inf), "an impossible box"


def check_images(data: bytes) -> None:
    """A picture or a stack of them, as a source: no more pictures than it says, all alike."""
    source = ImageSequence(str(_file(data, f"picture{_suffix(data, '.tif')}")), CaptureConfig())
    source.open()
    shapes = []
    while (grab := source.grab()) is not None:
        assert grab.picture.ndim == 2 and grab.picture.dtype in (np.uint8, np.uint16)
        assert grab.picture.flags.c_contiguous
        shapes.append(grab.picture.shape)
    assert len(shapes) == source.length and len(set(shapes)) == 1


def check_training_picture(data: bytes) -> None:
    """A still picture of a data set."""
    picture = read_grey(_file(data, "training.png"))
    assert picture.ndim == 2 and picture.size


def check_container(data: bytes) -> None:
    """What a video file says about itself; it has no error to raise."""
    path = _file(data, "container")
    assert container.missing_bytes(path) >= 0
    seconds = container.duration(path)
    assert seconds is None or 0 <= seconds < math.inf


def check_video(data: bytes) -> None:
    """A video file, decoded: frames and media time go forward."""
    source = VideoFile(str(_file(data, f"video{_suffix(data, '.mp4')}")), CaptureConfig())
    last = -1.0
    try:
        source.open()
        for _ in range(100):
            if (grab := source.grab()) is None:
                break
            assert grab.picture.ndim == 2 and last < grab.pts < math.inf, "time goes back"
            last = grab.pts
    finally:
        source.close()


def check_scene(data: bytes) -> None:
    """The address of a synthetic scene."""
    address = parse(data.decode("utf-8", "surrogateescape"))
    if address.kind != "scene":
        raise SourceError("not the address of a scene")
    try:
        SceneSpec.from_url(address.text)
    except UnicodeError as error:
        raise AssertionError("not refused for what it is") from error


def check_address(data: bytes) -> None:
    """A source as the command line hands it over: ids are usable, and nothing before the last '@' is shown."""
    text = data.decode("utf-8", "surrogateescape").replace(_SECRET, "")
    word = "".join(text.split()[-1:])
    for secret in (
        f"{text}?token={_SECRET}",
        f"{text}?a=b&Password={_SECRET}&c=d",
        f"rtsp://{word}:{_SECRET}@host/path",
    ):
        assert _SECRET not in redact(secret), "a secret is shown"
    address = parse(text)
    for id_ in (ids := source_ids([text, text])):
        assert re.fullmatch(r"[a-z0-9_-]{1,32}", id_), "an unusable id"
    assert len(set(ids)) == 2
    is_live(text)
    scheme, _, rest = address.text.partition("://")
    if address.kind == "network" and "@" in rest[1:]:
        assert redact(address.text).startswith((f"{scheme}://{MASK}@", MASK)), "user info is shown"


@cache
def _temporary() -> tempfile.TemporaryDirectory[str]:
    require()
    cv2.setNumThreads(1)
    memory = Path("/dev/shm")  # noqa: S108 - where there is one, files cost nothing
    return tempfile.TemporaryDirectory(prefix="fuzz-", dir=memory if memory.is_dir() else None)


def _folder() -> Path:
    return Path(_temporary().name)


def _file(data: bytes, name: str) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def _suffix(data: bytes, otherwise: str) -> str:
    return next((suffix for magic, suffix in _SUFFIXES.items() if data.startswith(magic)), otherwise)


def _frame(seq: int) -> Packet:
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


def _seed_wire() -> list[bytes]:
    stamps = (Stamp(stage="capture", enter_ns=1, leave_ns=2), Stamp(stage="detect", enter_ns=3, leave_ns=2**40))
    deep = _header(dtype="uint16", bit_depth=14, stamps=stamps)
    ego = EgoMotion(matrix=(1.0, 0.01, -2.5, -0.01, 1.0, 3.0), inliers=50, residual=0.4, ok=True, method="flow")
    detections, tracks = np.ones(2, DETECTION_DTYPE).tobytes(), np.ones(1, TRACK_DTYPE).tobytes()
    packets = [
        _frame(0),
        Packet(Prepared(header=deep, intensity=Intensity(mean=900.5, gain=0.1), ego=ego), np.ones((2, 3), np.uint16)),
        Packet(Detected(header=_header(), ego=EgoMotion(), detections=detections), np.zeros((2, 3), np.uint8)),
        Packet(Tracked(header=deep, ego=ego, detections=detections, tracks=tracks), np.ones((2, 3), np.uint16)),
        Packet(EndOfSource(session=SESSION, source="a", reason="failed", error="é", captured=9, dropped={"stale": 2})),
    ]
    return [join([bytes(part) for part in encode(packet)]) for packet in packets]


def _seed_control() -> list[bytes]:
    account = Account(entered=9, delivered=5, dropped={"stale": 2}, lost={"closed": 1}, in_flight=1)
    report = SourceReport(delivered=5, fps=25.0, latency={"detect": Latency(5, 1.0, 2.0, 3.0)}, end="failed", error="x")
    state = StageState(
        stage="sinks", state="running", lost={"a": {"x": 1}}, queues={"a": account}, reports={"a": report}, length=9,
        facts={"device": "cpu"},
    )  # fmt: skip
    messages = [
        Ready("r", 2),
        Done("r", 1),
        Leave("r"),
        Stop(gentle=True),
        state,
        StageState(stage="a", state="failed"),
    ]
    return [encode_struct(message) for message in messages]


def _seed_queue() -> list[bytes]:
    talks = [
        [Ready("r", 2), Done("r", 1), Done("r", 1), Leave("r")],
        [Ready("r", 4), Done("r", 4)],
        [Ready("r", 1), Ready("s", 3), Done("s", 2), Done("r", 1)],
    ]
    return [join([encode_struct(word) for word in talk]) for talk in talks]


def _seed_config() -> list[bytes]:
    sections = "queue: {policy: bounded, credits: 2}\ntrack:\n  max_coast_s: 2.0\n  high_score: null\n"
    trees = [f"extends: base.yaml\n{sections}", "detect:\n  weights: mshnet\n  tile: 512\ncapture: {image_fps: 25}\n"]
    return [tree.encode() for tree in [*trees, "a: &a {b: 1}\nc: {<<: *a}\n", "sinks: {overlay: false, trail_s: 1e1}"]]


def _seed_settings() -> list[bytes]:
    return [b"track.max_coast_s=2", b"queue.policy=latest", b"a.b={c: 1}"]


def _seed_recipe() -> list[bytes]:
    return [
        b"data:\n  sources: [{folder: a, weight: 2.0, scale: [0.5, 1.0]}]\nnetwork: {options: {}}\n",
        b"data: {sources: [{folder: a}]}\nnormalisation: {windows: [31]}\nnetwork: {options: {in_channels: 2}}\n",
    ]


@cache
def _seed_weights() -> list[bytes]:
    _seed_manifest()
    return [(_folder() / "seed.safetensors").read_bytes()]


@cache
def _seed_manifest() -> list[bytes]:
    path = _folder() / "seed.safetensors"
    manifest = weights.Manifest(
        name="seed", architecture="unet", options={"in_channels": 1, "width": 1}, sha256="0" * 64, threshold=0.5,
        input=weights.Input(channels=1, normalisation=FrameZScore()),
        training=weights.Training(data={"a": 1}, split="s", recipe="r", seed=0, commit="c", steps=1),
        validation=weights.Validation(protocol="p", split="s", metrics={"a": {"iou": 0.5, "n": 3, "fa": None}}),
    )  # fmt: skip
    network = build("unet", in_channels=1, width=1)
    network.load_state_dict({name: torch.zeros_like(tensor) for name, tensor in network.state_dict().items()})
    weights.save(path, network, manifest)
    return [path.with_suffix(".json").read_bytes()]


def _seed_labels() -> list[bytes]:
    return [b"frame,x,y,w,h\n0,10,12.5,3,4\n1,11,13,,\n3,1e1,-2,5,5\n", b'x,y,frame,w,h\r\n1,2,0,"3",4\r\n']


@cache
def _seed_pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    grey = (rng.random((32, 40)) * 8).astype(np.uint8)
    deep, colour = grey.astype(np.uint16) * 1000, np.dstack([grey] * 3)
    seeds = [_encoded(suffix, grey) for suffix in (".png", ".jpg", ".bmp", ".tif")]
    seeds += [_encoded(".png", deep), _encoded(".tif", deep), _encoded(".png", colour), _encoded(".jpg", colour)]
    stack = _folder() / "seed.tif"
    cv2.imwritemulti(str(stack), [deep, deep])
    return [*seeds, stack.read_bytes()]


def _encoded(suffix: str, image: Any) -> bytes:
    return bytes(cv2.imencode(suffix, image)[1])


@cache
def _seed_videos() -> list[bytes]:
    seeds = []
    for suffix, codec in ((".mp4", "mp4v"), (".avi", "MJPG"), (".mkv", "FFV1")):
        path = _folder() / f"seed{suffix}"
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*codec), 25, (64, 48))
        for level in (0, 50, 100):
            writer.write(np.full((48, 64, 3), level, np.uint8))
        writer.release()
        seeds.append(path.read_bytes())
    return seeds


def _seed_addresses() -> list[bytes]:
    seeds = "rtsp://user:pass@host:554/path?token=abc&x=1|video.mp4|/dev/video0|0|file:///a/b.png|udp://@239.0.0.1:1234"
    seeds += (
        "|srt://h:9?streamid=a&passphrase=b|http://[::1]:80/a.mp4|test://sky?live=1|frames/*.png|zmq+tcp://h:5|a:b@h"
    )
    return seeds.encode().split(b"|")


def _seed_scenes() -> list[bytes]:
    seeds = "test://sky|test://sea?width=64&height=64&snr=9.5|test://demo?camera=pan%2Bjitter&jitter_px=0.2&seed=7"
    return seeds.encode().split(b"|")


def _yaml(data: bytes) -> Any:
    try:
        return parse_yaml(data.decode())
    except NO_YAML as error:
        raise ValueError from error


def _to_yaml(tree: Any) -> bytes:
    try:
        return str(yaml.safe_dump(tree)).encode()
    except Exception as error:  # PyYAML raises almost anything
        raise ValueError from error


def _to_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def _mutate_weights(rng: Random, data: bytes, pool: Sequence[bytes]) -> bytes:
    """Mostly the header, with its length in front put right."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) or rng.random() < 0.2:
        return mutate_bytes(rng, data, pool)
    header = in_json(rng, data[8 : 8 + length], [])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _repair_png(data: bytes) -> bytes:
    """The same with the checksum of every chunk put right."""
    if not data.startswith(_PNG):
        return data
    at, fixed = len(_PNG), bytearray(data)
    while at + 12 <= len(fixed):
        end = at + 12 + int.from_bytes(fixed[at : at + 4], "big")
        if end <= len(fixed):
            fixed[end - 4 : end] = zlib.crc32(fixed[at + 4 : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(fixed)


in_yaml = partial(mutate_tree, decode=_yaml, encode=_to_yaml, otherwise=partial(mutate_bytes, tokens=words.YAML))
in_json = partial(mutate_tree, decode=json.loads, encode=_to_json, otherwise=partial(mutate_bytes, tokens=words.JSON))
in_messages: Mutation = partial(mutate_parts, inside=[mutate_bytes, in_msgpack, mutate_bytes])
in_boxes = partial(mutate_bytes, tokens=words.BOX)
with_checksums = partial(mutate_repaired, inner=in_pictures, repair=_repair_png)

TARGETS = {
    target.name: target
    for target in (
        Target("wire", check_wire, WireError, _seed_wire, in_messages),
        Target("control", check_control, WireError, _seed_control, in_msgpack),
        Target("queue", check_queue, WireError, _seed_queue, partial(mutate_parts, inside=[in_msgpack])),
        Target("config", check_config, ConfigError, _seed_config, in_yaml),
        Target(
            "setting", check_setting, ConfigError, _seed_settings,
            partial(mutate_bytes, tokens=words.YAML),
        ),
        Target("recipe", check_recipe, ConfigError, _seed_recipe, in_yaml),
        Target("manifest", check_manifest, weights.WeightsError, _seed_manifest, in_json),
        Target("weights", check_weights, weights.WeightsError, _seed_weights, _mutate_weights),
        Target("labels", check_labels, ConfigError, _seed_labels, partial(mutate_bytes, tokens=words.CSV)),
        Target("images", check_images, SourceError, _seed_pictures, with_checksums),
        Target("training_picture", check_training_picture, ConfigError, _seed_pictures, with_checksums),
        Target("container", check_container, (), _seed_videos, in_boxes),
        Target("video", check_video, SourceError, _seed_videos, in_boxes),
        Target("scene", check_scene, (SourceError, ValueError), _seed_scenes, in_scenes),
        Target("address", check_address, SourceError, _seed_addresses, in_text),
    )
}  # fmt: skip


def corpus(target: Target) -> list[bytes]:
    """Good inputs and those that once broke the target."""
    return target.seeds() + [path.read_bytes() for path in sorted((CORPUS / target.name).glob("*"))]
