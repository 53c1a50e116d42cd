"""Pictures on which an int8 network is calibrated."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import open_source
from pipeline.capture.source import Picture
from pipeline.detect.backends.parity import Change
from pipeline.errors import ConfigError
from training.data import read_sample

CALIBRATION = 100
"""Number of pictures for int8 calibration, spread evenly over all that are given."""


def calibration_frames(addresses: Sequence[str], without: Sequence[Path]) -> list[tuple[Picture, Change]]:
    """Choose at most ``CALIBRATION`` pictures, equally many per address and spread evenly, with their change pictures.

    Change pictures are read from the folder ``changes`` beside ``images``; other pictures have None.

    Args:
        addresses: folders of pictures, data sets or recordings.
        without: paths of pictures to leave out.

    Raises:
        PipelineError: an address cannot be read, or is empty.
    """
    frames: list[tuple[Picture, Change]] = []
    for address in addresses:
        frames.extend(_spread(address, CALIBRATION // len(addresses), set(without)))
    return frames


def portable_addresses(addresses: Sequence[str]) -> list[str]:
    """Make addresses fit for a manifest that is copied to other machines.

    Paths of files and folders become relative to the folder that contains them all.
    """
    places = {address: Path(address).resolve() for address in addresses if Path(address).exists()}
    root = os.path.commonpath([place.parent for place in places.values()]) if places else ""
    return [str(places[a].relative_to(root)) if a in places else a for a in addresses]


def _spread(address: str, count: int, without: set[Path]) -> Iterator[tuple[Picture, Change]]:
    folder = Path(address) / "images" if (Path(address) / "images").is_dir() else Path(address)
    if not folder.is_dir():
        yield from ((picture, None) for picture in _of_recording(address, count))
        return
    paths = [path for path in sorted(folder.glob("*.png")) if path.resolve() not in without]
    if not paths:
        raise ConfigError(f"--calibrate: {address}: no pictures left to calibrate on")
    changes = "changes" if (Path(address) / "changes").is_dir() else None
    for k in _even(len(paths), count):
        sample = read_sample(folder.parent, paths[k].stem, folder.name, masks=None, changes=changes)
        yield sample.picture, sample.change


def _of_recording(address: str, count: int) -> Iterator[Picture]:
    source = open_source(address, CaptureConfig())
    if source.live:
        raise ConfigError(f"--calibrate: {source.name}: expected a recording, not a live source")
    source.open()
    try:
        wanted = set(_even(source.length or count, count))
        for k in range(max(wanted) + 1):
            if (grab := source.grab()) is None:
                break
            if k in wanted:
                yield grab.picture
    finally:
        source.close()


def _even(length: int, count: int) -> list[int]:
    return [int(k) for k in np.linspace(0, length - 1, min(length, count))]
