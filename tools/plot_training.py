"""Plot loss and validation metrics of training runs over steps.

python -m tools.plot_training RUN [RUN ...] --out FILE.png
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from matplotlib.figure import Figure

from pipeline.errors import ConfigError
from training.journal import Record, read_log

FIGURES = {"iou": "IoU", "pd": "Pd", "false_alarms_per_picture": "false alarms\nper picture"}
SHARES = ("iou", "pd")


def smooth(values: Sequence[float]) -> list[float]:
    """Compute the running mean over a window of a fortieth of all values to either side, truncated at the ends."""
    reach = len(values) // 40
    return [fmean(values[max(0, k - reach) : k + reach + 1]) for k in range(len(values))]


def series(records: Sequence[Record], name: str, figure: str) -> tuple[list[int], list[float]]:
    """Return steps and values of one metric on one validation set. IoU and Pd are left out for sets without targets."""
    steps, values = [], []
    for record in records:
        metrics = record.get("sets", {}).get(name)
        if metrics and metrics[figure] is not None and (metrics["targets"] or figure not in SHARES):
            steps.append(record["step"])
            values.append(metrics[figure])
    return steps, values


def draw(runs: Mapping[str, Sequence[Record]]) -> Figure:
    """Plot the loss at the top and a column for each validation set below, with one colour per run."""
    sets = list(dict.fromkeys(name for records in runs.values() for r in records for name in r.get("sets", {})))
    rows, columns = (1 + len(FIGURES), len(sets)) if sets else (1, 1)
    figure = Figure(figsize=(max(8.0, 2.4 * columns), 1.2 + 2.2 * rows), layout="constrained")
    grid = figure.add_gridspec(rows, columns)
    loss = figure.add_subplot(grid[0, :])
    for k, (label, records) in enumerate(runs.items()):
        found = [(r["step"], r["loss"]) for r in records if r["event"] == "training"]
        steps, values = [step for step, _ in found], [value for _, value in found]
        loss.plot(steps, values, color=f"C{k}", alpha=0.25, linewidth=0.8)
        loss.plot(steps, smooth(values), color=f"C{k}", label=label)
    loss.set_ylabel("loss")
    loss.set_xlabel("step")
    loss.grid(alpha=0.3)
    loss.legend()
    for row, (key, title) in enumerate(FIGURES.items(), start=1):
        for column, name in enumerate(sets):
            axis = figure.add_subplot(grid[row, column], sharex=loss)
            lines = [series(records, name, key) for records in runs.values()]
            for k, (steps, values) in enumerate(lines):
                axis.plot(steps, values, ".-", color=f"C{k}")
            axis.set_ylim(0, 1.02 if key in SHARES else 1.1 * axis.get_ylim()[1])
            axis.grid(alpha=0.3)
            axis.tick_params(labelsize="small")
            axis.locator_params(axis="x", nbins=4)
            if not any(steps for steps, _ in lines):
                axis.set_axis_off()
            if row == 1:
                axis.set_title(name, fontsize="medium")
            if column == 0:
                axis.set_ylabel(title)
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.plot_training",
        description="Plot loss and validation metrics of training runs over steps.",
    )
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folder of a training run, finished or not")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE.png", help="output PNG file")
    options = parser.parse_args(arguments)
    try:
        figure = draw({str(run): read_log(run) for run in options.runs})
        try:
            figure.savefig(options.out, format="png", dpi=80)
        except OSError as error:
            raise ConfigError(f"{options.out}: {error.strerror}") from None
    except ConfigError as error:
        sys.stderr.write(f"tools.plot_training: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
