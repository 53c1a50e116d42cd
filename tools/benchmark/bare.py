"""The network alone on pictures in memory: the upper bound for a pipeline around it."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pipeline import config as configuration
from pipeline.capture.factory import open_source
from pipeline.capture.source import Grab
from pipeline.config import Config
from pipeline.detect.backends import select
from pipeline.preprocess.intensity import measure
from tools.benchmark.job import Context, Unmeasured


def load(context: Context) -> Config:
    """Load the configuration to measure.

    Unless the settings say otherwise, it uses all usable cores and no drop policy. Recordings then run losslessly and
    cameras under the bounded policy, whatever the configuration is for.
    """
    ours = [f"detect.threads={context.threads}", "queue.policy=null"]
    return configuration.load(context.config, [*ours, *context.settings])


def grabs(address: str, config: Config) -> list[Grab]:
    """Read all pictures of a finite source."""
    source = open_source(address, config.capture)
    source.open()
    found = []
    try:
        while (grab := source.grab()) is not None:
            found.append(grab)
    finally:
        source.close()
    return found


class BareNetwork:
    """Normalisation, network and sigmoid as the detect stage runs them.

    Args:
        config: configuration; its backend, threads and batch size are used.

    Attributes:
        name: name of the backend with its precision.

    Raises:
        BackendError: weights or backend cannot be used.
    """

    def __init__(self, config: Config) -> None:
        torch.set_num_threads(config.detect.threads or 1)
        self._backend = select(config.detect).backend
        self.name = f"{self._backend.name} {self._backend.precision}"
        self._threads = torch.get_num_threads()  # the choice of this backend; others may change it later
        self._batch = config.detect.batch_size

    def seconds(self, frames: list[NDArray[Any]]) -> list[float]:
        """Measure the time per frame in s of every batch. The first batch is a warm-up and left out.

        Args:
            frames: pictures, (H, W) each.

        Raises:
            Unmeasured: there are fewer frames than two batches.
        """
        if len(frames) < 2 * self._batch:
            raise Unmeasured(f"network alone: two batches of {self._batch} are needed, there are {len(frames)} frames")
        torch.set_num_threads(self._threads)
        norm, spent = self._backend.manifest.input.normalisation, []
        for start in range(0, len(frames) - self._batch + 1, self._batch):
            pictures = np.stack(frames[start : start + self._batch])
            intensities = [measure(picture, norm) for picture in pictures]
            begun = time.perf_counter()
            self._backend.infer(pictures, intensities)
            spent.append((time.perf_counter() - begun) / self._batch)
        return spent[1:]
