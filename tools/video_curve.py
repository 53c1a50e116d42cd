"""What the detection threshold trades on videos: targets found against false tracks per minute."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import msgspec

from pipeline.errors import ConfigError
from tools.video_figures import Result, by_set, found

THRESHOLDS = (0.3, 0.5, 0.7, 0.9, 0.97, 0.99, 0.997, 0.999, 0.9997, 0.9999)
SUFFIXES = (".json", ".png")

Curves = dict[str, list[dict[str, Any]]]


def curves(results: Mapping[float, Sequence[Result]]) -> Curves:
    """Figures of each set at each threshold, in the order of thresholds."""
    sets: Curves = {}
    for threshold, members in sorted(results.items()):
        for name, group in by_set(members).items():
            sets.setdefault(name, []).append({"threshold": threshold, **found(group)})
    return sets


def write(sets: Curves, path: Path) -> None:
    """Write the figures (``.json``) or draw them (``.png``).

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
    from matplotlib.figure import Figure  # noqa: PLC0415  # of the optional part "train"

    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    axis = figure.add_subplot()
    for name, points in sets.items():
        known = [(p["false_tracks_per_minute"], p["pd"], p["threshold"]) for p in points if p["minutes"]]
        axis.plot([x for x, _, _ in known], [y for _, y, _ in known], ".-", label=name)
        for (x, y), same in groupby(known, key=itemgetter(0, 1)):
            thresholds = [f"{threshold:g}" for _, _, threshold in same]
            label = " to ".join(dict.fromkeys([thresholds[0], thresholds[-1]]))
            axis.annotate(label, (x, y), (4, -9), textcoords="offset points", fontsize="x-small")
    axis.set_xscale("symlog", linthresh=1.0)  # zero false tracks is a point too
    axis.set_xlim(-0.1, 3 * max(1.0, axis.get_xlim()[1]))
    axis.set_ylim(0, 1.02)
    axis.set_xlabel("false tracks per minute")
    axis.set_ylabel("Pd")
    axis.set_title("Detection threshold beside each point", fontsize="medium")
    axis.grid(alpha=0.3)
    axis.legend(loc="lower left")
    figure.savefig(path, format="png", dpi=110)
