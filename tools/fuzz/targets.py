"""Fuzz targets: the readers of untrusted bytes, each as a function of one input, with seeds from the real encoders.

A reader may raise only the exceptions that it declares. What it accepts must satisfy conditions that its ``check``
function asserts. Inputs that once broke a target are in ``corpus/TARGET`` and are tried right after the seeds.
"""

from __future__ import annotations

import itertools
import math
import re
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import zmq

from nets import manifest as weights
from pipeline import config as configuration
from pipeline.capture import container
from pipeline.capture.address import MASK, parse, redact, source_ids
from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import is_live
from pipeline.capture.images import ImageSequence
from pipeline.capture.scene.spec import SceneSpec
from pipeline.capture.video_file import VideoFileSource
from pipeline.control_link import StageState, Stop
from pipeline.errors import ConfigError, SourceError
from pipeline.messages import (
    DETECTION_DTYPE,
    TRACK_DTYPE,
    EndOfSource,
    Packet,
)
from pipeline.queues import Sender
from pipeline.receiver import Credit, Done, Leave, Mapped, Ready, Received
from pipeline.shared_memory import SlotReader
from pipeline.wire import WireError, decode, decode_struct, encode, encode_struct
from tools.fuzz import formats, seeds, words
from tools.fuzz.engine import Target
from tools.fuzz.mutate import mutate_bytes, mutate_parts, split
from tools.video_labels import read_labels
from training import config as recipes
from training.data import read_grey

CORPUS = Path(__file__).parent / "corpus"
LONGEST_WIRE_ERROR = 1000
_SECRET = "hunter2"  # noqa: S105
_SUFFIXES = {formats.PNG: ".png", b"\xff\xd8": ".jpg", b"BM": ".bmp", b"RIFF": ".avi", b"\x1a\x45\xdf\xa3": ".mkv"}
_sender_numbers = itertools.count()
_decoders: list[msgspec.msgpack.Decoder[Any]] = [
    msgspec.msgpack.Decoder(Ready | Mapped | Received | Credit | Done | Leave),
    msgspec.msgpack.Decoder(StageState),
    msgspec.msgpack.Decoder(Stop),
]


