"""Format-aware mutations: damaged inside, but valid enough outside to get past the first checks of a reader."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from functools import partial
from random import Random
from typing import Any

import msgspec
import yaml

from pipeline.settings import YAML_ERRORS, parse_yaml
from tools.fuzz import words
from tools.fuzz.mutate import Mutation, mutate_bytes, mutate_parts, mutate_repaired, mutate_tree

PNG = b"\x89PNG\r\n\x1a\n"


def _yaml(data: bytes) -> Any:
    try:
        return parse_yaml(data.decode())
    except YAML_ERRORS as error:
        raise ValueError from error


def _to_yaml(tree: Any) -> bytes:
    try:
        return str(yaml.safe_dump(tree)).encode()
    except Exception as error:  # PyYAML raises almost anything
        raise ValueError from error


def _to_json(tree: Any) -> bytes:
    return json.dumps(tree).encode()


def in_weights(rng: Random, data: bytes, pool: Sequence[bytes]) -> bytes:
    """Mutate a safetensors file: mostly its JSON header, with the header length corrected."""
    length = int.from_bytes(data[:8], "little")
    if length > len(data) or rng.random() < 0.2:
        return mutate_bytes(rng, data, pool)
    header = in_json(rng, data[8 : 8 + length], [])
    return len(header).to_bytes(8, "little") + header + data[8 + length :]


def _repair_png(data: bytes) -> bytes:
    """Correct the checksum of every chunk of a PNG file."""
    if not data.startswith(PNG):
        return data
    at, fixed = len(PNG), bytearray(data)
    while at + 12 <= len(fixed):
        end = at + 12 + int.from_bytes(fixed[at : at + 4], "big")
        if end <= len(fixed):
            fixed[end - 4 : end] = zlib.crc32(fixed[at + 4 : end - 4]).to_bytes(4, "big")
        at = end
    return bytes(fixed)


in_text = partial(mutate_bytes, tokens=words.ADDRESS)
in_msgpack = partial(
    mutate_tree,
    decode=msgspec.msgpack.decode,
    encode=msgspec.msgpack.encode,
    otherwise=partial(mutate_bytes, tokens=words.MSGPACK),
)
in_scenes = partial(mutate_bytes, tokens=words.SCENE)
in_pictures = partial(mutate_bytes, tokens=words.PICTURE)
in_yaml = partial(mutate_tree, decode=_yaml, encode=_to_yaml, otherwise=partial(mutate_bytes, tokens=words.YAML))
in_json = partial(mutate_tree, decode=json.loads, encode=_to_json, otherwise=partial(mutate_bytes, tokens=words.JSON))
in_messages: Mutation = partial(mutate_parts, inside=[mutate_bytes, in_msgpack, mutate_bytes])
in_boxes = partial(mutate_bytes, tokens=words.BOX)
with_checksums = partial(mutate_repaired, inner=in_pictures, repair=_repair_png)
