"""The preprocess stage: how bright a frame is, how the camera moved since the last one, and what else has moved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from msgspec import structs

import nets
from pipeline.capture.source import Picture
from pipeline.control_link import SourceReport
from pipeline.errors import BackendError
from pipeline.messages import EgoMotion, EndOfSource, Frame, Packet, Prepared, source_of
from pipeline.moving import handover
from pipeline.moving.config import MovingConfig
from pipeline.moving.evidence import MovingEvidence
from pipeline.preprocess.ego_motion import EgoMotionConfig, EgoMotionEstimator
from pipeline.preprocess.intensity import measure


class _Past:
    """What is remembered of one source."""

    def __init__(self, ego_motion: EgoMotionConfig, moving: MovingConfig) -> None:
        self.moving = MovingEvidence(moving)
        self._ego_motion = EgoMotionEstimator(ego_motion)
        self._seq: int | None = None

    def camera(self, picture: Picture, seq: int) -> EgoMotion:
        """How the camera has moved since the frame before, which it names where that matters."""
        before, self._seq = self._seq, seq
        ego = self._ego_motion.estimate(picture)
        return structs.replace(ego, since=before) if self._ego_motion.config.enabled else ego


class PreprocessStage:
    """``Frame`` in, ``Prepared`` out; the picture passes untouched.

    Args:
        weights: name or path of the weights, whose manifest says how intensity is normalised.
        ego_motion: settings of the estimator; there is one estimator per source.
        moving: settings of finding what moves, likewise.
        threads: sources whose frames are measured at once.
    """

    window_s = 0.0

    def __init__(self, weights: str, ego_motion: EgoMotionConfig, moving: MovingConfig, threads: int = 1) -> None:
        self._weights, self._ego_motion, self._moving = weights, ego_motion, moving
        self._pasts: dict[str, _Past] = {}
        self.batch_size = threads
        self._pool = ThreadPoolExecutor(threads, "preprocess")

    def open(self) -> None:
        """Read the manifest.

        Raises:
            BackendError: there is none, or it is malformed.
        """
        try:
            self._normalisation = nets.read_manifest(self._weights).input.normalisation
        except nets.WeightsError as error:
            raise BackendError(str(error)) from None

    def process(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        """Measure each frame; packets leave in the order they came."""
        by_source: dict[str, list[Packet]] = {}
        for packet in packets:
            by_source.setdefault(source_of(packet.message), []).append(packet)
        if len(by_source) == 1:
            yield from self._measured(packets)
            return
        measured = {
            source: self._pool.submit(lambda part: list(self._measured(part)), part)
            for source, part in by_source.items()
        }
        ready = {source: iter(part.result()) for source, part in measured.items()}
        for packet in packets:
            yield next(ready[source_of(packet.message)])

    def _measured(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        """Packets of one source, in their order."""
        for packet in packets:
            if isinstance(packet.message, EndOfSource):
                self._pasts.pop(packet.message.source, None)
                yield packet
                continue
            if not isinstance(packet.message, Frame) or packet.picture is None:
                raise TypeError(f"preprocess got {type(packet.message).__name__}")
            header, picture = packet.message.header, packet.picture
            if header.source not in self._pasts:
                self._pasts[header.source] = _Past(self._ego_motion, self._moving)
            past = self._pasts[header.source]
            ego = past.camera(picture, header.seq)
            evidence = past.moving.see(picture, ego, header.pts) if self._moving.enabled else None
            intensity = measure(picture, self._normalisation)
            prepared = Prepared(header=header, intensity=intensity, ego=ego, moving=handover.tell(evidence))
            yield Packet(prepared, picture)

    def close(self) -> None:
        """Let go of the threads."""
        self._pool.shutdown()

    def facts(self) -> Mapping[str, str]:
        """Nothing to say."""
        return {}

    def reports(self) -> Mapping[str, SourceReport]:
        """Not the last stage."""
        return {}
