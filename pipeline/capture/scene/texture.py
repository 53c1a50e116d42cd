"""Random textures for the backgrounds, as pure functions of a random generator."""

from __future__ import annotations

from typing import cast

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.float32]


def fractal(
    rng: np.random.Generator,
    shape: tuple[int, int],
    slope: float,
    *,
    stretch: tuple[float, float] = (1.0, 1.0),
    longest: float = 256.0,
) -> Image:
    """Generate periodic Gaussian noise with a power-law spectrum, zero mean and unit variance.

    Args:
        rng: random generator.
        shape: (H, W).
        slope: amplitude falls as frequency ** -slope; 1 is rough, 2 is as smooth as clouds.
        stretch: factors by which features are elongated along (y, x).
        longest: wavelength in px beyond which the spectrum is flat.

    Returns:
        (H, W) float32.
    """
    height, width = cv2.getOptimalDFTSize(shape[0]), cv2.getOptimalDFTSize(shape[1])
    fy = np.fft.fftfreq(height)[:, None] * stretch[0]
    fx = np.fft.rfftfreq(width)[None, :] * stretch[1]
    amplitude = (fy**2 + fx**2 + longest**-2.0) ** (-slope / 2)
    amplitude[0, 0] = 0
    size = amplitude.shape
    spectrum = amplitude * (rng.standard_normal(size) + 1j * rng.standard_normal(size))
    field = np.fft.irfft2(spectrum, (height, width))[: shape[0], : shape[1]]
    return cast(Image, ((field - field.mean()) / field.std()).astype(np.float32))


def smoothstep(low: float, high: float, x: Image) -> Image:
    """Return 0 below low, 1 above high, and a smooth cubic in between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return cast(Image, (t * t * (3 - 2 * t)).astype(np.float32))


def sample(texture: Image, x: Image, y: Image) -> Image:
    """Sample a periodic texture bilinearly at the points (x, y), each (H, W)."""
    return cast(
        Image, cv2.remap(texture, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR, None, cv2.BORDER_WRAP)
    )


def blur(image: Image, sigma: float) -> Image:
    """Apply a Gaussian blur with mirrored borders."""
    return cast(Image, cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101))
