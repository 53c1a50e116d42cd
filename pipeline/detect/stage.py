"""The detect stage: batches frames of several sources, runs the network and extracts detections."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

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
from pipeline.detect.tiling import stitch, tiles
from pipeline.messages import Detected, EndOfSource, FrameHeader, Packet, Prepared
from pipeline.moving import fusion, handover


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
        frames = [packet for packet in packets if not isinstance(packet.message, EndOfSource)]
        maps = self._probabilities(frames)
        detected = iter(self._map_frames(lambda frame: self._detected(frame, maps[id(frame)]), frames))
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

    def _probabilities(self, frames: Sequence[Packet]) -> dict[int, Maps]:
        """Compute the probability map of every frame, by ``id``; frames of the same size and dtype share batches."""
        groups: dict[tuple[int, int, str], list[Packet]] = {}
        for packet in frames:
            picture = _picture(packet)
            groups.setdefault((*picture.shape, picture.dtype.name), []).append(packet)
        maps: dict[int, Maps] = {}
        for (height, width, _), members in groups.items():
            layout = tiles(height, width, self._config.tile, self._config.tile_overlap)
            parts = [tile.cut(_picture(packet)) for packet in members for tile in layout]
            intensities = [_prepared(packet).intensity for packet in members for _ in layout]
            changes = None
            if self._wants_change:
                change_pictures = [handover.change(_prepared(packet).moving, _picture(packet)) for packet in members]
                changes = [tile.cut(change) for change in change_pictures for tile in layout]
            assert self._backend is not None
            probabilities = self._backend.infer(parts, intensities, changes)
            for i, packet in enumerate(members):
                part = probabilities[i * len(layout) : (i + 1) * len(layout)]
                maps[id(packet)] = stitch(layout, list(part))
        return maps

    def _map_frames(self, function: Callable[[Packet], Packet], frames: Sequence[Packet]) -> Iterable[Packet]:
        """Apply a function to every frame, in threads if there is more than one."""
        return map(function, frames) if len(frames) == 1 else self._executor.map(function, frames)

    def _detected(self, packet: Packet, probability: Maps) -> Packet:
        assert self._backend is not None
        config, message, picture = self._config, _prepared(packet), _picture(packet)
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
        return Packet(detected, packet.picture)

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


def _prepared(packet: Packet) -> Prepared:
    if not isinstance(packet.message, Prepared):
        raise TypeError(f"detect got {type(packet.message).__name__}")
    return packet.message


def _picture(packet: Packet) -> NDArray[np.uint8] | NDArray[np.uint16]:
    if packet.picture is None:
        raise TypeError("detect got a frame without a picture")
    return packet.picture
