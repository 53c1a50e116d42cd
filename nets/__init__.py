"""Networks: one logits map per picture."""

from nets.registry import build

__all__ = ["build"]
