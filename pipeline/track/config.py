"""Settings of the tracker, with the unit and the range of every value."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from pipeline.messages import MAX_OBJECTS
from pipeline.track.clutter import ClutterConfig

Positive = Annotated[float, Meta(gt=0, le=10_000)]
NonNegative = Annotated[float, Meta(ge=0, le=10_000)]
Score = Annotated[float, Meta(ge=0, le=1)]
PositiveInt = Annotated[int, Meta(ge=1, le=MAX_OBJECTS)]


class TrackConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the tracker. Lengths are px of the source frame, times are seconds; no value is above 10,000.

    Attributes:
        cruise_sigma, accel_sigma: process noise of the cruise and of the manoeuvre model: rms change of velocity within
            one second, px/s. Each track estimates the probabilities of the two models.
        measurement_sigma: rms error of a detected centroid along each axis, px.
        birth_speed_sigma: rms speed along each axis of a target detected once, px/s.
        gate: largest d^2 + ln det S of a track and its detection, where d is the Mahalanobis distance and S the
            innovation covariance in px^2. 25 fits a detection probability of 90 % and 5 false alarms per megapixel.
        max_gate_px: largest distance between a track and its detection, whatever the covariance.
        ego_sigma: rms error of a trusted ego-motion estimate at a track's position, px per frame.
        ego_sigma_lost: rms camera motion while no estimate is trusted, px per frame.
        high_score: lowest score of detections that may start tracks. None uses the detector's threshold if one is set,
            else the value in the weights' manifest.
        starts_per_min: limit per source for tracks per minute started by detections of the network. Where there would
            be more, the required score rises above ``high_score``. None sets no limit.
        low_score: lowest score of detections that may continue a confirmed track seen in the previous frame or, where
            most changes in the picture are noise, a tentative track with M hits. Lower ones are ignored. None accepts
            all detections.
        confirm_hits, confirm_window: a track is confirmed at its M-th hit within N frames from its birth, and dropped
            as soon as this is no longer possible.
        clear_snr: signal-to-noise ratio from which a hit of the network counts in full. Below it counts in proportion,
            so a track at half of it needs twice the hits. 0 counts all in full.
        motion_evidence, moved_px: a track of motion detections must reach this log-likelihood ratio of target against
            false alarms (nats), and be this far from its birth position in scene coordinates.
        max_coast_s: a track without a hit for longer is dropped, also across a gap in the stream. For sources with a
            longer frame interval the limit is 1.5 times the usual interval. A track that was seen for a shorter time
            than the limit is dropped after that time plus one frame.
        remember_s: time after its last detection within which a target that is confirmed anew at its predicted position
            gets its old id back. It is not reported in between.
        clutter: further conditions for confirmation that exclude stationary clutter.
        max_tracks: largest number of live tracks; if there are too many, the best scores start tracks.
    """

    cruise_sigma: Positive = 5.0
    accel_sigma: Positive = 90.0
    measurement_sigma: Positive = 1.2
    birth_speed_sigma: Positive = 90.0
    gate: Positive = 25.0
    max_gate_px: Positive = 60.0
    ego_sigma: NonNegative = 0.5
    ego_sigma_lost: NonNegative = 8.0
    high_score: Score | None = None
    starts_per_min: Positive | None = None
    low_score: Score | None = None
    confirm_hits: PositiveInt = 4
    confirm_window: PositiveInt = 5
    clear_snr: NonNegative = 10.0
    motion_evidence: NonNegative = 32.0
    moved_px: NonNegative = 3.0
    max_coast_s: Positive = 0.5
    remember_s: NonNegative = 1.5
    clutter: ClutterConfig = ClutterConfig()
    max_tracks: PositiveInt = 256

    def __post_init__(self) -> None:
        if self.low_score is not None and self.high_score is not None and self.low_score > self.high_score:
            raise ValueError(f"low_score {self.low_score} is above high_score {self.high_score}")
        if self.confirm_hits > self.confirm_window:
            raise ValueError(f"confirm_hits {self.confirm_hits} do not fit in confirm_window {self.confirm_window}")
