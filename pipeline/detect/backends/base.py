"""Base class of the inference backends: from a batch of raw pictures to probability maps."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

import nets
from nets.normalisation import FrameZScore, normalise
from pipeline.cores import usable_cores
from pipeline.detect.backends import batching
from pipeline.detect.config import DetectConfig, Precision
from pipeline.errors import BackendError
from pipeline.messages import Intensity

Maps = NDArray[np.float32]
Pictures = NDArray[Any] | Sequence[NDArray[Any]]
Changes = Sequence[NDArray[np.uint8]]
CPU = torch.device("cpu")
_NO_WORKSPACE = "unable to find an engine"
"""Part of the message of PyTorch's convolutions if there is no memory for the workspace of any cuDNN algorithm."""


class Backend(ABC):
    """Runs one network on one device.

    Args:
        config: Settings of the detect stage; the precision is checked here.
        manifest: Manifest of the weights.
        device: Device on which the network expects its input.
        batch: Fixed batch size. Smaller batches are padded with copies, so that a map does not depend on the number
            of other pictures, down to the last bit.

    Attributes:
        name: Value of ``detect.backend`` that selects this backend.
        precisions: Supported precisions, the most exact first.
        manifest: Manifest of the weights.
        precision: Precision in use.
        device: Human-readable description of the device.
        size: (H, W) of the only supported picture size; None if any size is supported.
        notice: One line that says how the backend deviates from the configuration; empty if it does not.

    Raises:
        BackendError: Weights, device, precision, artefact or library cannot be used.
    """

    name: ClassVar[str]
    precisions: ClassVar[tuple[Precision, ...]]
    size: tuple[int, int] | None = None
    notice: str = ""

    def __init__(self, config: DetectConfig, manifest: nets.Manifest, device: torch.device = CPU, batch: int = 1):
        precision = config.precision or self.precisions[0]
        if precision not in self.precisions:
            known = " or ".join(self.precisions)
            raise BackendError(f"detect.precision: the {self.name} backend runs {known}, not {precision}")
        self.manifest = manifest
        self.precision: Precision = precision
        self.device = str(device) if device.type == "cpu" else f"{device} ({torch.cuda.get_device_name(device)})"
        self._torch_device, self._batch = device, batch
        self._streams = batching.streams(device) if device.type == "cuda" else None

    @abstractmethod
    def run(self, batch: Tensor) -> Tensor:
        """Compute logits (B, 1, H, W), float32, of network input (B, C, H, W), float32; B is the fixed batch size.

        The result is valid until the next call.
        """

    def normalise(self, planes: Tensor, mean: Tensor, gain: Tensor) -> Tensor:
        """Apply ``nets.normalisation.normalise`` with the settings of the weights."""
        return normalise(planes, mean, gain, self.manifest.input.normalisation)

    def forward(self, planes: Tensor, mean_gain: Tensor) -> Tensor:
        """Compute logits (B, 1, H, W), float32, of raw pictures on the device; valid until the next call.

        Args:
            planes: (B, P, H, W) uint8 or uint16 raw counts, plus change pictures if the weights need them.
            mean_gain: (B, 2) float32 mean and gain of the frame of each picture.
        """
        # Converted here, since torch supports few operations on uint16 and an upload as int32 would double its size.
        return self.run(self.normalise(planes.to(torch.float32), mean_gain[:, 0], mean_gain[:, 1]))

    def infer(self, pictures: Pictures, intensities: list[Intensity], changes: Changes | None = None) -> Maps:
        """Compute the probability of a target at every pixel.

        The map of a picture does not depend on the other pictures of the batch, down to the last bit.

        Args:
            pictures: (N, H, W) uint8 or uint16 raw counts, or a sequence of N arrays (H, W).
            intensities: Intensity statistics of the frame of each picture.
            changes: N change pictures (H, W), see ``nets.normalisation.change_picture``; None if the changes are
                unknown. Ignored unless the weights use them.

        Returns:
            (N, H, W) float32 probabilities in 0..1.

        Raises:
            BackendError: The device has no memory for a batch of one, or for the only supported batch size.
        """
        return self._maps(pictures, intensities, changes, torch.sigmoid)

    def logits(self, pictures: Pictures, intensities: list[Intensity], changes: Changes | None = None) -> Maps:
        """Same as ``infer``, but without the final sigmoid."""
        return self._maps(pictures, intensities, changes, torch.clone)

    def shrink(self, batch: int) -> None:
        """Reduce the batch size and release the resources held for the current one.

        Raises:
            BackendError: The backend does not support smaller batches.
        """
        self._batch = batch
        if self._torch_device.type == "cuda":
            torch.cuda.empty_cache()

    @torch.inference_mode()
    def _maps(
        self,
        pictures: Pictures,
        intensities: list[Intensity],
        changes: Changes | None,
        activation: Callable[[Tensor], Tensor],
    ) -> Maps:
        def forward(planes: Tensor, mean_gain: Tensor) -> Tensor:
            return activation(self.forward(planes, mean_gain))[:, 0]

        picture_planes: Sequence[tuple[NDArray[Any], ...]] = [(picture,) for picture in pictures]
        if self.manifest.input.normalisation.change:
            change_pictures = (
                [np.zeros(picture.shape, np.uint8) for picture in pictures] if changes is None else changes
            )
            picture_planes = list(zip(pictures, change_pictures, strict=True))

        while True:
            try:
                if self._streams is None:
                    return batching.run_on_cpu(forward, picture_planes, intensities, self._batch)
                with torch.cuda.device(self._torch_device):
                    return batching.pipelined_on_gpu(forward, picture_planes, intensities, self._batch, self._streams)
            except RuntimeError as error:
                if not isinstance(error, torch.OutOfMemoryError) and _NO_WORKSPACE not in str(error):
                    raise
                reason = str(error).split(". ")[0]
            self._halve(reason)  # outside the except block, since the exception keeps tensors alive

    def _halve(self, reason: str) -> None:
        """Continue with half the batch size; maps may then differ in the last bit.

        Raises:
            BackendError: The batch size is 1 or cannot be reduced.
        """
        if self._batch == 1:
            raise BackendError(f"detect.device: {self.device} has no memory for a single picture: {reason}")
        previous = self._batch
        self.shrink(previous // 2)
        self.notice = f"{self.device} has no memory for {previous} pictures at once, continuing with {self._batch}"


def network_input(
    pictures: NDArray[Any], intensities: list[Intensity], norm: FrameZScore, device: torch.device | None = None
) -> Tensor:
    """Convert raw pictures to the normalised input that the network was trained on.

    Args:
        pictures: (N, P, H, W) uint8 or uint16 raw counts, plus change pictures if they are known.
        intensities: Intensity statistics of the frame of each picture.
        norm: Normalisation that the network was trained with.
        device: Device of the result.

    Returns:
        (N, C, H, W) float32 in -clip..clip.
    """
    planes = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).to(torch.float32)
    mean_gain = torch.tensor([(i.mean, i.gain) for i in intensities], dtype=torch.float32, device=device)
    return normalise(planes, mean_gain[:, 0], mean_gain[:, 1], norm)


