"""Reading of data sets of still pictures with masks. Each picture is decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from nets.normalisation import Picture
from pipeline.capture.picture import MIN_SIDE
from pipeline.errors import ConfigError
from training.config import SourceConfig

Item = TypeVar("Item")


class Sample(Struct, frozen=True, eq=False):
    """One picture with its ground truth.

    Attributes:
        name: File name without suffix.
        picture: (H, W), uint8 or uint16.
        mask: (H, W), uint8, 1 on targets.
        ignored: (H, W), uint8, ignore mask: 1 where the truth is unknown; 0 on targets.
        change: (H, W), uint8, see ``nets.normalisation.change_picture``; None if changes are unknown.
    """

    name: str
    picture: Picture
    mask: NDArray[np.uint8]
    ignored: NDArray[np.uint8]
    change: NDArray[np.uint8] | None = None


def names(folder: Path, split: str | None, images: str = "images") -> list[str]:
    """Return the names in a split file, one per line, in its order; without a split file, all pictures in text order.

    Raises:
        ConfigError: The split file or the folder cannot be read, or contains no names.
    """
    try:
        if split is None:
            found = sorted(path.stem for path in (folder / images).iterdir() if path.suffix == ".png")
        else:
            lines = (folder / split).read_text(encoding="utf-8-sig").splitlines()
            found = [name for line in lines if (name := line.strip())]
    except OSError as error:
        raise ConfigError(f"{error.filename}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{folder / (split or images)}: not a text file of names") from None
    if not found:
        raise ConfigError(f"{folder / (split or images)}: no pictures")
    return found


def split_file_names(folder: Path, split: str) -> list[str]:
    """Return the names in a split file given on the command line: an existing path, or else relative to the folder."""
    return names(folder, str(Path(split).resolve()) if Path(split).is_file() else split)


def read_sample(
    folder: Path,
    name: str,
    images: str = "images",
    masks: str | None = "masks",
    ignored: str | None = None,
    changes: str | None = None,
    min_side: int = MIN_SIDE,
) -> Sample:
    """Decode one picture as grey counts in its own bit depth; masks are true above half of their range.

    ``min_side`` is the smallest accepted side, px. Networks need at least ``MIN_SIDE`` for whole pictures; crops can be
    cut from pictures of any size.

    Raises:
        ConfigError: A file is missing or unreadable, the picture is too small, the sizes differ, or a mask has
            pixels above 0 but none above half range.
    """
    picture = read_grey(path := folder / images / f"{name}.png")
    if min(picture.shape) < min_side:
        raise ConfigError(f"{path}: {picture.shape[1]}x{picture.shape[0]} px, but networks need {min_side}x{min_side}")
    none = np.zeros(picture.shape, np.uint8)
    mask = none if masks is None else _read_mask(folder / masks / f"{name}.png", picture)
    unknown = none if ignored is None else _read_mask(folder / ignored / f"{name}.png", picture) & ~mask
    change = None if changes is None else _read_matching(folder / changes / f"{name}.png", picture, "change picture")
    if change is not None and change.dtype != np.uint8:
        raise ConfigError(f"{folder / str(changes)}/{name}.png: a change picture must have 8 bits")
    return Sample(name, picture, mask, unknown, change)


def spread(items: Sequence[Item], most: int | None) -> Sequence[Item]:
    """Return at most ``most`` items at even intervals, since neighbours may be frames of one video; None takes all."""
    if most is None or len(items) <= most:
        return items
    return [items[(2 * k + 1) * len(items) // (2 * most)] for k in range(most)]


def read_source(root: Path, source: SourceConfig, name: str) -> Sample:
    """Read one picture of a source; see ``read_sample``."""
    return read_sample(root / source.folder, name, *_parts(source))


def _parts(source: SourceConfig) -> tuple[str, str | None, str | None, str | None]:
    return source.images, source.masks, source.ignored, source.changes


def _read_matching(path: Path, picture: Picture, what: str) -> Any:
    grey = read_grey(path)
    if grey.shape != picture.shape:
        raise ConfigError(f"{path}: {grey.shape[1]}x{grey.shape[0]} {what} for a picture of another size")
    return grey


def _read_mask(path: Path, picture: Picture) -> NDArray[np.uint8]:
    grey = _read_matching(path, picture, "mask")
    top, brightest = np.iinfo(grey.dtype).max, grey.max()
    if 0 < brightest <= top // 2:  # for example a mask with the values 0 and 1
        raise ConfigError(f"{path}: brightest value {brightest}, but a mask of its bit depth has 0 and {top}")
    mask: NDArray[np.uint8] = (grey > top // 2).astype(np.uint8)
    return mask


def read_grey(path: Path) -> Picture:
    """Read one picture as grey counts, (H, W), uint8 or uint16.

    Raises:
        ConfigError: The file is missing or unreadable.
    """
    data: NDArray[Any] | None = None
    with contextlib.suppress(cv2.error):
        data = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH) if path.is_file() else None
    if data is None or data.dtype not in (np.uint8, np.uint16):
        raise ConfigError(f"{path}: no readable 8- or 16-bit picture")
    return data


def set_name(root: Path, source: SourceConfig) -> str:
    """Canonical name of a set, however its folder is written: the path below the root, or else the folder's name."""
    path, base = Path(source.folder), root.resolve()
    if path.is_absolute():
        path = next((path.relative_to(above) for above in path.parents if above.resolve() == base), Path(path.name))
    return os.path.normpath(path)


