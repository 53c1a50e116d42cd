"""What all tests share: the real data, where it is at hand, and how properties are searched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A busy machine must not fail a property, and a landing must not depend on the day's random examples.
settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("steady")

ROOT = Path(__file__).resolve().parent.parent


def real_data(*parts: str) -> Path:
    """Path below the real-data folder (``IRST_DATA``, or ``shared/data`` beside the checkout), or skip the test."""
    path = Path(os.environ.get("IRST_DATA", ROOT.parent / "shared" / "data")).joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data not at hand: {path} (set IRST_DATA)")
    return path
