"""The overlay in a window, one per source."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError

_QUIT_KEYS = (ord("q"), 27)


class Window:
    """Shows overlays; q or Escape asks to stop.

    Args:
        on_quit: called when a person wants to stop.

    Raises:
        ConfigError: there is no display.
    """

    def __init__(self, on_quit: Callable[[], None]) -> None:
        self._on_quit = on_quit
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ConfigError("no display to open a window on (DISPLAY is not set); run without --display")

    def show(self, source: str, canvas: NDArray[np.uint8]) -> None:
        """Show a frame (H, W, 3), BGR.

        Raises:
            ConfigError: this OpenCV cannot open windows.
        """
        try:
            cv2.imshow(source, canvas)
            key = cv2.waitKey(1)
        except cv2.error as error:
            raise ConfigError(f"cannot open a window: {error.err or error}; run without --display") from None
        if key & 0xFF in _QUIT_KEYS and key != -1:
            self._on_quit()

    def close(self, source: str) -> None:
        """Take a source's window away."""
        try:
            cv2.destroyWindow(source)
        except cv2.error:
            return  # never shown, or closed by hand