def check_wire(data: bytes) -> None:
    """Check a multi-part message: what is accepted can be encoded and decoded again unchanged."""
    reader = SlotReader(True, lambda block: None)
    try:
        packet = decode(reader.take(split(data)), seeds.SESSION)
    except WireError as error:
        assert len(str(error)) <= LONGEST_WIRE_ERROR, "the error repeats what was sent"
        raise
    finally:
        reader.close()
    again = decode([bytes(part) for part in encode(packet)], seeds.SESSION)
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
    """Check a control message of the queues or of the supervisor."""
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
    """Check a sender that receives arbitrary messages: its account of the frames stays correct."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context.instance()
    sender = Sender(context, f"inproc://fuzz-{next(_sender_numbers)}", clock=lambda: 0)
    peer = context.socket(zmq.DEALER)
    peer.connect(sender.endpoint)
    try:
        for seq in range(3):
            sender.offer(seeds.frame(seq))
        sender.offer(Packet(EndOfSource(session=seeds.SESSION, source="a", reason="finished")))
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
    """Check the YAML file of a run, which may extend itself or another file; what is accepted can be stored."""
    (seeds.folder() / "base.yaml").write_text("track: {max_coast_s: 1}\n", encoding="utf-8")
    config = configuration.load(_file(data, "config.yaml"))
    msgspec.convert(msgspec.to_builtins(config), configuration.Config)


def check_setting(data: bytes) -> None:
    """Check an argument of ``--set``."""
    configuration.load(None, [data.decode("utf-8", "surrogateescape")])


def check_recipe(data: bytes) -> None:
    """Check the YAML file of a training recipe."""
    recipes.load(_file(data, "recipe.yaml"))


def check_manifest(data: bytes) -> None:
    """Check a manifest of weights, beside the weights that it belongs to."""
    _file(seeds.weights()[0], "m.safetensors")
    weights.load(str(_file(data, "m.json").with_suffix(weights.SUFFIX)))


def check_weights(data: bytes) -> None:
    """Check a safetensors file whose manifest has the right hash."""
    path = _file(data, "w.safetensors")
    manifest = msgspec.json.decode(seeds.manifest()[0], type=weights.Manifest)
    path.with_suffix(".json").write_bytes(
        msgspec.json.encode(msgspec.structs.replace(manifest, sha256=weights.sha256(path)))
    )
    weights.load(str(path))


def check_labels(data: bytes) -> None:
    """Check the label file of a video: coordinates are finite."""
    for frame, boxes in read_labels(_file(data, "labels.csv")).items():
        assert frame >= 0, "negative frame"
        for x, y, w, h in boxes:
            assert math.isfinite(x) and math.isfinite(y), "coordinates are not finite"
            assert (math.isnan(w) and math.isnan(h)) or (0 < w < math.inf and 0 < h < math.inf), "an impossible box"


def check_images(data: bytes) -> None:
    """Check a picture or a stack of pictures as a source: as many as its length says, all of one shape."""
    source = ImageSequence(str(_file(data, f"picture{_suffix(data, '.tif')}")), CaptureConfig())
    source.open()
    shapes = []
    while (grab := source.grab()) is not None:
        assert grab.picture.ndim == 2 and grab.picture.dtype in (np.uint8, np.uint16)
        assert grab.picture.flags.c_contiguous
        shapes.append(grab.picture.shape)
    assert len(shapes) == source.length and len(set(shapes)) == 1


def check_training_picture(data: bytes) -> None:
    """Check a still of a training data set."""
    picture = read_grey(_file(data, "training.png"))
    assert picture.ndim == 2 and picture.size


def check_container(data: bytes) -> None:
    """Check the metadata of a video file, which may raise no error at all."""
    path = _file(data, "container")
    assert container.missing_bytes(path) >= 0
    seconds = container.duration(path)
    assert seconds is None or 0 <= seconds < math.inf


def check_video(data: bytes) -> None:
    """Check the frames of a video file: media time increases."""
    source = VideoFileSource(str(_file(data, f"video{_suffix(data, '.mp4')}")), CaptureConfig())
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
    """Check the address of a rendered scene."""
    address = parse(data.decode("utf-8", "surrogateescape"))
    if address.kind != "scene":
        raise SourceError("not the address of a scene")
    try:
        SceneSpec.from_url(address.text)
    except UnicodeError as error:
        raise AssertionError("not refused for what it is") from error


def check_address(data: bytes) -> None:
    """Check the address of a source: ids are valid, and secrets and user info before the last '@' are masked."""
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


def _file(data: bytes, name: str) -> Path:
    path = seeds.folder() / name
    path.write_bytes(data)
    return path


def _suffix(data: bytes, otherwise: str) -> str:
    return next((suffix for magic, suffix in _SUFFIXES.items() if data.startswith(magic)), otherwise)


TARGETS = {
    target.name: target
    for target in (
        Target("wire", check_wire, WireError, seeds.wire, formats.in_messages),
        Target("control", check_control, WireError, seeds.control, formats.in_msgpack),
        Target("queue", check_queue, WireError, seeds.queue, partial(mutate_parts, inside=[formats.in_msgpack])),
        Target("config", check_config, ConfigError, seeds.config, formats.in_yaml),
        Target(
            "setting", check_setting, ConfigError, seeds.settings,
            partial(mutate_bytes, tokens=words.YAML),
        ),
        Target("recipe", check_recipe, ConfigError, seeds.recipe, formats.in_yaml),
        Target("manifest", check_manifest, weights.WeightsError, seeds.manifest, formats.in_json),
        Target("weights", check_weights, weights.WeightsError, seeds.weights, formats.in_weights),
        Target("labels", check_labels, ConfigError, seeds.labels, partial(mutate_bytes, tokens=words.CSV)),
        Target("images", check_images, SourceError, seeds.pictures, formats.with_checksums),
        Target("training_picture", check_training_picture, ConfigError, seeds.pictures, formats.with_checksums),
        Target("container", check_container, (), seeds.videos, formats.in_boxes),
        Target("video", check_video, SourceError, seeds.videos, formats.in_boxes),
        Target("scene", check_scene, (SourceError, ValueError), seeds.scenes, formats.in_scenes),
        Target("address", check_address, SourceError, seeds.addresses, formats.in_text),
    )
}  # fmt: skip


def corpus(target: Target) -> list[bytes]:
    """Return the seeds of a target and the inputs that once broke it."""
    return target.seeds() + [path.read_bytes() for path in sorted((CORPUS / target.name).glob("*"))]
