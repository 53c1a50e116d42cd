"""Trade-off over the detection threshold on videos: Pd against false tracks per minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from pipeline.errors import ConfigError
from tools.video_figures import Result, by_set, found

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.transforms import Bbox

THRESHOLDS = (0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999)
SUFFIXES = (".json", ".png")
CORNERS = {
    (4, -3): ("left", "top"),
    (-4, 3): ("right", "bottom"),
    (4, 3): ("left", "bottom"),
    (-4, -3): ("right", "top"),
}
"""Offsets of a label from its point in pt, tried in this order, and the alignment of the text there."""

Curves = dict[str, list[dict[str, Any]]]


def curves(results: Mapping[float, Sequence[Result]]) -> Curves:
    """Compute the figures of each set at each threshold, sorted by threshold."""
    sets: Curves = {}
    for threshold, members in sorted(results.items()):
        for name, group in by_set(members).items():
            sets.setdefault(name, []).append({"threshold": threshold, **found(group)})
    return sets


def write(sets: Curves, path: Path) -> None:
    """Write the figures (``.json``) or plot them (``.png``). A set without targets has no curve.

    Raises:
        ConfigError: the file cannot be written.
    """
    try:
        if path.suffix == ".json":
            path.write_bytes(msgspec.json.format(msgspec.json.encode(sets), indent=1))
        else:
            _draw(sets, path)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None


def _draw(sets: Curves, path: Path) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415  # optional dependency ("train")

    figure = Figure(figsize=(7.0, 5.0), dpi=110, layout="constrained")
    axis = figure.add_subplot()
    labels: list[tuple[str, float, float]] = []
    for name, points in sets.items():
        known = [
            (p["false_tracks_per_minute"], p["pd"], p["threshold"])
            for p in points
            if p["minutes"] and p["pd"] is not None
        ]
        if not known:
            continue
        axis.plot([x for x, _, _ in known], [y for _, y, _ in known], ".-", label=name)
        marks = []
        for (x, y), same in groupby(known, key=itemgetter(0, 1)):
            thresholds = [f"{threshold:g}" for _, _, threshold in same]
            marks.append((" to ".join(dict.fromkeys([thresholds[0], thresholds[-1]])), x, y))
        labels += marks[:1] + marks[1:][::-1]  # label both ends first: they show the direction of the curve
    axis.set_xscale("symlog", linthresh=1.0)  # so that zero false tracks can be drawn
    axis.xaxis.set_major_formatter("{x:g}")
    axis.set_xlim(-0.1, 3 * max(1.0, axis.get_xlim()[1]))
    axis.set_ylim(max(0.0, min((y for _, _, y in labels), default=0.0) - 0.1), 1.02)
    axis.set_xlabel("false tracks per minute")
    axis.set_ylabel("Pd")
    axis.set_title("Detection threshold beside the points", fontsize="medium")
    axis.grid(alpha=0.3)
    if labels:
        axis.legend(loc="lower left")
    figure.canvas.draw()  # the layout must be fixed before labels are placed
    taken: list[Bbox] = []
    for text, x, y in labels:
        _label(axis, text, (x, y), taken)
    figure.savefig(path, format="png")


def _label(axis: Axes, text: str, place: tuple[float, float], taken: list[Bbox]) -> None:
    """Write a label at the first of four corners of a point that is still free; omit it if none is."""
    for corner, (across, upright) in CORNERS.items():
        words = axis.annotate(
            text, place, corner, textcoords="offset points", fontsize="x-small", ha=across, va=upright
        )
        space = words.get_window_extent()
        if not any(space.overlaps(other) for other in taken):
            taken.append(space)
            return
        words.remove()
