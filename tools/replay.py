"""Run the real stages on a recording frame by frame, without queues. The tracks equal those of ``run_stream.py``.

The network takes nearly all of the time, and its detections do not depend on the tracker. They can therefore be cached,
and a recording be tracked again in a hundredth of the time.
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
from pipeline.config import Config, check_sources
from pipeline.detect.backends import artefact, available
from pipeline.detect.config import DetectConfig
from pipeline.detect.stage import CleanFrame, DetectStage
from pipeline.errors import BackendError, ConfigError
from pipeline.malloc import keep_freed_memory
from pipeline.messages import Detected, Packet, Tracked
from pipeline.preprocess.stage import PreprocessStage
from pipeline.track.stage import TrackStage

_ROOT = Path(__file__).resolve().parents[1]
# Without the code of the tracker: cached detections stay valid while the tracker is being worked on.
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


def check_addresses(config: Config, addresses: Iterable[str]) -> None:
    """Raise ConfigError if a setting of a single source names none of those to be replayed."""
    check_sources(config, [name for address in addresses for name in source_ids([address])])


def detect(
    address: str, config: Config, thresholds: Sequence[float | None], frames: int | None = None
) -> Iterator[list[Detected]]:
    """Detect at several thresholds, running the network once per frame.

    The source gets the name that it would have in a run.

    Args:
        address: address of the recording.
        config: configuration of the stages; its detection threshold is ignored.
        thresholds: detection thresholds; None stands for the threshold the weights were validated with.
        frames: run only the first so many frames.

    Yields:
        The detections of a frame at each threshold.
    """
    keep_freed_memory()
    (name,) = source_ids([address])
    source = open_source(address, config.capture)
    preprocess = PreprocessStage(config.detect.weights, config.preprocess, config.detect.moving)
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
    """Yield the tracker's output for every frame, one message for each threshold of ``detect``."""
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
    """Return the detection threshold: as configured, or the one the weights were validated with."""
    return config.detect.threshold or nets.read_manifest(config.detect.weights).threshold


def start(config: Config) -> float:
    """Return the score from which a detection may start a track: as configured, or that of the weights."""
    return nets.read_manifest(config.detect.weights).starts_track(config.detect.threshold)


class DetectionCache:
    """Cache of detections in a folder, keyed by everything that they depend on.

    The key covers the recording, the weights, the settings, the code of the stages before the tracker, and the backend
    with its artefact. It does not cover library versions.

    Args:
        folder: cache folder, created if missing.

    Raises:
        ConfigError: the folder cannot be created.
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
        """Return the detections of :func:`detect` from the cache, computing and storing them if missing.

        Raises:
            ConfigError: the folder cannot be written to, or its file of that name holds something else.
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
            raise ConfigError(f"{path}: not a file of cached detections: {error}") from None
        return seen


class _Sweep(DetectStage):
    """The detect stage, applying several thresholds to one pass of the network."""

    def at(self, packet: Packet, thresholds: Sequence[float | None]) -> Iterator[Packet]:
        """Yield the detections of one frame at each threshold."""
        frame = CleanFrame.of(packet)
        (probability,) = self._probabilities([frame])
        for threshold in thresholds:
            self._config = msgspec.structs.replace(self._config, threshold=threshold)
            yield self._detected(frame, probability)


def _detected(packet: Packet) -> Detected:
    assert isinstance(packet.message, Detected)
    return packet.message


def _digest(address: str, config: Config, thresholds: Sequence[float | None], frames: int | None) -> str:
    """Hash the recording, the weights, and settings, code and backend of the stages before the tracker."""
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
    """Return path and hash of every code file that detections depend on.

    Computed once, because code is imported once.
    """
    files = sorted(file for pattern in _CODE for file in root.glob(pattern))
    return [(str(file.relative_to(root)), nets.manifest.sha256(file)) for file in files]


def _backends(config: DetectConfig) -> list[tuple[str, Any, artefact.Artefact | None]]:
    """Return backend, precision and artefact of the network; for ``auto`` all candidates in order of preference."""
    choices = available(config) if config.backend == "auto" else [config]
    return [(c.backend, c.precision, artefact.read(c.artefact) if c.artefact else None) for c in choices]
