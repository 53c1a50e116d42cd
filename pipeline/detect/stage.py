"""The detect stage: batches frames of several sources, runs the network and extracts detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture
from pipeline.control_link import SourceReport
from pipeline.cores import usable_cores
from pipeline.detect.backends import Backend, Maps, select
from pipeline.detect.border_lines import BorderLines
from pipeline.detect.components import GAP, DetectionFilter, find
from pipeline.detect.config import DetectConfig
from pipeline.detect.masks import draw, outside_mask, polygons_of
from pipeline.detect.mirroring import mirror
from pipeline.detect.tiling import stitch, tiles
from pipeline.messages import Detected, EndOfSource, FrameHeader, Packet, Prepared
from pipeline.moving import fusion, handover
from pipeline.preprocess.polarity import white_hot


class CleanFrame(NamedTuple):
    """A preprocessed frame, and its white-hot picture without defects of the sensor and burnt-in graphics."""

    packet: Packet
    message: Prepared
    picture: Picture

    @classmethod
    def of(cls, packet: Packet) -> CleanFrame:
        """Return the frame in a packet of the preprocess stage."""
        if not isinstance(packet.message, Prepared) or packet.picture is None:
            raise TypeError(f"detect got {type(packet.message).__name__}")
        picture = white_hot(packet.picture, packet.message.black_hot)
        return cls(packet, packet.message, handover.hide(packet.message.hidden_table(), picture))


class DetectStage:
    """Stage that turns ``Prepared`` messages into ``Detected`` messages; pictures are passed on unchanged.

    Args:
        config: Settings of the stage.
    """

    def __init__(self, config: DetectConfig) -> None:
        self._config = config
        self.batch_size = config.batch_size
        self.window_s = config.window_ms / 1000
        self._backend: Backend | None = None
        self._facts: dict[str, str] = {}
        self._executor = ThreadPoolExecutor(min(config.batch_size, usable_cores()), "detect")
        self._masks: dict[tuple[str, int, int], NDArray[np.bool_]] = {}

    def open(self) -> None:
        """Load the network.

        Raises:
            BackendError: Weights or backend cannot be used.
        """
        self._backend, reason = select(self._config)
        manifest = self._backend.manifest
        self._facts = {
            "weights": manifest.name,
            "sha256": manifest.sha256,
            "backend": self._backend.name,
            "device": self._backend.device,
            "precision": self._backend.precision,
            "chosen": reason,
        }

    def process(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        """Run detection on a batch of frames; packets are returned in their original order."""
        frames = [CleanFrame.of(packet) for packet in packets if not isinstance(packet.message, EndOfSource)]
        detected = iter(self._map_frames(self._detected, frames, self._probabilities(frames)))
        for packet in packets:
            yield packet if isinstance(packet.message, EndOfSource) else next(detected)

    def close(self) -> None:
        """Release the network."""
        self._executor.shutdown()
        self._facts = dict(self.facts())
        self._backend = None

    def facts(self) -> Mapping[str, str]:
        """Return weights, hash, backend, the reason for its choice, device, precision and, if not empty, its notice."""
        notice = self._backend.notice if self._backend is not None else ""
        return self._facts | {"notice": notice} if notice else self._facts

    def reports(self) -> Mapping[str, SourceReport]:
        """Return nothing: results are reported by later stages."""
        return {}

    @property
    def _wants_change(self) -> bool:
        """Whether the network takes change pictures as input."""
        assert self._backend is not None
        return self._backend.manifest.input.normalisation.change

    def _probabilities(self, frames: Sequence[CleanFrame]) -> list[Maps]:
        """Compute the probability map of every frame, in the orientation that the network has seen.

        Frames of the same size and dtype share batches.
        """
        groups: dict[tuple[int, int, str], list[int]] = {}
        for i, frame in enumerate(frames):
            height, width = frame.picture.shape
            groups.setdefault((height, width, frame.picture.dtype.name), []).append(i)
        maps: dict[int, Maps] = {}
        for (height, width, _), members in groups.items():
            layout = tiles(height, width, self._config.tile, self._config.tile_overlap)
            group = [frames[i] for i in members]
            pictures = [mirror(frame.picture, self._orientation(frame)) for frame in group]
            parts = [tile.cut(picture) for picture in pictures for tile in layout]
            changes = None
            if self._wants_change:
                change_pictures = [self._change(frame) for frame in group]
                changes = [tile.cut(change) for change in change_pictures for tile in layout]
            intensities = [frame.message.intensity for frame in group for _ in layout]
            assert self._backend is not None
            probabilities = self._backend.infer(parts, intensities, changes)
            for k, i in enumerate(members):
                maps[i] = stitch(layout, list(probabilities[k * len(layout) : (k + 1) * len(layout)]))
        return [maps[i] for i in range(len(frames))]

    def _change(self, frame: CleanFrame) -> NDArray[np.uint8]:
        """Return the change picture (H, W) of a frame in its orientation."""
        return mirror(handover.change(frame.message.moving, frame.picture), self._orientation(frame))

    def _orientation(self, frame: CleanFrame) -> int:
        return frame.message.header.frame if self._config.mirrored else 0

    def _map_frames(
        self, function: Callable[[CleanFrame, Maps], Packet], frames: Sequence[CleanFrame], maps: Sequence[Maps]
    ) -> Iterable[Packet]:
        """Apply a function to every frame and its maps, in threads if there is more than one frame."""
        return map(function, frames, maps) if len(frames) == 1 else self._executor.map(function, frames, maps)

    def _detected(self, frame: CleanFrame, probability: Maps) -> Packet:
        assert self._backend is not None
        config, message, picture = self._config, frame.message, frame.picture
        probability = mirror(probability, self._orientation(frame))
        threshold = config.threshold if config.threshold is not None else self._backend.manifest.threshold
        keep = self._detection_filter(message.header, picture)
        detections = find(
            probability,
            picture,
            threshold=threshold,
            low_threshold=threshold * config.low_ratio,
            min_area=config.min_area,
            max_area=config.max_area,
            max_detections=config.max_detections,
            gap=GAP,
            keep=keep,
        )
        if message.moving is not None:
            start_score = self._backend.manifest.starts_track(config.threshold)
            motion = fusion.motion_detections(
                message.moving.exceeding_table(),
                picture,
                start_score=start_score,
                low_score=threshold * config.low_ratio,
                max_area=config.max_area,
                limit=config.max_detections,
                keep=keep,
            )
            detections = fusion.merge(detections, motion, start_score=start_score, limit=config.max_detections)
            sharpness = handover.sharpness(message.moving, picture)
            detections = fusion.with_appearance(detections, sharpness, probability if self._wants_change else None)
        detected = Detected(
            header=message.header,
            ego=message.ego,
            detections=detections.tobytes(),
            noisy=0.0 if message.moving is None else 1 - message.moving.weight,
        )
        return Packet(detected, frame.packet.picture)

    def _detection_filter(self, header: FrameHeader, picture: Picture) -> DetectionFilter:
        """Return a filter for the detections that lie neither on non-image lines nor in a mask of the source."""
        border, polygons = BorderLines(picture), polygons_of(self._config.masks, header.source)
        if not polygons:
            return border.away_from_lines
        key = (header.source, header.height, header.width)
        if key not in self._masks:
            self._masks[key] = draw(polygons, key[1:])
        mask = self._masks[key]
        return lambda detections: border.away_from_lines(detections) & outside_mask(detections, mask)
