"""Teacher networks for knowledge distillation; each teaches the crops of some sources."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import nets
from nets.fold import fold
from nets.normalisation import FrameZScore
from pipeline.errors import ConfigError


class Teachers:
    """Computes logits of trained weights without gradients.

    Args:
        weights: Name or path of the teacher of each source of the recipe; None if only masks are learned.
        normalisation: Normalisation of the pictures. A teacher without the change channel gets the other channels.
        device: Device of the pictures and the teachers.
        bfloat16: Whether convolutions run in bfloat16.

    Attributes:
        manifests: Manifests of the teachers.

    Raises:
        ConfigError: Weights cannot be read, or expect another normalisation.
    """

    def __init__(
        self, weights: Sequence[str | None], normalisation: FrameZScore, device: torch.device, bfloat16: bool
    ) -> None:
        self._weights = np.array([name or "" for name in weights])
        self._device, self._bfloat16 = device, bfloat16
        self._networks = {}
        self.manifests: list[nets.Manifest] = []
        for name in filter(None, dict.fromkeys(weights)):
            try:
                network, manifest = nets.load(name, device)
            except nets.WeightsError as error:
                raise ConfigError(f"data.sources: teacher: {error}") from None
            seen = manifest.input.normalisation
            if seen not in (normalisation, msgspec.structs.replace(normalisation, change=False)):
                raise ConfigError(f"data.sources: teacher: {name} differs in its normalisation from the recipe")
            self.manifests.append(manifest)
            self._networks[name] = fold(network).to(memory_format=torch.channels_last), seen.channels  # type: ignore[call-overload]

    @torch.no_grad()
    def logits(self, pictures: Tensor, sources: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Compute the teachers' logits for a batch.

        Args:
            pictures: (N, C, H, W), network input; the change channel, if any, is the last.
            sources: (N,), index of the recipe's source of each picture.

        Returns:
            Indices (M,), int64, of the pictures that have a teacher, and their logits (M, 1, H, W), float32.
        """
        rows, maps = [torch.empty(0, dtype=torch.int64)], [pictures[:0, :1].float()]
        for name, (network, channels) in self._networks.items():
            taught = torch.from_numpy(np.flatnonzero(self._weights[sources] == name))
            if len(taught):
                seen = pictures[taught.to(self._device), :channels].contiguous(memory_format=torch.channels_last)
                with torch.autocast(self._device.type, torch.bfloat16, enabled=self._bfloat16):
                    maps.append(network(seen).float())
                rows.append(taught)
        return torch.cat(rows).to(self._device), torch.cat(maps)
