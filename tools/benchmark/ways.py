"""Variants timed by the part "network": the published network, and backends with and without device transfers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

import nets
from nets.normalisation import FrameZScore
from pipeline.capture.scene import Scene, SceneSpec
from pipeline.detect.backends import Backend, network_input
from pipeline.preprocess.intensity import measure

CHANNELS = 3
Size = tuple[int, int]


def published(weights: str, device: str) -> nn.Module:
    """Build MSHNet as published, with the named weights if these have that architecture, else with random weights."""
    manifest = nets.read_manifest(weights)
    if (manifest.architecture, manifest.options) == ("mshnet", {"in_channels": CHANNELS}):
        network, _ = nets.load_trained(weights)
    else:
        network = nets.build("mshnet", in_channels=CHANNELS).eval().requires_grad_(False)
    return network.to(device).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload, no-any-return]


def picture(size: Size) -> NDArray[np.uint16]:
    """Render a frame (H, W) of the demo scene."""
    width, height = size
    return Scene(SceneSpec(name="demo", width=width, height=height, frames=1)).frame(0)


def published_way(
    weights: str, frame: NDArray[np.uint16], batch: int, device: str, threads: int
) -> Callable[[], object]:
    """Return a function that runs the published network on a batch of a frame, its input ready on the device."""
    network = published(weights, device)
    norm = FrameZScore(windows=(17, 49))
    ready = network_input(frame[None, None], [measure(frame, norm)], norm, torch.device(device)).expand(
        batch, -1, -1, -1
    )
    ready = ready.contiguous()

    def run() -> None:
        torch.set_num_threads(threads)
        with torch.no_grad():
            network(ready)
        if device == "cuda":
            torch.cuda.synchronize()

    return run


def backend_way(backend: Backend, frame: NDArray[np.uint16], batch: int) -> Callable[[], object]:
    """Return a function that runs a backend on a batch of a frame, from raw counts to maps in CPU memory."""
    threads = torch.get_num_threads()  # the choice of this backend; the next one may change it
    pictures = np.repeat(frame[None], batch, axis=0)
    intensities = [measure(frame, backend.manifest.input.normalisation)] * batch

    def run() -> None:
        torch.set_num_threads(threads)
        backend.infer(pictures, intensities)

    return run


def device_way(backend: Backend, frame: NDArray[np.uint16], batch: int, device: str) -> Callable[[], object]:
    """Return a function that runs a backend from raw counts on a device to logits (B, 1, H, W) there.

    The logits are valid until the next call.
    """
    intensity = measure(frame, backend.manifest.input.normalisation)
    planes = torch.from_numpy(np.repeat(frame[None, None], batch, axis=0)).to(device)
    mean_gain = torch.tensor([[intensity.mean, intensity.gain]] * batch, device=device)

    @torch.inference_mode()
    def run() -> torch.Tensor:
        logits = backend.forward(planes, mean_gain)
        if device == "cuda":
            torch.cuda.synchronize()
        return logits

    return run
