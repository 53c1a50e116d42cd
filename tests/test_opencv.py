"""OpenCV on a bare server: what a user reads when its system libraries are missing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
EXPLAIN = """
import sys
from pipeline.opencv import require_opencv
try:
    require_opencv()
except Exception as error:
    print(error)
    sys.exit(error.exit_code)
"""
USE = """
from pipeline.opencv import require_opencv
require_opencv()
import cv2
cv2.imread("none.png")
cv2.VideoCapture("none.mp4")
"""


def run(code, environment, folder):
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, check=False, env=environment, capture_output=True, text=True, cwd=folder)
    return done.returncode, done.stdout.strip(), done.stderr


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            "ImportError('libGL.so.1: cannot open shared object file: No such file or directory')",
            "OpenCV cannot be loaded, the system library libGL.so.1 is missing: apt-get install libgl1 libglib2.0-0",
        ),
        (
            "ImportError('libgthread-2.0.so.0: cannot open shared object file: No such file or directory')",
            "OpenCV cannot be loaded, the system library libgthread-2.0.so.0 is missing: "
            "apt-get install libgl1 libglib2.0-0",
        ),
        (
            "ModuleNotFoundError(\"No module named 'cv2'\", name='cv2')",
            "OpenCV is not installed: pip install opencv-python",
        ),
        ("ImportError('numpy is too old')", "OpenCV cannot be loaded: numpy is too old"),
    ],
)
def test_opencv_that_cannot_be_loaded_is_explained(error, message, tmp_path):
    (tmp_path / "cv2.py").write_text(f"raise {error}\n")
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    assert run(EXPLAIN, environment, tmp_path) == (4, message, "")


@pytest.mark.parametrize(
    "loud",
    [{}, {"OPENCV_LOG_LEVEL": "VERBOSE"}, {"OPENCV_FFMPEG_LOGLEVEL": "56", "OPENCV_FFMPEG_DEBUG": "1"}],
    ids=lambda loud: " ".join(loud) or "default",
)
def test_opencv_that_can_be_loaded_is_silent(tmp_path, loud):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENCV")} | {"PYTHONPATH": str(ROOT)}
    environment |= loud
    assert run(USE, environment, tmp_path) == (0, "", "")
