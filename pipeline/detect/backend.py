"""What runs the network: from a batch of raw pictures to probability maps."""

from __future__ import annotations

import os
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import nets
from nets.normalisation import FrameZScore, normalise
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError
from pipeline.messages import Intensity

Maps = NDArray[np.float32]


class Backend(Protocol):
    """Runs one network.

    Attributes:
        manifest: of its weights.
        device: where it runs, for people.
    """

    manifest: nets.Manifest
    device: str

    def infer(self, pictures: NDArray[Any], intensities: list[Intensity]) -> Maps:
        """Probability of a target at every pixel.

        The map of a picture does not depend, to the last bit, on the other pictures of the batch.

        Args:
            pictures: (N, H, W) uint8 or uint16, raw counts.
            intensities: of each picture's frame.

        Returns:
            (N, H, W) float32 in 0..1.
        """


def make_backend(config: DetectConfig) -> Backend:
    """The backend that the configuration asks for.

    Raises:
        BackendError: weights, device or library cannot be used.
    """
    if config.backend == "openvino":
        from pipeline.detect.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(config)
    return TorchBackend(config)


def network_input(
    pictures: NDArray[Any], intensities: list[Intensity], norm: FrameZScore, device: torch.device | None = None
) -> Tensor:
    """Raw pictures as what the network was trained on.

    Args:
        pictures: (N, H, W) uint8 or uint16, raw counts.
        intensities: of each picture's frame.
        norm: what the network was trained with.
        device: where the result is wanted.

    Returns:
        (N, C, H, W) float32 in -clip..clip.
    """
    # Torch has little arithmetic on uint16; the upload stays two bytes a pixel as int32 would not.
    counts = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).to(torch.float32)[:, None]
    facts = torch.tensor([(i.mean, i.gain) for i in intensities], dtype=torch.float32, device=device)
    return normalise(counts, facts[:, 0], facts[:, 1], norm)


class TorchBackend:
    """PyTorch on a CPU or a CUDA device.

    On a CPU, pictures go through one by one: batching brings no speed there, and with several threads the
    last bit depends on the batch. On CUDA, batches are filled up to one fixed size for the same reason.

    Raises:
        BackendError: weights or device cannot be used.
    """

    def __init__(self, config: DetectConfig) -> None:
        name = config.device
        if name == "auto":
            name = "cuda" if torch.cuda.is_available() else "cpu"
        try:
            self._device = torch.device(name)
            self._network, self.manifest = nets.load(config.weights, self._device)
        except nets.WeightsError as error:
            raise BackendError(str(error)) from None
        except (RuntimeError, AssertionError) as error:
            reason = str(error).strip().split("\n")[0]
            raise BackendError(f"detect.device: {config.device!r} cannot be used: {reason}") from None
        self._on_cpu = self._device.type == "cpu"
        self._batch = 1 if self._on_cpu else config.batch_size
        self._half = config.precision == "bf16"
        if self._on_cpu:
            torch.set_num_threads(config.threads or os.cpu_count() or 1)
        self.device = "cpu" if self._on_cpu else f"{name} ({torch.cuda.get_device_name(self._device)})"

    @torch.inference_mode()
    def infer(self, pictures: NDArray[Any], intensities: list[Intensity]) -> Maps:
        """See ``Backend``."""
        maps = np.empty(pictures.shape, np.float32)
        for start in range(0, len(pictures), self._batch):
            stop = min(start + self._batch, len(pictures))
            maps[start:stop] = self._run(pictures[start:stop], intensities[start:stop])
        return maps

    def _run(self, pictures: NDArray[Any], intensities: list[Intensity]) -> Maps:
        batch = network_input(pictures, intensities, self.manifest.input.normalisation, self._device)
        if fill := self._batch - len(batch):
            batch = torch.cat([batch, batch[:1].expand(fill, -1, -1, -1)])
        # Without this, cuDNN may choose another algorithm or TF32, and fp32 would be neither fp32 nor repeatable.
        exact = torch.backends.cudnn.flags(benchmark=False, deterministic=True, allow_tf32=False)
        with exact, torch.autocast(self._device.type, torch.bfloat16, enabled=self._half):
            logits = self._network(batch.to(memory_format=torch.channels_last))
        return np.asarray(torch.sigmoid(logits.float())[: len(pictures), 0].cpu().numpy())
