"""Pipeline stage of tracking: one tracker per source, advanced by media time."""

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

LAST_ID = 0
"""Journal slot of the last track id in use."""


@dataclass
class _SourceState:
    """Tracker of a source, with the number, media time and picture shape of its latest frame."""

    tracker: Tracker
    seq: int | None
    pts: float
    shape: tuple[int, int]


class TrackStage:
    """Turn ``Detected`` messages into ``Tracked`` ones; pictures are passed on unchanged.

    Args:
        config: settings of the trackers.
        weights: name or path of the detector's weights, whose manifest gives the score that starts a track.
        threshold: threshold of the detector, where it overrides the manifest.
        restarts: number of restarts of the stage so far, reported in every message.
        journal: journal of a stage that may be restarted; track ids then continue after a restart.
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
        self._sources: dict[str, _SourceState] = {}

    def open(self) -> None:
        """Read from the manifest which score starts a track, unless a threshold was given.

        Raises:
            BackendError: the manifest is missing or malformed.
        """
        if self._threshold is None:
            try:
                self._threshold = nets.read_manifest(self._weights).starts_track(None)
            except nets.WeightsError as error:
                raise BackendError(str(error)) from None

    def process(self, packets: Sequence[Packet]) -> Iterator[Packet]:
        """Step the tracker of each frame's source; a change of picture size resets its tracks."""
        for packet in packets:
            message = packet.message
            if isinstance(message, EndOfSource):
                self._sources.pop(message.source, None)
                yield packet
                continue
            if not isinstance(message, Detected):
                raise TypeError(f"track got {type(message).__name__}")
            header, shape = message.header, (message.header.height, message.header.width)
            state = self._sources.get(header.source)
            if state is None:
                first_id = self._journal.row(header.source)[LAST_ID] + 1 if self._journal is not None else 1
                assert self._threshold is not None
                tracker = Tracker(self._config, self._threshold, shape, first_id)
                state = self._sources[header.source] = _SourceState(tracker, message.ego.since, header.pts, shape)
            elif state.shape != shape:
                state.tracker.reset(shape)
            # Ego-motion relative to a frame that was not tracked is useless.
            ego = message.ego if message.ego.since in (None, state.seq) else EgoMotion()
            tracks = state.tracker.step(message.table(), header.pts - state.pts, ego, message.noisy)
            state.seq, state.pts, state.shape = header.seq, header.pts, shape
            if self._journal is not None:
                self._journal.row(header.source)[LAST_ID] = state.tracker.next_id - 1
            tracked = Tracked(
                header=header,
                ego=ego,
                detections=message.detections,
                tracks=tracks.tobytes(),
                restarts=self._restarts,
            )
            yield Packet(tracked, packet.picture)

    def close(self) -> None:
        """Do nothing: no resources are held."""

    def facts(self) -> Mapping[str, str]:
        """Return no facts."""
        return {}

    def reports(self) -> Mapping[str, SourceReport]:
        """Return the number of clutter places per source; the last stage reports everything else."""
        return {source: SourceReport(places=state.tracker.places()) for source, state in self._sources.items()}
