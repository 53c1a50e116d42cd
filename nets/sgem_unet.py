"""SGEM U-Net: one skip connection replaced by attention (doi 10.23977/acss.2025.090115)."""

from __future__ import annotations

from nets.layers.double_conv import DoubleConv
from nets.layers.sgem import LinearSgem, LiteralSgem
from nets.unet import Concatenation, UShape, widths

SGEM_LEVEL = 2
SGEM = {"literal": LiteralSgem, "linear": LinearSgem}


class SgemUNet(UShape):
    """U-Net in which an SGEM joins the third encoder stage and the first decoder stage.

    8.684 M parameters and 15.9 G multiply-adds on 3x256x256 with the literal attention at the default width; the paper
    gives 8.69 M and 15.92 G.

    Args:
        in_channels: channels of the input.
        width: channels of the first level; they double at each of the four levels below.
        attention: "literal" is the paper's, "linear" attends pixel by pixel; see ``nets.layers.sgem``.

    Raises:
        ValueError: width is below 1, or the attention is unknown.
    """

    def __init__(self, in_channels: int = 1, width: int = 32, attention: str = "literal") -> None:
        if attention not in SGEM:
            raise ValueError(f"SgemUNet: unknown attention {attention!r}; known: {', '.join(SGEM)}")
        levels = widths(width)
        joins = [
            SGEM[attention](channels) if level == SGEM_LEVEL else Concatenation(channels)
            for level, channels in enumerate(levels[:-1])
        ]
        super().__init__(in_channels, levels, DoubleConv, joins)
