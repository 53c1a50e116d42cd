"""The time of day, as the record of a run tells it."""

from __future__ import annotations

import numpy as np


def utc(seconds: float) -> str:
    """Unix time in ISO 8601, UTC, to the millisecond; whatever a foreign clock may say, it raises nothing."""
    return f"{np.datetime64(round(seconds * 1000), 'ms')}Z"
