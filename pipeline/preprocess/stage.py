"""The preprocess stage: burnt-in graphics, polarity, intensity, ego-motion and motion evidence of each frame."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from msgspec import structs

import nets
from pipeline.capture.source import Picture
from pipeline.control_link import SourceReport
from pipeline.errors import BackendError
from pipeline.messages import (
    MAX_OBJECTS,
    REPLACED_DTYPE,
    EgoMotion,
    EndOfSource,
    Frame,
    Packet,
    Prepared,
    Table,
    source_of,
)
from pipeline.moving import handover
from pipeline.moving.change_detection import ChangeDetector
from pipeline.moving.config import MovingConfig
from pipeline.preprocess.burnt_in import BurntInGraphics
from pipeline.preprocess.config import PreprocessConfig
from pipeline.preprocess.ego_motion import EgoMotionEstimator
from pipeline.preprocess.intensity import measure
from pipeline.preprocess.polarity import Polarity, white_hot


class _SourceState:
    """State kept per source."""

    def __init__(self, config: PreprocessConfig, moving: MovingConfig, source: str) -> None:
        self.graphics = BurntInGraphics()
        self.polarity = Polarity(config.is_black_hot(source))
        self.moving = ChangeDetector(moving)
        self._ego_motion = EgoMotionEstimator(config.ego_motion)
        self._seq: int | None = None

    def estimate_ego_motion(self, picture: Picture, seq: int) -> EgoMotion:
        """Estimate the camera motion since the previous frame, with ``since`` set unless the estimate is disabled."""
        previous, self._seq = self._seq, seq
        ego = self._ego_motion.estimate(picture)
        return structs.replace(ego, since=previous) if self._ego_motion.config.enabled else ego

    def hidden(self, picture: Picture) -> Table:
        """Return what is to be hidden from the network, rows of ``REPLACED_DTYPE``.

        Args:
            picture: (H, W) white-hot counts without burnt-in graphics.
        """
        graphics, defects = self.graphics.pixels, self.moving.defects
        rows = np.zeros(len(graphics), REPLACED_DTYPE)
        rows["at"], rows["count"] = graphics, np.take(picture, graphics)
        rows = np.concatenate([defects, rows[~np.isin(graphics, defects["at"])]])[:MAX_OBJECTS]
        return np.sort(rows, order="at")


class PreprocessStage:
    """Turns ``Frame`` messages into ``Prepared`` messages; the pictures pass unchanged.

    Args:
        weights: Name or path of the weights, whose manifest defines the intensity normalisation.
        config: Settings of the stage, whose state is kept per source.
        moving: Settings of motion detection, likewise one detector per source.
        threads: Number of sources whose frames are processed concurrently.
    """

    window_s = 0.0

    def __init__(self, weights: str, config: PreprocessConfig, moving: MovingConfig, threads: int = 1) -> None:
        self._weights, self._config, self._moving = weights, config, moving
        self._states: dict[str, _SourceState] = {}
        self.batch_size = threads
        self._pool = ThreadPoolExecutor(threads, "preprocess")

    def open(self) -> None:
        """Read the manifest of the weights.

        Raises:
            BackendError: The manifest is missing or malformed.
        """
        try:
            self._normalisation = nets.read_manifest(self._weights).input.normalisation
        except nets.WeightsError as error:
            raise BackendError(str(error)) from None

    def process(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        """Process each frame; packets leave in the order in which they arrived."""
        by_source: dict[str, list[Packet]] = {}
        for packet in packets:
            by_source.setdefault(source_of(packet.message), []).append(packet)
        if len(by_source) == 1:
            yield from self._process_source(packets)
            return
        measured = {
            source: self._pool.submit(lambda part: list(self._process_source(part)), part)
            for source, part in by_source.items()
        }
        ready = {source: iter(part.result()) for source, part in measured.items()}
        for packet in packets:
            yield next(ready[source_of(packet.message)])

    def _process_source(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        """Process packets of one source in order."""
        for packet in packets:
            if isinstance(packet.message, EndOfSource):
                self._states.pop(packet.message.source, None)
                yield packet
                continue
            if not isinstance(packet.message, Frame) or packet.picture is None:
                raise TypeError(f"preprocess got {type(packet.message).__name__}")
            header = packet.message.header
            if header.source not in self._states:
                self._states[header.source] = _SourceState(self._config, self._moving, header.source)
            state = self._states[header.source]
            clean = state.graphics.replace(packet.picture) if self._config.replace_graphics else packet.picture
            black_hot = state.polarity.update(clean, header.pts)
            picture = white_hot(clean, black_hot)
            ego = state.estimate_ego_motion(picture, header.seq)
            evidence = state.moving.update(picture, ego, header.pts) if self._moving.enabled else None
            intensity = measure(picture, self._normalisation)
            prepared = Prepared(
                header=header,
                intensity=intensity,
                ego=ego,
                moving=handover.to_message(evidence),
                hidden=state.hidden(picture).tobytes(),
                black_hot=black_hot,
            )
            yield Packet(prepared, packet.picture)

    def close(self) -> None:
        """Shut down the thread pool."""
        self._pool.shutdown()

    def facts(self) -> Mapping[str, str]:
        """Return nothing: this stage has no facts to report."""
        return {}

    def reports(self) -> Mapping[str, SourceReport]:
        """Return what is hidden in the picture of each source, and its polarity; later stages report the rest."""
        return {
            source: SourceReport(
                places={"pixel": len(state.moving.defects), "graphics": len(state.graphics.pixels)},
                black_hot=state.polarity.black_hot,
            )
            for source, state in self._states.items()
        }
