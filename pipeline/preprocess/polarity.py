"""Polarity of a feed: in white-hot pictures hot objects are bright, in black-hot ones they are dark.

The networks were trained on white-hot pictures and find nothing in black-hot ones. Therefore every later step works on
white-hot counts. Operators switch the polarity of a camera in flight, which inverts the picture from one frame to the
next: its structures correlate negatively with those of the previous frames.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.capture.source import Picture

MIN_CORRELATION = 0.4
"""Correlation, positive or negative, from which two pictures show the same scene."""
REFERENCE_S = 1.0
"""Time in s for which a picture is remembered while later ones have nothing in common with it (closed shutter, cut)."""
_WIDTH = 80  # px of the pictures compared: enough structures, and hardly any noise
_SCALE_PX = 2.0  # structures larger than this do not count, so that the gradient of a sky does not
_MAX_STRUCTURE = 1.5  # in median absolute values; burnt-in text, which stays white, would outweigh the scene


def white_hot(picture: Picture, black_hot: bool) -> Picture:
    """Return the white-hot counts of a picture (H, W): inverted if it is black-hot, else itself."""
    return np.invert(picture) if black_hot else picture


class _Reference(NamedTuple):
    spectrum: NDArray[np.complex64]
    pts: float
    black_hot: bool


class Polarity:
    """Polarity of one source, which follows the camera when it is switched.

    Args:
        black_hot: polarity of the first frame.

    Attributes:
        black_hot: polarity of the newest frame.
    """

    def __init__(self, black_hot: bool) -> None:
        self.black_hot = black_hot
        self._previous: _Reference | None = None
        self._earlier: _Reference | None = None  # the last frame before a view that had nothing in common with it

    def update(self, picture: Picture, pts: float) -> bool:
        """Return whether a frame is black-hot.

        Args:
            picture: (H, W) raw counts.
            pts: media time in s.
        """
        spectrum = _spectrum(picture)
        if self._earlier is not None and not 0 <= pts - self._earlier.pts < REFERENCE_S:
            self._earlier = None
        for known in (self._previous, self._earlier):
            if known is None or known.spectrum.shape != spectrum.shape:
                continue
            least, most = _correlation_range(known.spectrum, spectrum)
            if max(-least, most) >= MIN_CORRELATION:
                self.black_hot = known.black_hot != (-least > most)
                break
        else:
            self._earlier = self._earlier or self._previous
        self._previous = _Reference(spectrum, pts, self.black_hot)
        return self.black_hot


def _spectrum(picture: Picture) -> NDArray[np.complex64]:
    """Return the spectrum of a picture's small structures, reduced to ``_WIDTH`` and normalised to unit energy."""
    height, width = picture.shape
    even = max(width // 2, 1) * 2  # as irfft2 assumes
    size = (min(even, _WIDTH), max(1, round(height * min(1.0, _WIDTH / width))))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    structure = small - cv2.GaussianBlur(small, (0, 0), _SCALE_PX)
    magnitude = np.abs(structure)
    typical = float(np.median(magnitude) or magnitude.mean())  # the median is 0 if half of the picture is uniform
    limit = _MAX_STRUCTURE * typical
    structure = structure.clip(-limit, limit)
    structure -= structure.mean()
    norm = float(np.linalg.norm(structure))
    spectrum: NDArray[np.complex64] = np.fft.rfft2(structure / norm if norm else structure).astype(np.complex64)
    return spectrum


def _correlation_range(one: NDArray[np.complex64], other: NDArray[np.complex64]) -> tuple[float, float]:
    """Return the least and the greatest correlation of two pictures over all shifts."""
    correlation = np.fft.irfft2(one.conj() * other)
    return float(correlation.min()), float(correlation.max())
