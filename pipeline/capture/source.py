"""The interface of all video sources: timestamped frames, one after another."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from pipeline.messages import Frame, FrameHeader, Packet

Picture = NDArray[np.uint8] | NDArray[np.uint16]


class Grab(NamedTuple):
    """One captured frame.

    Attributes:
        picture: (H, W) pixels, C-contiguous, uint8 or uint16, never rescaled or stretched.
        frame: frame index in the medium from 0. Frames lost by the medium itself leave gaps.
        pts: media time in seconds since the start of the medium; for live sources, arrival time since the first frame.
        mono_ns: monotonic clock on arrival in ns.
        wall_ns: Unix time on arrival in ns.
        bit_depth: number of bits in use, 1..16.
    """

    picture: Picture
    frame: int
    pts: float
    mono_ns: int
    wall_ns: int
    bit_depth: int

    def packet(self, session: str, source: str, seq: int) -> Packet:
        """Return the frame as a packet for the queue.

        Args:
            session: name of this run.
            source: id of the source.
            seq: number of the frame among the captured frames of the source, from 0.
        """
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
    """A medium that delivers frames. Used from one thread, except that ``close`` may be called from another.

    Attributes:
        name: address for display and logs, with credentials masked.
        live: frames arrive at their own pace and are lost if they are not read in time.
        replays: reopening the source delivers the same frames again from the first one.
        reconnects: number of times the medium was lost and found again.
        hangs: the medium has not answered for much longer than its time limits allow. Files have no limits: opening a
            folder of many pictures may take minutes.
        notice: one line saying how the delivered pixels differ from the stored ones; empty if they do not.
    """

    name: str
    live: bool
    replays: bool
    reconnects: int
    notice: str

    @property
    def length(self) -> int | None:
        """Number of frames declared by the medium; None if it declares none."""

    @property
    def hangs(self) -> bool:
        """See above; read from another thread than ``grab``."""

    @property
    def state(self) -> str:
        """State for display, such as ``open`` or ``reconnecting``."""

    def open(self) -> None:
        """Open the medium.

        Raises:
            SourceError: with one line that names the medium and what is wrong with it.
        """

    def grab(self) -> Grab | None:
        """Wait for the next frame.

        Returns:
            The frame; None at the end of the medium or after ``close``.

        Raises:
            SourceError: the medium cannot be read any further; earlier frames stay valid.
        """

    def close(self) -> None:
        """Release the medium without waiting. May be called repeatedly, and while another thread waits in ``grab``.

        A waiting ``grab`` returns within the read timeout (the open timeout while connecting), plus about four
        seconds if a failed connection is being diagnosed.
        """
