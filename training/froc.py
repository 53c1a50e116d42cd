"""Plot of the FROC curve; needs matplotlib."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pipeline.errors import ConfigError


def draw(report: Mapping[str, Any]) -> Figure:
    """Plot Pd against false alarms per picture for a ``training.evaluate`` report, with its own threshold marked."""
    points = report["froc"]
    alarms = [point["false_alarms_per_picture"] for point in points]
    found = [point["pd"] for point in points]
    chosen = next(k for k, point in enumerate(points) if point["threshold"] == report["threshold"])
    figure = Figure(figsize=(6.4, 4.2), layout="constrained")
    axis = figure.subplots()
    axis.plot(alarms, found, ".-", label=f"thresholds {points[0]['threshold']:g} to {points[-1]['threshold']:g}")
    label = f"threshold {report['threshold']:g}: Pd {found[chosen]:.3f}, {alarms[chosen]:.3g} false alarms / picture"
    axis.plot(alarms[chosen], found[chosen], "o", color="C3", markersize=8, label=label)
    # Logarithmic down to one false alarm in the whole set, and linear below, so that zero can be shown.
    axis.set_xscale("symlog", linthresh=1 / report["metrics"]["pictures"])
    axis.set_xlim(0, max(1.0, 1.5 * max(alarms)))
    axis.set_ylim(max(0.0, min(found) - 0.1), 1.02)
    axis.set_xlabel("false alarms per picture")
    axis.set_ylabel("Pd")
    axis.set_title(
        f"{report['weights']['name']} on {Path(report['data']).resolve().name}, {report['protocol']} protocol"
    )
    axis.grid(alpha=0.3)
    axis.legend()
    return figure


def write(report: Mapping[str, Any], file: Path) -> None:
    """Save the FROC curve of a report as PNG.

    Raises:
        ConfigError: The set contains no targets, or the file cannot be written.
    """
    if not report["metrics"]["targets"]:
        raise ConfigError(f"{file}: no curve, because no picture contains a target")
    try:
        draw(report).savefig(file, format="png", dpi=100)
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
