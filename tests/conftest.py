"""What every test may ask for: the real data, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def real_data(*parts: str) -> Path:
    """Path below the real-data folder (``IRST_DATA``, or ``shared/data`` beside the checkout), or skip the test."""
    path = Path(os.environ.get("IRST_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data not at hand: {path} (set IRST_DATA)")
    return path
