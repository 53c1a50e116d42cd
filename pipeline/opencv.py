"""One door to OpenCV: its missing system libraries explained, its chatter switched off."""

from __future__ import annotations

import os
import re

from pipeline.errors import BackendError
from pipeline.messages import MAX_SIDE

_LIBRARY = re.compile(r"(lib[\w.+-]+\.so[\w.]*): cannot open shared object")
_SILENT = 0


def require() -> None:
    """Make sure OpenCV can be used, quietly. Cheap to call again.

    OpenCV and its FFmpeg print warnings of their own on stderr, where addresses may show credentials;
    they stay silent unless ``OPENCV_LOG_LEVEL`` or ``OPENCV_FFMPEG_LOGLEVEL`` is set.

    Raises:
        BackendError: one line that says what to install.
    """
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    # Counts only before the first import: a small file that announces a huge picture is refused, not made room for.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_SIDE**2))
    try:
        import cv2  # noqa: PLC0415 - here to explain the failure
    except ImportError as error:
        raise BackendError(_explain(error)) from error
    if "OPENCV_LOG_LEVEL" not in os.environ:
        # OpenCV 5 has moved it.
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
