"""Scoring of probability maps at many thresholds in one pass, and the Markdown table of the results."""

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
        """Return all figures as plain values, at least those of ``COLUMNS``."""


S = TypeVar("S", bound=Score)


def sweep(
    maps: Iterable[tuple[NDArray[np.float32], NDArray[Any]]],
    thresholds: Sequence[float],
    make: Callable[[], S],
    above: np.ufunc = np.greater_equal,
) -> list[S]:
    """Score probability maps at every threshold.

    Args:
        maps: probability (H, W) and truth (H, W) of each picture; consumed one at a time.
        thresholds: probability thresholds.
        make: creates an empty score.
        above: comparison of probability and threshold; the default (>=) is the one used in live operation.
    """
    scores = [make() for _ in thresholds]
    for probability, true in maps:
        for threshold, score in zip(thresholds, scores, strict=True):
            score.update(above(probability, threshold), true)
    return scores


def markdown(sets: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a Markdown table with one row per set; ``fa`` is in false pixels per million."""
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
