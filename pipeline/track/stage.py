"""The track stage: one tracker per source, stepped by media time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import nets
from pipeline.control_link import SourceReport
from pipeline.errors import BackendError
from pipeline.journal import Journal
from pipeline.messages import Detected, EgoMotion, EndOfSource, Packet, Tracked
from pipeline.track.config import TrackConfig
from pipeline.track.tracker import Tracker

IDS = 0
"""Journal slot: track ids given so far."""


@dataclass
class _Place:
    """A source's tracker and where it stands."""

    tracker: Tracker
    seq: int | None
    pts: float
    shape: tuple[int, int]


class TrackStage:
    """``Detected`` in, ``Tracked`` out; the picture passes untouched.

    Args:
        config: of the trackers; there is one per source.
        weights: name or path of the detector's weights, whose manifest says what may start a track.
        threshold: of the detector, if it is not the manifest's.
        restarts: times that the stage has died before; every message says so.
        journal: of the stage, where it may be started again: ids then go on counting.
    """

    batch_size = 1
    window_s = 0.0

    def __init__(
        self,
        config: TrackConfig,
        weights: str,
        threshold: float | None = None,
        restarts: int = 0,
        journal: Journal | None = None,
    ) -> None:
        self._config, self._weights, self._threshold = config, weights, threshold
        self._restarts, self._journal = restarts, journal
        self._places: dict[str, _Place] = {}

    def open(self) -> None:
        """Learn what may start a track.

        Raises:
            BackendError: there is no manifest, or it is malformed.
        """
        if self._threshold is None:
            try:
                self._threshold = nets.read_manifest(self._weights).starts_track(None)
            except nets.WeightsError as error:
                raise BackendError(str(error)) from None

    def process(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        """Step the tracker of each frame's source; a new picture size starts its tracks afresh."""
        for packet in packets:
            message = packet.message
            if isinstance(message, EndOfSource):
                self._places.pop(message.source, None)
                yield packet
                continue
            if not isinstance(message, Detected):
                raise TypeError(f"track got {type(message).__name__}")
            header, shape = message.header, (message.header.height, message.header.width)
            place = self._places.get(header.source)
            if place is None:
                first_id = self._journal.row(header.source)[IDS] + 1 if self._journal is not None else 1
                assert self._threshold is not None
                tracker = Tracker(self._config, self._threshold, shape, first_id)
                place = self._places[header.source] = _Place(tracker, message.ego.since, header.pts, shape)
            elif place.shape != shape:
                place.tracker.reset(shape)
            # From a frame that never came here the motion leads nowhere.
            ego = message.ego if message.ego.since in (None, place.seq) else EgoMotion()
            tracks = place.tracker.step(message.table(), header.pts - place.pts, ego, message.noisy)
            place.seq, place.pts, place.shape = header.seq, header.pts, shape
            if self._journal is not None:
                self._journal.row(header.source)[IDS] = place.tracker.next_id - 1
            tracked = Tracked(
                header=header,
                ego=ego,
                detections=message.detections,
                tracks=tracks.tobytes(),
                restarts=self._restarts,
            )
            yield Packet(tracked, packet.picture)

    def close(self) -> None:
        """Nothing is held."""

    def facts(self) -> Mapping[str, str]:
        """Nothing to say."""
        return {}

    def reports(self) -> Mapping[str, SourceReport]:
        """The places that each source's tracker knows; all else is told by the last stage."""
        return {source: SourceReport(places=place.tracker.places()) for source, place in self._places.items()}
