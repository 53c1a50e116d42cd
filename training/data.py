"""Data sets of still pictures with masks, decoded once."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Mapping, Sequence
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
    """One picture with its truth.

    Attributes:
        name: file name without suffix.
        picture: (H, W), uint8 or uint16.
        mask: (H, W), uint8, 1 on targets.
        ignored: (H, W), uint8, 1 where nobody can tell; 0 on targets.
        change: (H, W), uint8, see ``nets.normalisation.change_picture``; none where nothing is known of it.
    """

    name: str
    picture: Picture
    mask: NDArray[np.uint8]
    ignored: NDArray[np.uint8]
    change: NDArray[np.uint8] | None = None


def names(folder: Path, split: str | None, images: str = "images") -> list[str]:
    """Names of a split file in its order, one a line, or of all pictures, sorted as text, if there is none.

    Raises:
        ConfigError: the split file or the folder cannot be read, or names nothing.
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
        raise ConfigError(f"{folder / (split or images)}: no text file of names") from None
    if not found:
        raise ConfigError(f"{folder / (split or images)}: no pictures")
    return found


def split_file_names(folder: Path, split: str) -> list[str]:
    """Names of a split file as a command line tells it: a path as it is, or else below the folder; see ``names``."""
    return names(folder, str(Path(split).resolve()) if Path(split).is_file() else split)


def read_sample(
    folder: Path,
    name: str,
    images: str = "images",
    masks: str | None = "masks",
    ignored: str | None = None,
    changes: str | None = None,
    smallest: int = MIN_SIDE,
) -> Sample:
    """Decode one picture as grey counts in its own bit depth; masks are true above half of their range.

    ``smallest`` is the least side, px: networks see whole pictures from ``MIN_SIDE`` on, but crops of any.

    Raises:
        ConfigError: a file is missing or unreadable, the picture is too small, the sizes differ, or a mask has
            pixels above 0 but none above half range.
    """
    picture = read_grey(path := folder / images / f"{name}.png")
    if min(picture.shape) < smallest:
        raise ConfigError(f"{path}: {picture.shape[1]}x{picture.shape[0]} px, but networks need {smallest}x{smallest}")
    none = np.zeros(picture.shape, np.uint8)
    mask = none if masks is None else _read_mask(folder / masks / f"{name}.png", picture)
    unknown = none if ignored is None else _read_mask(folder / ignored / f"{name}.png", picture) & ~mask
    change = None if changes is None else _read_beside(folder / changes / f"{name}.png", picture, "change picture")
    if change is not None and change.dtype != np.uint8:
        raise ConfigError(f"{folder / str(changes)}/{name}.png: a change picture has 8 bit")
    return Sample(name, picture, mask, unknown, change)


def spread(items: Sequence[Item], most: int | None) -> Sequence[Item]:
    """At most so many, evenly spread over the list, in which neighbours may be frames of one film; none takes all."""
    if most is None or len(items) <= most:
        return items
    return [items[(2 * k + 1) * len(items) // (2 * most)] for k in range(most)]


def read_source(root: Path, source: SourceConfig, name: str) -> Sample:
    """One picture of a set; see ``read_sample``."""
    return read_sample(root / source.folder, name, *_parts(source))


def _parts(source: SourceConfig) -> tuple[str, str | None, str | None, str | None]:
    return source.images, source.masks, source.ignored, source.changes


def _read_beside(path: Path, picture: Picture, what: str) -> Any:
    grey = read_grey(path)
    if grey.shape != picture.shape:
        raise ConfigError(f"{path}: {grey.shape[1]}x{grey.shape[0]} {what} for a picture of another size")
    return grey


def _read_mask(path: Path, picture: Picture) -> NDArray[np.uint8]:
    grey = _read_beside(path, picture, "mask")
    top, brightest = np.iinfo(grey.dtype).max, grey.max()
    if 0 < brightest <= top // 2:  # such as one drawn with 0 and 1
        raise ConfigError(f"{path}: brightest value {brightest}, but a mask of its bit depth has 0 and {top}")
    mask: NDArray[np.uint8] = (grey > top // 2).astype(np.uint8)
    return mask


def read_grey(path: Path) -> Picture:
    """One picture as grey counts, (H, W), uint8 or uint16.

    Raises:
        ConfigError: missing or unreadable.
    """
    data: NDArray[Any] | None = None
    with contextlib.suppress(cv2.error):
        data = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_ANYDEPTH) if path.is_file() else None
    if data is None or data.dtype not in (np.uint8, np.uint16):
        raise ConfigError(f"{path}: no readable 8- or 16-bit picture")
    return data


def set_name(root: Path, source: SourceConfig) -> str:
    """What a set is called however its folder is spelled: the path below the root, or elsewhere the folder's name."""
    path, base = Path(source.folder), root.resolve()
    if path.is_absolute():
        path = next((path.relative_to(above) for above in path.parents if above.resolve() == base), Path(path.name))
    return os.path.normpath(path)


def held_out(called: str, name: str, fraction: float) -> bool:
    """Whether a picture belongs to validation: fixed for ever by the hash of what its set is called and its name.

    Neighbouring frames of one recording, or synthetic pictures on one background, may fall on both sides, so
    validation figures are somewhat optimistic.
    """
    digest = hashlib.sha256(f"{called}/{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < fraction * 2**64


def split_names(root: Path, source: SourceConfig) -> tuple[list[str], list[str]]:
    """Names of a set's training pictures and of its validation pictures, each in the order of the split.

    Raises:
        ConfigError: see ``names``; also a source that has nothing left to train on, or a validation list with a name
            that is none of the set's.
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
    """What the sets of a recipe train on and what they hold out.

    Attributes:
        training: names of each set's training pictures.
        validation: by the name of a set, its validation pictures and which source they are read as, each once however
            often the set is listed; sets without any left out.
        counts: by the name of a set, how many pictures are trained on.
    """

    training: list[list[str]]
    validation: dict[str, list[tuple[SourceConfig, str]]]
    counts: dict[str, int]

    def seen_more(self, counts: Mapping[str, int]) -> list[str]:
        """Sets held out of in part, of which weights trained on so many pictures have seen more than is trained on."""
        return [name for name in self.validation if counts.get(name, 0) > self.counts.get(name, 0)]


def split_sources(root: Path, sources: Sequence[SourceConfig]) -> Split:
    """Part all sets.

    Raises:
        ConfigError: see ``split_names``; also a picture that one source holds out and another trains on.
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
    """Decode all sets, each picture once however often its set is listed.

    Returns:
        training samples per source, and the validation samples by the name of the set (sets without any left out).

    Raises:
        ConfigError: see ``split_sources`` and ``read_sample``.
    """
    split, read = split_sources(root, sources), cache(read_sample)

    def load(source: SourceConfig, name: str, smallest: int = MIN_SIDE) -> Sample:
        return read(root / source.folder, name, *_parts(source), smallest)

    with ThreadPoolExecutor() as threads:
        training = [
            list(threads.map(partial(load, source, smallest=1), chosen))
            for source, chosen in zip(sources, split.training, strict=True)
        ]
        validation = {
            name: list(threads.map(load, *zip(*pictures, strict=True))) for name, pictures in split.validation.items()
        }
    return training, validation
