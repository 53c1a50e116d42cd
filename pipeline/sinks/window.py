"""Display of the overlay, one window per source."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable

os.environ.setdefault("QT_LOGGING_RULES", "*.warning=false")  # the OpenCV wheel ships no fonts and warns at every text

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.errors import ConfigError

_QUIT_KEYS = (ord("q"), 27)
_PROBE = "import cv2; cv2.namedWindow('probe'); cv2.destroyAllWindows()"


class Window:
    """Shows overlays; the q or Escape key requests a stop.

    Args:
        on_quit: called when the user requests a stop.

    Raises:
        ConfigError: there is no display, or no window can be opened on it.
    """

    def __init__(self, on_quit: Callable[[], None]) -> None:
        self._on_quit = on_quit
        if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            raise ConfigError("no display to open a window on (DISPLAY is not set); run without --display")
        # Tested in a separate process, because an unreachable window system terminates the calling process.
        # -P prevents imports from the current folder, which may not be trustworthy.
        probe = subprocess.run([sys.executable, "-P", "-c", _PROBE], capture_output=True, check=False)
        if probe.returncode:
            raise ConfigError("no window can be opened on this display; run without --display")

    def show(self, source: str, canvas: NDArray[np.uint8]) -> None:
        """Show a frame, an (H, W, 3) BGR image."""
        cv2.imshow(source, canvas)
        key = cv2.waitKey(1)
        if key & 0xFF in _QUIT_KEYS and key != -1:
            self._on_quit()

    def close(self, source: str) -> None:
        """Close the window of a source."""
        try:
            cv2.destroyWindow(source)
        except cv2.error:
            return  # never shown, or closed by the user
