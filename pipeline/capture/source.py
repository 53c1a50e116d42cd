"""What every kind of source offers: pictures with their clocks, one after another."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Frame, FrameHeader, Packet

Picture = NDArray[np.uint8] | NDArray[np.uint16]


class Grab(NamedTuple):
    """One captured picture.

    Attributes:
        picture: (H, W), C-contiguous, uint8 or uint16, never rescaled or stretched.
        frame: index in media order from 0; a frame that the medium itself lost leaves a gap.
        pts: media time in seconds from the start of the medium; for live sources, time of arrival since
            the first picture.
        mono_ns: monotonic clock on arrival.
        wall_ns: Unix time on arrival.
        bit_depth: bits in use, 1..16.
    """

    picture: Picture
    frame: int
    pts: float
    mono_ns: int
    wall_ns: int
    bit_depth: int

    def packet(self, session: str, source: str, seq: int) -> Packet:
        """The picture under the key that it travels by."""
        header = FrameHeader(
            session=session,
            source=source,
            seq=seq,
            frame=self.frame,
            pts=self.pts,
            capture_mono_ns=self.mono_ns,
            capture_wall_ns=self.wall_ns,
            height=self.picture.shape[0],
            width=self.picture.shape[1],
            dtype=self.picture.dtype.name,  # type: ignore[arg-type]
            bit_depth=self.bit_depth,
        )
        return Packet(Frame(header=header), self.picture)


class Source(Protocol):
    """A medium that gives pictures. Used from one thread; ``close`` may be called from another.

    Attributes:
        name: address for people and logs, with credentials masked.
        live: pictures come at their own pace and are lost if nobody takes them.
        replays: opened again, it gives the same pictures again, from the first on.
        reconnects: times that the medium was lost and found again.
        notice: a line about pictures that are not given as they are stored; empty where they are.
    """

    name: str
    live: bool
    replays: bool
    reconnects: int
    notice: str

    @property
    def length(self) -> int | None:
        """Pictures that the medium says it holds, where it says so."""

    @property
    def state(self) -> str:
        """``open``, ``reconnecting`` and the like, for people."""

    def open(self) -> None:
        """Open the medium.

        Raises:
            SourceError: one line that names the medium and what is wrong with it.
        """

    def grab(self) -> Grab | None:
        """Wait for the next picture; None at the end of the medium or after ``close``.

        Raises:
            SourceError: the medium cannot be read on; pictures grabbed before stay valid.
        """

    def close(self) -> None:
        """Release the medium; returns at once. May be called twice, and while another thread waits in ``grab``.

        A waiting ``grab`` returns within the read timeout (the open timeout while connecting), plus about four
        seconds where a failed connection is being diagnosed.
        """