def held_out(called: str, name: str, fraction: float) -> bool:
    """Return whether a picture belongs to validation. The hash of the set's and the picture's name decides for good.

    Neighbouring frames of one recording, or synthetic pictures on one background, may fall on both sides, so
    validation figures are somewhat optimistic.
    """
    digest = hashlib.sha256(f"{called}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def split_names(root: Path, source: SourceConfig) -> tuple[list[str], list[str]]:
    """Return the names of a set's training pictures and of its validation pictures, each in the order of the split.

    Raises:
        ConfigError: As for ``names``; also if no training pictures are left, or if the validation list contains a name
            that is not in the set.
    """
    folder, rule = root / source.folder, source.validation
    listed = set(names(folder, rule)) if isinstance(rule, str) else set()
    found = names(folder, source.split, source.images)
    if unknown := sorted(listed.difference(found)):
        raise ConfigError(f"{folder / str(rule)}: not in {folder / (source.split or source.images)}: {unknown[0]}")
    split: tuple[list[str], list[str]] = ([], [])
    called = set_name(root, source)
    for name in found:
        split[name in listed if isinstance(rule, str) else held_out(called, name, rule)].append(name)
    if not split[0]:
        raise ConfigError(f"{root / source.folder}: validation takes every picture")
    return split


class Split(Struct, frozen=True):
    """Training and validation pictures of all sources of a recipe.

    Attributes:
        training: Names of the training pictures of each source.
        validation: Validation pictures by set name, as (source to read it with, picture name). Each picture occurs once
            even if its set is listed several times; sets without validation pictures are left out.
        counts: Number of training pictures by set name.
    """

    training: list[list[str]]
    validation: dict[str, list[tuple[SourceConfig, str]]]
    counts: dict[str, int]


def split_sources(root: Path, sources: Sequence[SourceConfig]) -> Split:
    """Split all sources into training and validation pictures.

    Raises:
        ConfigError: As for ``split_names``; also if one source holds out a picture that another one trains on.
    """
    split = Split([], {}, {})
    seen, held = set[Path](), set[Path]()
    for source in sources:
        place, name = (root / source.folder / source.images).resolve(), set_name(root, source)
        training, validation = split_names(root, source)
        new = {place / picture for picture in training} - seen
        split.training.append(training)
        split.counts[name] = split.counts.get(name, 0) + len(new)
        seen |= new
        if kept := [picture for picture in validation if place / picture not in held]:
            split.validation.setdefault(name, []).extend((source, picture) for picture in kept)
        held.update(place / picture for picture in kept)
    if both := seen & held:
        raise ConfigError(f"data.sources: {min(both)}.png: one source holds it out, another trains on it")
    return split


def load_sources(root: Path, sources: Sequence[SourceConfig]) -> tuple[list[list[Sample]], dict[str, list[Sample]]]:
    """Decode all sources; each picture is decoded once even if its set is listed several times.

    Returns:
        Training samples per source, and validation samples by set name (sets without any are left out).

    Raises:
        ConfigError: As for ``split_sources`` and ``read_sample``.
    """
    split, read = split_sources(root, sources), cache(read_sample)

    def load(source: SourceConfig, name: str, min_side: int = MIN_SIDE) -> Sample:
        return read(root / source.folder, name, *_parts(source), min_side)

    with ThreadPoolExecutor() as threads:
        training = [
            list(threads.map(partial(load, source, min_side=1), chosen))
            for source, chosen in zip(sources, split.training, strict=True)
        ]
        validation = {
            name: list(threads.map(load, *zip(*pictures, strict=True))) for name, pictures in split.validation.items()
        }
    return training, validation
