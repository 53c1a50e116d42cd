"""A simulated Video4Linux camera: ``v4l2_camera.c`` answers the system calls of real processes."""

from __future__ import annotations

import ctypes
import mmap
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

COMPILER = shutil.which("cc")
CODE = Path(__file__).with_name("v4l2_camera.c")
DEVICE = "/dev/video77"


class Control(ctypes.Structure):
    """Memory shared with the simulated camera; see ``struct control`` in its code."""

    _fields_ = [
        ("formats", ctypes.c_uint32 * 4),
        ("format", ctypes.c_uint32),
        *[(name, ctypes.c_int32) for name in ("width", "height", "rate", "highest_rate", "plugged")],
        *[(name, ctypes.c_int32) for name in ("silent", "busy", "metadata", "damaged", "hanging")],
        *[(name, ctypes.c_int32) for name in ("lost", "missed", "patience_s")],
        ("jpeg_bytes", ctypes.c_uint32),
        ("jpeg", ctypes.c_uint8 * 8192),
    ]


class Camera:
    """A simulated camera at ``DEVICE``, visible to processes with its ``environment``. Needs Linux and a C compiler.

    Args:
        folder: folder for the compiled code and the control file.
        formats: FOURCCs offered by the camera, the default first.
        rate: frames per second.
        size: width and height in px.
    """

    def __init__(self, folder: Path, *formats: str, rate: int = 20, size: tuple[int, int] = (96, 64)) -> None:
        library, orders = folder / "v4l2_camera.so", folder / "camera"
        build(library)
        orders.write_bytes(bytes(ctypes.sizeof(Control)))
        with orders.open("r+b") as file:
            self.control = Control.from_buffer(mmap.mmap(file.fileno(), 0))
        self.control.formats[: len(formats)] = [int.from_bytes(name.ljust(4).encode(), "little") for name in formats]
        self.control.format = self.control.formats[0]
        self.control.width, self.control.height = size
        self.control.rate = self.control.highest_rate = rate
        self.control.plugged = 1
        self.environment = {"LD_PRELOAD": str(library), "V4L2_CAMERA": DEVICE, "V4L2_CONTROL": str(orders)}

    def unplug(self) -> None:
        """Disconnect the camera."""
        self.control.plugged = -self.control.plugged

    def plug(self) -> None:
        """Reconnect the camera; it must be reopened."""
        self.control.plugged = 1 - self.control.plugged


def build(library: Path) -> None:
    """Compile the simulated camera, or skip the test."""
    if COMPILER is None or not Path("/usr/include/linux/videodev2.h").exists():
        pytest.skip("no C compiler, or no headers of Linux")
    options = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([COMPILER, *options, "-o", str(library), str(CODE), "-ldl"], check=True)


def target_x(number: int) -> int:
    """Return the x position of the target in the given frame; its y is 40."""
    return 20 + min(number // 8, 60)


def drawn(number: int, size: tuple[int, int] = (96, 64)) -> NDArray[np.uint16]:
    """Return the given frame as drawn by the camera; in 8-bit formats its upper byte is the luma."""
    width, height = size
    x, y = np.meshgrid(np.arange(width, dtype=np.uint32), np.arange(height, dtype=np.uint32))
    texture = ((x * np.uint32(73856093)) ^ (y * np.uint32(19349663))) * np.uint32(2654435761)
    far = np.abs(x.astype(int) - target_x(number)) + 2 * np.abs(y.astype(int) - 40)
    picture = 1000 + 16000 * x // width + (texture >> 23) + np.where(far < 4, 45000 >> far, 0)
    picture[0, 0] = number << 8
    return picture.astype(np.uint16)