def load(config: DetectConfig, device: torch.device = CPU) -> tuple[nn.Module, nets.Manifest]:
    """Load the configured network, in float32 and eval mode, and its manifest.

    Raises:
        BackendError: The weights cannot be used.
    """
    try:
        return nets.load(config.weights, device)
    except nets.WeightsError as error:
        raise BackendError(str(error)) from None


def torch_device(config: DetectConfig) -> torch.device:
    """Return the configured PyTorch device; ``auto`` means CUDA if available, else the CPU.

    Raises:
        BackendError: The device is not available.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:  # torch would list the devices of all machines that it was ever built for
        known = "expected auto, cpu, cuda or cuda:N"
        raise BackendError(f"detect.device: {config.device!r} cannot be used: {known}") from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BackendError(f"detect.device: {config.device!r} cannot be used: {reason}") from None
    return device


def require_cpu(config: DetectConfig, name: str) -> None:
    """Check that the configured device is the CPU, and limit PyTorch to one thread.

    Args:
        config: Settings of the detect stage.
        name: Name of the backend, for the error message.

    Raises:
        BackendError: Another device is configured.
    """
    if config.device not in ("auto", "cpu"):
        raise BackendError(f"detect.device: {config.device!r} cannot be used: the {name} backend runs on the cpu")
    # Torch only does the normalisation here; its thread pool would compete with that of the inference library.
    torch.set_num_threads(1)


def threads(config: DetectConfig) -> int:
    """Return the number of CPU threads for the network."""
    return config.threads or usable_cores()
