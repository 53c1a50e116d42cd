"""The real stages on a recording, one frame after another without queues: the tracks are those of ``run_stream.py``.

The network takes nearly all of the time, and what it detected does not depend on the tracker. So it can be kept, and
a recording tracked again in a hundredth of the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

import nets
from pipeline.capture.address import source_ids
from pipeline.capture.factory import open_source
from pipeline.config import Config
from pipeline.detect.backends import artefact, available
from pipeline.detect.config import DetectConfig
from pipeline.detect.masks import check_names
from pipeline.detect.stage import DetectStage
from pipeline.errors import BackendError, ConfigError
from pipeline.heap import keep_freed_memory
from pipeline.messages import Detected, Packet, Tracked
from pipeline.preprocess.stage import PreprocessStage
from pipeline.track.stage import TrackStage

_ROOT = Path(__file__).resolve().parents[1]
# Not all of the pipeline: what was detected is kept for those who work on the tracker.
_CODE = (
    "nets/**/*.py",
    "pipeline/capture/**/*.py",
    "pipeline/detect/**/*.py",
    "pipeline/moving/**/*.py",
    "pipeline/preprocess/**/*.py",
    "pipeline/carry.py",
    "pipeline/messages.py",
    "tools/replay.py",
)
_decoder = msgspec.msgpack.Decoder(list[list[Detected]])


def check_masks(config: Config, addresses: Iterable[str]) -> None:
    """Refuse masks that none of the sources to be replayed would have; raises ConfigError."""
    check_names(config.detect.masks, [name for address in addresses for name in source_ids([address])])


def detect(
    address: str, config: Config, thresholds: Sequence[float | None], frames: int | None = None
) -> Iterator[list[Detected]]:
    """Detect at several thresholds; the network sees every frame once. The source has the name it would have in a run.

    Args:
        address: of the file.
        config: of the stages; its detection threshold does not count.
        thresholds: of detection; none means what the weights were validated with.
        frames: run only so many.

    Yields:
        what is detected in a frame at each threshold.
    """
    keep_freed_memory()
    (name,) = source_ids([address])
    source = open_source(address, config.capture)
    preprocess = PreprocessStage(config.detect.weights, config.preprocess.ego_motion, config.detect.moving)
    sweep = _Sweep(config.detect)
    source.open()
    try:
        preprocess.open()
        sweep.open()
        seq = 0
        while (frames is None or seq < frames) and (grab := source.grab()) is not None:
            (prepared,) = preprocess.process([grab.packet("replay", name, seq)])
            yield [_detected(packet) for packet in sweep.at(prepared, thresholds)]
            seq += 1
    finally:
        sweep.close()
        preprocess.close()
        source.close()


def track(
    seen: Iterable[Sequence[Detected]], config: Config, thresholds: Sequence[float | None]
) -> Iterator[list[Tracked]]:
    """What the tracker says of every frame, at each of the thresholds that it was detected with."""
    trackers = [TrackStage(config.track, config.detect.weights, threshold) for threshold in thresholds]
    for tracker in trackers:
        tracker.open()
    for detections in seen:
        messages = []
        for tracker, message in zip(trackers, detections, strict=True):
            (tracked,) = tracker.process([Packet(message)])
            assert isinstance(tracked.message, Tracked)
            messages.append(tracked.message)
        yield messages


def threshold(config: Config) -> float:
    """Of detection: as configured, or what the weights were validated with."""
    return config.detect.threshold or nets.read_manifest(config.detect.weights).threshold


def start(config: Config) -> float:
    """Score from which a detection may start a track: as configured, or what the weights say."""
    return nets.read_manifest(config.detect.weights).starts_track(config.detect.threshold)


class DetectionCache:
    """What was detected in recordings, in a folder, by all that it depends on.

    That is the recording, the weights, the settings, the code before the tracker, and the backend with its artefact;
    not the versions of the libraries.

    Args:
        folder: made if missing.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"{folder}: {error.strerror}") from None

    def detect(
        self, address: str, config: Config, thresholds: Sequence[float | None], frames: int | None = None
    ) -> Sequence[Sequence[Detected]]:
        """See :func:`detect`; taken from the folder where it is there, else done and kept.

        Raises:
            ConfigError: the folder cannot be written to, or holds something else under that name.
        """
        name = Path(address.partition("?")[0]).stem
        path = self._folder / f"{name}-{_digest(address, config, thresholds, frames)}.msgpack"
        try:
            if path.exists():
                return _decoder.decode(path.read_bytes())
            seen = list(detect(address, config, thresholds, frames))
            part = path.with_suffix(".part")
            part.write_bytes(msgspec.msgpack.encode(seen))
            part.replace(path)
        except OSError as error:
            raise ConfigError(f"{path}: {error.strerror}") from None
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{path}: not what was kept there: {error}") from None
        return seen


class _Sweep(DetectStage):
    """The detect stage with a choice of thresholds after the network."""

    def at(self, packet: Packet, thresholds: Sequence[float | None]) -> Iterator[Packet]:
        """What is detected in one frame at each threshold."""
        (probability,) = self._probabilities([packet]).values()
        for threshold in thresholds:
            self._config = msgspec.structs.replace(self._config, threshold=threshold)
            yield self._detected(packet, probability)


def _detected(packet: Packet) -> Detected:
    assert isinstance(packet.message, Detected)
    return packet.message


def _digest(address: str, config: Config, thresholds: Sequence[float | None], frames: int | None) -> str:
    """Of the recording, the weights, and the settings, the code and the backend of the stages before the tracker."""
    what: Any = address
    if not address.startswith("test://"):
        medium = Path(address).resolve()
        files = [medium] if medium.is_file() else sorted(medium.iterdir())
        what = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    try:
        manifest = nets.read_manifest(config.detect.weights)
    except nets.WeightsError as error:
        raise BackendError(str(error)) from None
    detection = msgspec.structs.replace(config.detect, threads=None, threshold=None)
    weights = [manifest.sha256, manifest.input, manifest.threshold, manifest.track_threshold]
    settings = [detection, config.preprocess, config.capture, thresholds, frames]
    everything = [what, weights, settings, _code(_ROOT), _backends(config.detect)]
    return hashlib.sha256(msgspec.json.encode(everything)).hexdigest()[:16]


@cache
def _code(root: Path) -> list[tuple[str, str]]:
    """Path and hash of every file of code that detections depend on; once, as it is imported once."""
    files = sorted(file for pattern in _CODE for file in root.glob(pattern))
    return [(str(file.relative_to(root)), nets.manifest.sha256(file)) for file in files]


def _backends(config: DetectConfig) -> list[tuple[str, Any, artefact.Artefact | None]]:
    """Backend, precision and artefact that run the network; with ``auto`` those that it chooses from, in order."""
    choices = available(config) if config.backend == "auto" else [config]
    return [(c.backend, c.precision, artefact.read(c.artefact) if c.artefact else None) for c in choices]
