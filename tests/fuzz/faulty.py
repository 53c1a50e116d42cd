"""Readers that go wrong in every way that the fuzzer must notice; their inputs say how."""

from __future__ import annotations

import ctypes
import itertools

from tools.fuzz.engine import Target


def misbehave(data: bytes) -> None:
    """Does what the first byte says."""
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
    """No mutation at all."""
    return data


TARGET = Target("faulty", misbehave, ValueError, list, unchanged)
