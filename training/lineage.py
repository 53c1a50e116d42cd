"""Which pictures weights have not seen, through everything they were made from: earlier weights, teachers, blends.

A record names every data set that was trained on and what was held out of it, as a digest of the names. It is kept in
checkpoints and manifests. Scores on held-out pictures are honest if each of these held out the same ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import reduce

from nets.manifest import Manifest
from training.data import Split

HeldOut = Mapping[str, str]
"""Digest of the pictures held out of each data set that was trained on; empty if none was, or not always the same."""


def of_split(split: Split) -> dict[str, str]:
    """Return the record of a run on this split."""
    held = {name: sorted(picture for _, picture in pictures) for name, pictures in split.validation.items()}
    return {name: _digest(held.get(name, [])) for name in split.counts}


def of_weights(manifest: Manifest) -> dict[str, str]:
    """Return the record of weights; without one, they may have been trained on every picture of their data sets."""
    training = manifest.training
    return dict.fromkeys(training.data, "") if training.held_out is None else dict(training.held_out)


def merge(*records: HeldOut) -> dict[str, str]:
    """Return the record of weights made from several others."""
    return reduce(_merge_two, records, {})


def leaks(split: Split, record: HeldOut) -> list[str]:
    """Return the data sets whose held-out pictures may have been trained on, given the record of the weights."""
    mine = of_split(split)
    return [name for name in split.validation if record.get(name, mine.get(name)) != mine.get(name)]


def describe(split: Split, record: HeldOut) -> str:
    """Return the end of a sentence about scores on a split: the sets whose pictures may be known; empty if none."""
    sets = leaks(split, record)
    return f"; but what these weights were made from may have been trained on them in {', '.join(sets)}" if sets else ""


def _merge_two(one: HeldOut, other: HeldOut) -> dict[str, str]:
    different = dict.fromkeys((name for name in one if other.get(name, one[name]) != one[name]), "")
    return {**one, **other, **different}


def _digest(names: list[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:16] if names else ""
