"""A reader that fails in every way the fuzzer must detect; the input selects the failure."""

from __future__ import annotations

import ctypes
import itertools

from tools.fuzz.engine import Target


def misbehave(data: bytes) -> None:
    """Fail in the way selected by the first byte."""
    match data[:1]:
        case b"R":
            raise ValueError("refused")
        case b"K":
            raise KeyError("never declared")
        case b"L":
            raise ValueError("two\nlines")
        case b"S":
            raise ValueError
        case b"H":
            for _ in itertools.count():
                pass
        case b"C":
            ctypes.string_at(0)
        case b"M":
            bytearray(8 << 30)


def unchanged(rng: object, data: bytes, pool: object) -> bytes:
    """Return the input unchanged."""
    return data


TARGET = Target("faulty", misbehave, ValueError, list, unchanged)
