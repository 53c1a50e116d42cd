"""Small maps for tests of the losses."""

from __future__ import annotations

import math

import torch
from hypothesis import strategies as st


def logit(probability):
    return math.log(probability / (1 - probability))


def logits_of(probability):
    """Logits of a tensor of probabilities; exact 0 and 1 become sigmoid's 0 and 1 in float32, except for 1e-26."""
    return torch.logit(probability.double(), eps=1e-30).clamp(-60, 60).float()


def plane(*values):
    return torch.tensor(values, dtype=torch.float64).view(1, 1, 1, -1)


def blob(x, y, reach=1, size=64, value=1.0):
    """A square of (2 * reach + 1)^2 pixels centred at (x, y)."""
    mask = torch.zeros(1, 1, size, size)
    mask[0, 0, y - reach : y + reach + 1, x - reach : x + reach + 1] = value
    return mask


@st.composite
def logits_and_masks(draw, size=12, most=0.6):
    """Strategy for random logits and a non-empty random mask, both (2, 1, size, size).

    Each mask pixel is target with a probability of at most ``most``. Logits stay in the range where float32
    distinguishes their sigmoids from 0 and 1; from 17 on the gradient is zero.
    """
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    offset, spread = draw(st.floats(-5, 3)), draw(st.floats(0.1, 4))
    logits = (offset + spread * torch.randn(2, 1, size, size, generator=generator)).clamp(-15, 15)
    mask = (torch.rand(2, 1, size, size, generator=generator) < draw(st.floats(0.01, most))).float()
    mask[:, 0, size // 2, size // 2] = 1
    return logits, mask


def turned(plane):
    """Yield the plane in its eight orientations (rotations and mirror images)."""
    for turns in range(4):
        turn = torch.rot90(plane, turns, dims=(-2, -1))
        yield turn
        yield turn.flip(-1)
