"""Numbers of a command line, for the ``type`` of argparse, which names the option and the kind where one is not so."""

from __future__ import annotations

import math


def count(text: str) -> int:
    """A whole number of at least 1."""
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def natural(text: str) -> int:
    """A whole number of at least 0."""
    if int(text) < 0:
        raise ValueError(text)
    return int(text)


def positive(text: str) -> float:
    """A finite number above 0."""
    if not 0 < float(text) < math.inf:
        raise ValueError(text)
    return float(text)


def probability(text: str) -> float:
    """A number between 0 and 1."""
    if not 0 < float(text) < 1:
        raise ValueError(text)
    return float(text)
