"""One pass over probability maps, scored at many thresholds; the table that people read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

COLUMNS = ("pictures", "targets", "iou", "niou", "pd", "fa", "false_alarms_per_picture")


class Score(Protocol):
    """Pooled scores of a set at one threshold."""

    def update(self, predicted: NDArray[np.bool_], true: NDArray[Any]) -> None:
        """Add one picture."""

    def summary(self) -> dict[str, Any]:
        """All figures as plain values, at least those of ``COLUMNS``."""


S = TypeVar("S", bound=Score)


def sweep(
    maps: Iterable[tuple[NDArray[np.float32], NDArray[Any]]],
    thresholds: Sequence[float],
    make: Callable[[], S],
    above: np.ufunc = np.greater_equal,
) -> list[S]:
    """Scores at every threshold.

    Args:
        maps: probability (H, W) and truth (H, W) of each picture; taken one at a time.
        thresholds: of the probability.
        make: an empty score.
        above: compares probability and threshold; at least the threshold, unless told otherwise, as in live use.
    """
    scores = [make() for _ in thresholds]
    for probability, true in maps:
        for threshold, score in zip(thresholds, scores, strict=True):
            score.update(above(probability, threshold), true)
    return scores


def markdown(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """A table with one row a set; ``fa`` in false pixels per million."""
    head = ("set", "pictures", "targets", "IoU", "nIoU", "Pd", "Fa (1e-6)", "false alarms / picture")
    rows = [head, ("---",) + ("---:",) * len(COLUMNS)]
    for name, figures in sets.items():
        scaled = {**figures, "fa": None if figures["fa"] is None else 1e6 * figures["fa"]}
        rows.append((name, *(_cell(scaled[column], column) for column in COLUMNS)))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: float | None, column: str) -> str:
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if column == "fa" else f"{value:.3f}"
