"""The preprocess stage: how bright a frame is, and how the camera moved since the last one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import nets
from pipeline.errors import BackendError
from pipeline.link import SourceReport
from pipeline.messages import EndOfSource, Frame, Packet, Prepared
from pipeline.preprocess.ego_motion import EgoMotionConfig, EgoMotionEstimator
from pipeline.preprocess.intensity import measure


class PreprocessStage:
    """``Frame`` in, ``Prepared`` out; the picture passes untouched.

    Args:
        weights: name or path of the weights, whose manifest says how intensity is normalised.
        ego_motion: settings of the estimator; there is one estimator per source.
    """

    batch_size = 1
    window_s = 0.0

    def __init__(self, weights: str, ego_motion: EgoMotionConfig) -> None:
        self._weights, self._config = weights, ego_motion
        self._estimators: dict[str, EgoMotionEstimator] = {}

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
        """Measure each frame."""
        for packet in packets:
            if isinstance(packet.message, EndOfSource):
                self._estimators.pop(packet.message.source, None)
                yield packet
                continue
            if not isinstance(packet.message, Frame) or packet.picture is None:
                raise TypeError(f"preprocess got {type(packet.message).__name__}")
            header = packet.message.header
            estimator = self._estimators.setdefault(header.source, EgoMotionEstimator(self._config))
            ego = estimator.estimate(packet.picture)
            intensity = measure(packet.picture, self._normalisation)
            yield Packet(Prepared(header=header, intensity=intensity, ego=ego), packet.picture)

    def close(self) -> None:
        """Nothing is held."""

    def facts(self) -> Mapping[str, str]:
        """Nothing to say."""
        return {}

    def reports(self) -> Mapping[str, SourceReport]:
        """Not the last stage."""
        return {}
