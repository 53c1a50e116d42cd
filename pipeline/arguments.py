"""Number types for the ``type`` argument of argparse, which reports the option and the function name of a bad value."""

from __future__ import annotations

import math


def count(text: str) -> int:
    """Parse an integer of at least 1."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def natural(text: str) -> int:
    """Parse an integer of at least 0."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def positive(text: str) -> float:
    """Parse a finite number above 0."""
    if not 0 < float(text) < math.inf:
        raise ValueError(text)
    return float(text)


def probability(text: str) -> float:
    """Parse a number between 0 and 1, both excluded."""
    if not 0 < float(text) < 1:
        raise ValueError(text)
    return float(text)
