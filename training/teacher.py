"""A trained network that another one learns from."""

from __future__ import annotations

from typing import Annotated

import torch
from msgspec import Meta, Struct
from torch import Tensor

import nets
from nets.fold import fold
from nets.normalisation import FrameZScore
from pipeline.errors import ConfigError


class TeacherConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whose maps are learned beside the masks.

    Attributes:
        weights: name or path; none learns from masks alone.
        weight: of its maps in the loss; the rest is left to the masks.
    """

    weights: str | None = None
    weight: Annotated[float, Meta(gt=0, le=1)] = 0.5


class Teacher:
    """Logits of trained weights, without gradients.

    Args:
        weights: name or path.
        normalisation: of the pictures that it will be shown.
        device: where they are.
        bfloat16: whether its convolutions run in bfloat16.

    Raises:
        ConfigError: the weights cannot be read, or see pictures otherwise normalised.
    """

    def __init__(self, weights: str, normalisation: FrameZScore, device: torch.device, bfloat16: bool) -> None:
        try:
            network, manifest = nets.load(weights, device)
        except nets.WeightsError as error:
            raise ConfigError(f"teacher.weights: {error}") from None
        if manifest.input.normalisation != normalisation:
            raise ConfigError(f"teacher.weights: {weights} has another normalisation than the recipe")
        self._network = fold(network).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._device, self._bfloat16 = device, bfloat16

    @torch.no_grad()
    def logits(self, pictures: Tensor) -> Tensor:
        """(N, 1, H, W), float32, of network input (N, C, H, W)."""
        with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
            logits: Tensor = self._network(pictures)
        return logits.float()
