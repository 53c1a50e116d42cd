"""Wall clock times as they are written to the record of a run."""

from __future__ import annotations

import numpy as np


def utc(seconds: float) -> str:
    """Format a Unix time in ISO 8601, UTC, in milliseconds. Never raises, even for absurd times from another clock."""
    return f"{np.datetime64(round(seconds * 1000), 'ms')}Z"
