"""Draw the plots for docs/losses.md.

python -m tools.plot_losses --out docs/losses
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from matplotlib.figure import Figure
from torch import Tensor

from training.losses.scale import WEIGHTS, Weight, scale_iou

TRUE = (9, 100)
"""Areas in px of squares with sides 3 and 10: about the smallest and the largest targets of the data sets."""

EDGE = 40
PICTURES = 24

LINES: dict[Weight, tuple[str, float]] = {
    "diff": ("C0-", 7),
    "ratio": ("C3-", 4),
    "linear": ("C4:", 2.5),
    "mean": ("C2-", 2),
    "variance": ("C1-", 2),
}
"""Line style and width; they differ because three of the lines coincide."""


def weight_and_slope(weight: Weight, ratio: Tensor, true: float) -> tuple[Tensor, Tensor]:
    """Compute w(P, T) and T dw/dP at P = ratio * T, both in the shape of ``ratio``."""
    predicted = (ratio * true).requires_grad_()
    w = WEIGHTS[weight](predicted, torch.tensor(true, dtype=ratio.dtype))
    (slope,) = torch.autograd.grad(w.sum(), predicted)
    return w.detach(), true * slope


def wrong_sign(weight: Weight, ratio: float, true: int, detach: bool, generator: torch.Generator) -> float:
    """Compute the share of background pixels whose logit a gradient step raises.

    It is the mean over random predictions of area ratio * true. Between 50 and 100 % of the predicted area (or as much
    as fits) lies on the target, distributed randomly over its pixels; the rest is distributed over the background.
    """
    mask = torch.zeros(1, 1, EDGE, EDGE, dtype=torch.float64)
    side = round(true**0.5)
    mask[..., 10 : 10 + side, 10 : 10 + side] = 1
    wrong = 0.0
    for _ in range(PICTURES):
        hit = 0.5 + 0.5 * torch.rand((), generator=generator, dtype=torch.float64)
        inside = min(float(hit) * ratio, 0.98) * true
        noise = 0.98 + 0.02 * torch.rand(mask.shape, generator=generator, dtype=torch.float64)
        on, off = noise * mask, noise * (1 - mask)
        probability = on * (inside / on.sum()) + off * ((ratio * true - inside) / off.sum())
        logits = torch.logit(probability.clamp(1e-9, 1 - 1e-9)).float().requires_grad_()
        scale_iou(logits, mask, weight, detach).backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        wrong += (logits.grad[mask == 0] < 0).double().mean().item()
    return wrong / PICTURES


def draw_weights() -> Figure:
    """Plot weights (top) and their slopes (bottom) against P / T, for a small (left) and a large target (right)."""
    figure = Figure(figsize=(9.5, 5), layout="constrained")
    ratio = torch.linspace(0, 3, 601, dtype=torch.float64)
    ratio = ratio[ratio != 1]  # the slope jumps there
    for column, axes in enumerate(figure.subplots(2, 2, sharex=True, sharey="row").T):
        for name in WEIGHTS:
            w, slope = weight_and_slope(name, ratio, TRUE[column])
            for axis, values in zip(axes, (w, slope), strict=True):
                (line,) = axis.plot(ratio[ratio < 1], values[ratio < 1], label=name)
                axis.plot(ratio[ratio > 1], values[ratio > 1], color=line.get_color())
        axes[0].set_title(f"true area T = {TRUE[column]} px")
        axes[1].set_xlabel("predicted area / true area, P / T")
        for axis in axes:
            axis.grid(alpha=0.3)
            axis.margins(x=0)
        axes[1].axhline(0, color="black", linewidth=0.8)
        if column == 0:
            axes[0].set_ylabel("weight w")
            axes[1].set_ylabel("slope T dw/dP")
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center")
    return figure


def draw_signs() -> Figure:
    """Plot the share of background pixels pushed towards target against P / T, with weights attached and detached."""
    figure = Figure(figsize=(9.5, 3.4), layout="constrained")
    ratios = [*torch.linspace(0.05, 0.95, 19).tolist(), 0.98, 1.02, *torch.linspace(1.05, 1.5, 10).tolist()]
    for column, axis in enumerate(figure.subplots(1, 2, sharey=True)):
        generator = torch.Generator().manual_seed(0)
        for name, (style, width) in LINES.items():
            share = [100 * wrong_sign(name, ratio, TRUE[column], False, generator) for ratio in ratios]
            axis.plot(ratios, share, style, label=f"{name}, attached", linewidth=width)
        worst = [100 * max(wrong_sign(name, r, TRUE[column], True, generator) for name in WEIGHTS) for r in ratios]
        axis.plot(ratios, worst, "k-", label="all five, detached", linewidth=3)
        axis.set_title(f"true area T = {TRUE[column]} px")
        axis.set_xlabel("predicted area / true area, P / T")
        axis.grid(alpha=0.3)
        axis.margins(x=0)
        if column == 0:
            axis.set_ylabel("background pixels\npushed towards target, %")
            figure.legend(*axis.get_legend_handles_labels(), loc="outside right center")
    return figure


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command-line tool and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.plot_losses", description="Draw the plots of the losses for docs/losses.md."
    )
    parser.add_argument("--out", type=Path, required=True, help="output folder of the plots, created if missing")
    out: Path = parser.parse_args(arguments).out
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, figure in (("weights", draw_weights()), ("gradient_signs", draw_signs())):
            figure.savefig(out / f"{name}.png", dpi=80, pil_kwargs={"optimize": True})
    except OSError as error:
        print(f"{out}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
