"""Mutations of raw bytes, of decoded trees, and of the parts of a message.

A *mutation* is a function of a random generator, the input and a pool of other inputs to splice from; ``partial`` binds
further arguments. All randomness comes from the generator, so a seed reproduces a run.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]

MAX_BYTES = 1 << 16
INTEGERS: tuple[int, ...] = (
    0,
    1,
    2,
    7,
    8,
    9,
    16,
    17,
    31,
    32,
    33,
    127,
    128,
    255,
    256,
    4096,
    16384,
    16385,
    32767,
    32768,
    65535,
    65536,
)
INTEGERS += (2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**63 - 1, 2**63, 2**64 - 1)
FLOATS = (0.0, -0.0, 0.5, -1.0, 1e-320, 1e308, -1e308, 2.0**53, float("nan"), float("inf"), float("-inf"))
STRINGS = (
    "",
    "a",
    "A",
    "type",
    "frame",
    "../x",
    "\x00",
    "\n",
    "é",
    "\U0001f600",
    "nan",
    "1",
    "a" * 33,
    "a" * 65,
    "x" * 5000,
)


def mutate_bytes(rng: Random, data: bytes, pool: Sequence[bytes], tokens: Sequence[bytes] = ()) -> bytes:
    """Make one to eight changes of bytes, blocks and length fields, or insert words of the format from ``tokens``."""
    changed = bytearray(data)
    for _ in range(1 << rng.randrange(4)):
        size = len(changed)
        at = rng.randrange(size + 1)
        length = min(size - at, 1 << rng.randrange(9))
        match rng.randrange(9 if tokens else 8):
            case 0 if size:
                changed[at - 1] ^= 1 << rng.randrange(8)
            case 1 if size:
                changed[at - 1] = rng.randrange(256)
            case 2:  # a number where there may be a length or an offset
                width = rng.choice((1, 2, 4, 8))
                number = (rng.choice(INTEGERS) + rng.choice((-1, 0, 0, 1))) % 256**width
                changed[at : at + width] = number.to_bytes(width, rng.choice(("big", "little")))
            case 3:
                del changed[at : at + length]
            case 4:
                changed[at:at] = changed[at : at + length] * rng.choice((1, 1, 2, 16))
            case 5:
                changed[at:at] = rng.randbytes(rng.randrange(1, 9))
            case 6 if pool:
                other = rng.choice(pool)
                start = rng.randrange(len(other) + 1)
                end = at + rng.choice((0, length, size))
                changed[at:end] = other[start : start + (1 << rng.randrange(12))]
            case 7 if rng.random() < 0.3:
                del changed[at:]
            case 8:
                changed[at : at + rng.choice((0, 0, length))] = rng.choice(tokens)
            case _:
                pass
    return bytes(changed[:MAX_BYTES])


def mutate_tree(
    rng: Random,
    data: bytes,
    pool: Sequence[bytes],
    decode: Callable[[bytes], Any],
    encode: Callable[[Any], bytes],
    otherwise: Mutation = mutate_bytes,
) -> bytes:
    """Change values, types and keys inside an encoding so that the result is well formed.

    In a third of all cases, and if the bytes cannot be decoded, ``otherwise`` mutates the bytes instead.
    """
    if rng.random() < 1 / 3:
        return otherwise(rng, data, pool)
    try:
        root = [decode(data)]
        for _ in range(1 << rng.randrange(3)):
            _change(rng, root)
        changed = encode(root[0])
    except (ValueError, TypeError, OverflowError, RecursionError):
        return otherwise(rng, data, pool)
    return otherwise(rng, changed, pool) if rng.random() < 0.1 else changed[:MAX_BYTES]


def mutate_parts(rng: Random, data: bytes, pool: Sequence[bytes], inside: Sequence[Mutation]) -> bytes:
    """Change one part of a message, or the number or order of parts.

    Part k is changed by mutation k of ``inside``; the last mutation is used for all later parts.
    """
    parts = split(data)
    how = rng.randrange(20)
    if how == 0 or not parts:
        parts.insert(rng.randrange(len(parts) + 1), rng.choice(parts) if parts else b"")
    elif how == 1:
        del parts[rng.randrange(len(parts))]
    elif how == 2:
        rng.shuffle(parts)
    elif how == 3:
        return mutate_bytes(rng, data, pool)
    else:
        # Mostly the part with the most structure: the second one, or the only one.
        k = rng.randrange(len(parts)) if how < 7 else min(1, len(parts) - 1)
        others = [other[k] for other in map(split, pool[:8]) if len(other) > k]
        parts[k] = inside[min(k, len(inside) - 1)](rng, parts[k], others)
    return join(parts)[: 2 * MAX_BYTES]


def mutate_repaired(
    rng: Random, data: bytes, pool: Sequence[bytes], inner: Mutation, repair: Callable[[bytes], bytes]
) -> bytes:
    """Mutate, then usually repair checksums and lengths, so that the input gets past the first checks of a reader."""
    changed = inner(rng, data, pool)
    return repair(changed) if rng.random() < 0.7 else changed


def join(parts: Sequence[bytes]) -> bytes:
    """Join the parts of a message to one input, each preceded by its length in four bytes."""
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def split(data: bytes) -> list[bytes]:
    """Invert ``join``; a length that is too large means the rest, so that every input can be split."""
    parts = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        parts.append(data[4:end])
        data = data[end:]
    return parts


def _change(rng: Random, root: list[Any]) -> None:
    """Make one change in place somewhere below the root."""
    places = _places(root)
    holder, key = rng.choice(places)
    match rng.randrange(7):
        case 0 | 1 | 2:
            holder[key] = _other(rng, holder[key])
        case 3:
            source, source_key = rng.choice(places)
            holder[key] = copy.deepcopy(source[source_key])
        case 4 if holder is not root:
            del holder[key]
        case 5 if isinstance(holder, dict):
            holder[rng.choice([*holder, *STRINGS])] = holder.pop(key)
        case 6 if isinstance(holder, list) and holder is not root:
            holder[key:key] = [copy.deepcopy(holder[key])] * rng.choice((1, 2, 40))
        case _:
            holder[key] = rng.choice(([], {}, [holder[key]], {"a": holder[key]}))


def _places(node: Any) -> list[tuple[Any, Any]]:
    """List the container and key of every value below a list or dict."""
    keys = list(node) if isinstance(node, dict) else range(len(node))
    found = []
    for key in keys:
        found.append((node, key))
        if isinstance(node[key], list | dict):
            found += _places(node[key])
    return found


def _other(rng: Random, value: Any) -> Any:
    """Draw another value, mostly of the same type."""
    kind: object = type(value) if rng.random() < 0.7 else rng.choice((bool, int, float, str, bytes, list, type(None)))
    if kind is bool:
        return rng.random() < 0.5
    if kind is int:
        near = value + rng.choice((-1, 1)) if isinstance(value, int) else -1
        return rng.choice((near, rng.choice(INTEGERS), -rng.choice(INTEGERS) // 2))
    if kind is float:
        return rng.choice(FLOATS)
    if kind is str:
        return rng.choice((rng.choice(STRINGS), str(value) + rng.choice(STRINGS), str(value)[:-1]))
    if kind is bytes:
        raw = value if isinstance(value, bytes) else b"a"
        return rng.choice((raw[:-1], raw * 2, raw + b"\x00", rng.randbytes(8)))
    return None if kind is type(None) else []
