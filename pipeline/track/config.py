"""What may be set about tracking, with the unit and the range of every value."""

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
        cruise_sigma, accel_sigma: rms change of velocity within one second of a target that flies straight, and of one
            that manoeuvres, px/s. Each track weighs for itself which it does.
        measurement_sigma: rms error of a detected centroid along each axis, px.
        birth_speed_sigma: rms speed along each axis of a target seen once, px/s.
        gate: largest d^2 + ln det S of a track and its detection, d being their Mahalanobis distance and S the
            covariance of the innovation in px^2; 25 fits 90 % detection and 5 false ones per megapixel.
        max_gate_px: largest distance between a track and its detection, whatever the covariance.
        ego_sigma: rms error of a trusted ego-motion estimate at a track's place, px per frame.
        ego_sigma_lost: rms camera motion per frame while no estimate is trusted, px.
        high_score: detections from here on may start tracks; none means the detector's threshold if one is set, else
            what the weights' manifest says.
        starts_per_min: so many tracks a minute may start for what the network finds in a source: the score needed
            rises by itself where more would, never below ``high_score``. None keeps it there.
        low_score: detections from here on may keep a confirmed track seen in the frame before, and where what changes
            is noise a tentative one of M hits; lower ones are ignored. None takes all that the detector passes on.
        confirm_hits, confirm_window: a track is confirmed at its M-th hit within N frames from its birth, and
            dropped as soon as that cannot happen any more.
        clear_snr: a hit of the network counts in full from this signal-to-noise ratio on, and in proportion below: a
            track of half of it needs twice the hits. 0 counts all in full.
        motion_evidence, moved_px: a track of detections that are due to motion must be so much likelier a target than
            a chain of chance detections (logarithm, nats), and be so far from its birth in coordinates of the scene.
        max_coast_s: a track without a hit for longer is dropped, also across a gap in the stream (where the frames of a
            source are further apart, for longer than one and a half of their usual interval); one that has been
            seen for less time than that, after that time and a frame.
        remember_s: so long after its last detection, a target that is found and confirmed anew where it was to be
            expected gets its old id again. Nothing is shown of it in between.
        clutter: what a track must show beyond that: that it is none of the things that stand in the scene.
        max_tracks: no births beyond this many live tracks; the best scores come first.
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
