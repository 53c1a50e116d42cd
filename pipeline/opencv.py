"""Prepares the use of OpenCV: explains missing system libraries and silences its log output."""

from __future__ import annotations

import os
import re

from pipeline.errors import BackendError
from pipeline.messages import MAX_SIDE

_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object")
_SILENT = 0


def require_opencv() -> None:
    """Make sure that OpenCV can be imported, and silence it. Cheap to call again.

    OpenCV and its FFmpeg print messages of their own to stderr, including addresses and login headers. They are
    silenced regardless of the environment.

    Raises:
        BackendError: OpenCV cannot be imported. The message says what to install.
    """
    os.environ.pop("OPENCV_FFMPEG_DEBUG", None)
    os.environ["OPENCV_FFMPEG_LOGLEVEL"] = "-8"
    os.environ["OPENCV_LOG_LEVEL"] = "SILENT"
    # Effective only before the first import: small files that declare a huge picture are refused before any allocation.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_SIDE**2))
    try:
        import cv2  # noqa: PLC0415 - here to explain the failure
    except ImportError as error:
        raise BackendError(_explain(error)) from error
    # In case it was imported before. OpenCV 5 has moved the function.
    logging = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    logging.setLogLevel(_SILENT)


def _explain(error: ImportError) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name == "cv2":
        return "OpenCV is not installed: pip install opencv-python"
    library = _LIBRARY.search(str(error))
    if library:
        return (
            f"OpenCV cannot be loaded, the system library {library[1]} is missing: apt-get install libgl1 libglib2.0-0"
        )
    return f"OpenCV cannot be loaded: {error}"
