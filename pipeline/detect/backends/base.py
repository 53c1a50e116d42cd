"""What runs the network: from a batch of raw pictures to probability maps."""

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
from pipeline.detect.backends import passage
from pipeline.detect.config import DetectConfig, Precision
from pipeline.errors import BackendError
from pipeline.messages import Intensity

Maps = NDArray[np.float32]
Pictures = NDArray[Any] | Sequence[NDArray[Any]]
Changes = Sequence[NDArray[np.uint8]]
CPU = torch.device("cpu")


class Backend(ABC):
    """Runs one network.

    Args:
        config: of the stage; its precision is checked here.
        manifest: of the weights.
        device: where the network's input is wanted.
        batch: pictures that go through the network at once, always as many, so that the last bit of a map does not
            depend on how many others are there; missing ones are filled up with copies.

    Attributes:
        name: value of ``detect.backend``.
        precisions: those that it can run, the exactest first.
        manifest: of its weights.
        precision: that it runs.
        device: where it runs, for people.
        size: (H, W) of the only pictures that it takes; none if it takes all.
        notice: what has gone otherwise than configured, in one line; empty if nothing has.

    Raises:
        BackendError: weights, device, precision, artefact or library cannot be used.
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
        self._streams = passage.streams(device) if device.type == "cuda" else None

    @abstractmethod
    def run(self, batch: Tensor) -> Tensor:
        """Logits (B, 1, H, W), float32, of network input (B, C, H, W), float32; B is the fixed size of a batch.

        The result is valid until the next call.
        """

    def normalise(self, planes: Tensor, mean: Tensor, gain: Tensor) -> Tensor:
        """See ``nets.normalisation.normalise``; as the weights want it."""
        return normalise(planes, mean, gain, self.manifest.input.normalisation)

    def forward(self, planes: Tensor, facts: Tensor) -> Tensor:
        """Logits (B, 1, H, W), float32, of raw pictures, all on the device; valid until the next call.

        Args:
            planes: (B, P, H, W), uint8 or uint16: raw counts, and change pictures if the weights want them.
            facts: (B, 2), float32, mean and gain of each picture's frame.
        """
        # Torch has little arithmetic on uint16; the upload stays two bytes a pixel as int32 would not.
        return self.run(self.normalise(planes.to(torch.float32), facts[:, 0], facts[:, 1]))

    def infer(self, pictures: Pictures, intensities: list[Intensity], changes: Changes | None = None) -> Maps:
        """Probability of a target at every pixel.

        The map of a picture does not depend, to the last bit, on the other pictures of the batch.

        Args:
            pictures: (N, H, W) uint8 or uint16, raw counts, or N of (H, W).
            intensities: of each picture's frame.
            changes: N of (H, W), see ``nets.normalisation.change_picture``; none where nothing is known of them. Only
                looked at if the weights want it.

        Returns:
            (N, H, W) float32 in 0..1.

        Raises:
            BackendError: the memory of the device does not hold a batch of one, or of the only size that there is.
        """
        return self._maps(pictures, intensities, changes, torch.sigmoid)

    def logits(self, pictures: Pictures, intensities: list[Intensity], changes: Changes | None = None) -> Maps:
        """The same before the sigmoid."""
        return self._maps(pictures, intensities, changes, torch.clone)

    def shrink(self, batch: int) -> None:
        """Take smaller batches from now on, and give up what is kept for those of the present size.

        Raises:
            BackendError: there are none.
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
        last: Callable[[Tensor], Tensor],
    ) -> Maps:
        def forward(planes: Tensor, facts: Tensor) -> Tensor:
            return last(self.forward(planes, facts))[:, 0]

        shown: Sequence[tuple[NDArray[Any], ...]] = [(picture,) for picture in pictures]
        if self.manifest.input.normalisation.change:
            known = [np.zeros(picture.shape, np.uint8) for picture in pictures] if changes is None else changes
            shown = list(zip(pictures, known, strict=True))

        while True:
            try:
                if self._streams is None:
                    return passage.here(forward, shown, intensities, self._batch)
                with torch.cuda.device(self._torch_device):
                    return passage.pipelined_on_gpu(forward, shown, intensities, self._batch, self._streams)
            except torch.OutOfMemoryError as error:
                reason = str(error).split(". ")[0]
            self._halve(reason)  # not above: the error holds on to what there is no memory for

    def _halve(self, reason: str) -> None:
        """Go on with batches of half the size, in which the last bit of a map may be another.

        Raises:
            BackendError: they are of one picture, or there are no smaller ones.
        """
        if self._batch == 1:
            raise BackendError(f"detect.device: {self.device} has no memory for a single picture: {reason}")
        before = self._batch
        self.shrink(before // 2)
        self.notice = f"{self.device} has no memory for {before} pictures at once, goes on with {self._batch}"


def network_input(
    pictures: NDArray[Any], intensities: list[Intensity], norm: FrameZScore, device: torch.device | None = None
) -> Tensor:
    """Raw pictures as what the network was trained on.

    Args:
        pictures: (N, P, H, W) uint8 or uint16: raw counts, and change pictures if they are known.
        intensities: of each picture's frame.
        norm: what the network was trained with.
        device: where the result is wanted.

    Returns:
        (N, C, H, W) float32 in -clip..clip.
    """
    planes = torch.from_numpy(np.ascontiguousarray(pictures)).to(device).to(torch.float32)
    facts = torch.tensor([(i.mean, i.gain) for i in intensities], dtype=torch.float32, device=device)
    return normalise(planes, facts[:, 0], facts[:, 1], norm)


def load(config: DetectConfig, device: torch.device = CPU) -> tuple[nn.Module, nets.Manifest]:
    """The configured network in float32, eval mode, and its manifest.

    Raises:
        BackendError: the weights cannot be used.
    """
    try:
        return nets.load(config.weights, device)
    except nets.WeightsError as error:
        raise BackendError(str(error)) from None


def torch_device(config: DetectConfig) -> torch.device:
    """The device that PyTorch is to run on; ``auto`` is CUDA if there is one.

    Raises:
        BackendError: it is not there.
    """
    name = config.device
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().split("\n")[0]
        raise BackendError(f"detect.device: {config.device!r} cannot be used: {reason}") from None
    return device


def require_cpu(config: DetectConfig, name: str) -> None:
    """Refuse any other device for the backend of that name.

    Raises:
        BackendError: the configuration asks for one.
    """
    if config.device not in ("auto", "cpu"):
        raise BackendError(f"detect.device: {config.device!r} cannot be used: the {name} backend runs on the cpu")
    # Torch only normalises here: a second pool of threads would get in the way of the library's own.
    torch.set_num_threads(1)


def threads(config: DetectConfig) -> int:
    """CPU threads for the network."""
    return config.threads or usable_cores()
