"""Batches: padding, halving when out of memory, and the pipelined transfers of a GPU."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from pipeline.config import load
from pipeline.detect.backends import Backend, batching, make_backend
from pipeline.detect.backends.torch_eager import TorchBackend
from pipeline.detect.config import DetectConfig
from pipeline.detect.stage import DetectStage
from pipeline.errors import BackendError
from pipeline.messages import Intensity
from pipeline.report import run_record
from pipeline.supervisor import Supervisor
from tests.detect.test_backend import backend, infer, noise
from tests.detect.test_stage import prepared

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def test_batches_are_padded_with_their_first_picture():
    seen: list[tuple[list[int], list[float]]] = []

    def forward(planes: Tensor, mean_gain: Tensor) -> Tensor:
        seen.append((planes[:, 0, 0, 0].tolist(), mean_gain[:, 0].tolist()))
        return planes[:, 0].float() * mean_gain[:, 1, None, None]

    pictures = [[np.full((2, 3), value, np.uint16)] for value in (10, 20, 30, 40, 65_535)]
    intensities = [Intensity(mean=float(k), gain=2.0) for k in range(5)]
    maps = batching.run_on_cpu(forward, pictures, intensities, 3)
    assert seen == [([10, 20, 30], [0, 1, 2]), ([40, 65_535, 40], [3, 4, 3])]
    assert maps.dtype == np.float32
    assert maps[:, 1, 2].tolist() == [20, 40, 60, 80, 131_070]


class LimitedMemoryBackend(Backend):
    """Backend with memory for ``room`` pictures at a time; its logits are the network's input."""

    name = "torch"
    precisions = ("fp32",)

    def __init__(self, weights: str, batch: int, room: int, error: Exception | None = None) -> None:
        config = DetectConfig(weights=weights, backend="torch", device="cpu")
        super().__init__(config, make_backend(config).manifest, batch=batch)
        self.room, self.tried = room, []
        self.error = error or torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB. More words.")

    def run(self, batch: Tensor) -> Tensor:
        self.tried.append(len(batch))
        if len(batch) > self.room:
            raise self.error
        return batch[:, :1]


def test_batch_is_halved_when_out_of_memory(weights):
    cramped = LimitedMemoryBackend(weights, batch=12, room=4)
    pictures = noise(5, 40, 48)
    expected = infer(LimitedMemoryBackend(weights, batch=1, room=1), pictures)
    assert np.array_equal(infer(cramped, pictures), expected)
    assert cramped.tried == [12, 6, 3, 3]
    assert cramped.notice == "cpu has no memory for 6 pictures at once, continuing with 3"
    infer(cramped, pictures)
    assert cramped.tried[4:] == [3, 3]


def test_no_memory_for_one_picture_raises(weights):
    with pytest.raises(BackendError, match=r"no memory for a single picture: CUDA out of memory$"):
        infer(LimitedMemoryBackend(weights, batch=2, room=0), noise(1, 40, 48))


def test_convolutions_without_memory_for_a_workspace_halve_the_batch_and_other_errors_do_not(weights):
    error = RuntimeError("GET was unable to find an engine to execute this computation after trying 9 plans.")
    cramped = LimitedMemoryBackend(weights, batch=8, room=4, error=error)
    infer(cramped, noise(8, 40, 48))
    assert cramped.tried == [8, 4, 4]
    broken = LimitedMemoryBackend(weights, batch=8, room=4, error=RuntimeError("an illegal memory access"))
    with pytest.raises(RuntimeError, match="an illegal memory access"):
        infer(broken, noise(8, 40, 48))
    assert broken.tried == [8]


def test_stage_reports_notice_of_backend(weights):
    stage = DetectStage(DetectConfig(weights=weights, backend="torch", device="cpu", threads=1))
    stage.open()
    assert "notice" not in stage.facts()
    stage._backend = LimitedMemoryBackend(weights, batch=2, room=1)
    list(stage.process([prepared(noise(48, 64))]))
    notice = "cpu has no memory for 2 pictures at once, continuing with 1"
    assert stage.facts()["notice"] == notice
    stage.close()
    assert stage.facts()["notice"] == notice


@needs_cuda
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_gpu_and_cpu_maps_agree(weights, dtype):
    runner = backend(weights, device="cuda", batch_size=4)
    for shape in ((48, 64), (75, 130), (48, 64)):
        pictures = noise(9, *shape, dtype=dtype)  # two full batches and a partial one, so that all transfers overlap
        expected = infer(backend(weights), pictures)
        assert np.ptp(expected) > 0.5
        assert np.abs(infer(runner, pictures) - expected).max() <= 1e-3


@needs_cuda
@pytest.mark.parametrize("name", ["torch", "compiled"])
def test_gpu_maps_do_not_depend_on_batch_or_earlier_pictures(weights, name):
    runner = backend(weights, backend=name, device="cuda", batch_size=4)
    pictures = noise(9, 48, 64)
    alone = [infer(runner, p[None])[0] for p in pictures]
    infer(runner, noise(1, 33, 47, seed=9))
    together = infer(runner, pictures)
    infer(runner, noise(9, 48, 64, seed=5))  # must not overwrite maps that were returned before
    assert np.array_equal(together, np.stack(alone))
    assert not np.array_equal(alone[0], alone[1])


@needs_cuda
def test_gpu_out_of_memory_reduces_batch_size(weights):
    runner = backend(weights, device="cuda", batch_size=64)
    pictures = noise(64, 256, 256)
    few = [infer(runner, p[None])[0] for p in pictures[:2]]
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + (1 << 30)) / total)
    try:
        maps = infer(runner, pictures)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "continuing with" in runner.notice
    assert np.abs(maps[:2] - np.stack(few)).max() <= 1e-3


def test_run_warns_once_of_reduced_batch_size(weights, tmp_path, monkeypatch):
    run, tried = TorchBackend.run, []

    def cramped(self: TorchBackend, batch: Tensor) -> Tensor:
        tried.append(len(batch))
        if len(batch) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return run(self, batch)

    monkeypatch.setattr(TorchBackend, "run", cramped)
    monkeypatch.setattr(TorchBackend, "__init__", with_batches(TorchBackend.__init__, 2))
    warnings: list[str] = []
    detect = [f"detect.weights={weights}", "detect.device=cpu", "detect.backend=torch"]
    config = load(None, [*detect, "placement.detect=thread", "sinks.overlay=false"])  # so that the patch applies
    address = "test://demo?width=64&height=48&frames=3"
    with Supervisor(config, [("a", address)], tmp_path / "out", warnings.append) as supervisor:
        outcome = supervisor.run()
    assert not outcome.errors
    assert outcome.accounts["a"].delivered == 3
    notice = "cpu has no memory for 2 pictures at once, continuing with 1"
    assert warnings == [f"stage detect: {notice}"]
    assert run_record(config, {"a": address}, "1", outcome)["notice"] == notice
    assert tried == [2, 1, 1, 1]


def with_batches(init: Callable[..., None], batch: int) -> Callable[..., None]:
    def made(self: Backend, config: DetectConfig) -> None:
        init(self, config)
        self._batch = batch

    return made
