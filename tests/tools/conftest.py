from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.detect.backends.parity import rendered


@pytest.fixture
def stills(tmp_path):
    """Four rendered frames with masks where they are brightest, in BasicIRSTD layout."""
    for folder in ("images", "masks"):
        (tmp_path / "set" / folder).mkdir(parents=True)
    for k, picture in enumerate([*rendered((64, 96)), rendered((48, 80))[0]]):
        cv2.imwrite(str(tmp_path / "set" / "images" / f"{k}.png"), picture)
        mask = (picture >= np.quantile(picture, 0.999)).astype(np.uint8) * 255
        cv2.imwrite(str(tmp_path / "set" / "masks" / f"{k}.png"), mask)
    (tmp_path / "set" / "test.txt").write_text("0\n3\n")
    return tmp_path / "set"
