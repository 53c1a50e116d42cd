"""Helpers to read written files and to list open file descriptors."""

from __future__ import annotations

from pathlib import Path

import cv2


def descriptors():
    """Return the paths of the open files of this process, by descriptor."""
    return {int(link.name): str(link.resolve()) for link in Path("/proc/self/fd").iterdir()}


def read_video(path):
    """Return all frames of a video, and its frame rate."""
    video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
    frames = []
    while (got := video.read())[0]:
        frames.append(got[1])
    return frames, video.get(cv2.CAP_PROP_FPS)
