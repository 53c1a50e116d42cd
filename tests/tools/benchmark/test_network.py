"""The network part on small pictures, with all backends that are available."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from msgspec.structs import replace

import nets
from pipeline.detect.backends import make_backend
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError
from pipeline.preprocess.intensity import measure
from tools.benchmark import network
from tools.benchmark.job import Context
from tools.benchmark.network import PUBLISHED, Scope, candidates, jobs
from tools.benchmark.ways import device_way, picture, published

TINY = Scope(sizes=((64, 48),), batches=(2,), budget_s=0.0, matrix_side=64, copied_mb=1)


def test_every_backend_that_can_run_here_is_tried() -> None:
    found = dict(candidates(DetectConfig(device="cpu", threads=3), []))
    torch_fp32 = DetectConfig(device="cpu", threads=3, backend="torch", precision="fp32")
    assert found["torch fp32"] == replace(torch_fp32, weights="mshnet")
    assert found["edge torch fp32"] == replace(torch_fp32, weights="edge")
    assert not any("auto" in name for name in found)
    only = candidates(DetectConfig(device="cpu"), [], ["torch fp32"])
    assert [name for name, _ in only] == ["torch fp32", "edge torch fp32"]


def test_backends_that_cannot_run_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = DetectConfig(weights="mshnet", backend="torch", precision="fp32")
    monkeypatch.setattr(network, "available", lambda base: [plain])
    monkeypatch.setattr(network, "make_backend", fail)
    reasons = sorted(network.left_out(plain, []))
    assert list(network.left_out(plain, [], ["torch fp32", "torch int8"]))[-1] == "torch int8: torch runs fp32 here"
    assert "openvino: there is none" in reasons and not any(line.startswith("torch:") for line in reasons)


def fail(config: DetectConfig) -> None:
    raise BackendError("there is none")


def test_published_network_is_the_one_of_the_paper() -> None:
    reference = published(network.PUBLISHED_WEIGHTS, "cpu")
    assert sum(parameter.numel() for parameter in reference.parameters()) == 4_065_513
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in reference.modules())
    trained, _ = nets.load_trained(network.PUBLISHED_WEIGHTS)
    picture = torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, 48, 64)).astype(np.float32))
    with torch.no_grad():
        torch.testing.assert_close(reference(picture), trained(picture), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("weights", ["mshnet", "edge"])
def test_what_stays_on_the_device_are_logits_of_every_picture(weights: str) -> None:
    backend = make_backend(DetectConfig(weights=weights, backend="torch", device="cpu", threads=1, batch_size=3))
    frame = picture((64, 48))
    logits = device_way(backend, frame, 3, "cpu")()
    assert isinstance(logits, torch.Tensor) and logits.shape == (3, 1, 48, 64)
    expected = backend.logits(frame[None], [measure(frame, backend.manifest.input.normalisation)])
    torch.testing.assert_close(logits, torch.from_numpy(expected)[None].expand(3, -1, -1, -1))


def test_one_size_against_the_published_network(context: Context) -> None:
    hardware, forward = (job.run() for job in jobs(TINY, context))
    (limits,) = hardware.rows["hardware"]
    assert min(limits.fp32_gflops, limits.bf16_gflops, limits.copy_gb_per_s) > 0
    rows = {row.backend: row for row in forward.rows["forward"]}
    assert {PUBLISHED, "torch fp32"} <= set(rows)
    names = {name.removesuffix(network.ON_DEVICE) for name in rows}
    assert len(names) + len(forward.missing) == 1 + len(dict(candidates(DetectConfig(), [])))
    for row in rows.values():
        assert (row.size, row.batch) == ("64x48", 2)
        assert row.frames_per_s == pytest.approx(2000 / row.ms)
        assert row.times_published == pytest.approx(rows[PUBLISHED].ms / row.ms)
        assert row.limit_share is None or row.limit_share > 0


def test_what_takes_too_long_is_reported(context: Context) -> None:
    scope = replace(TINY, longest_s=0.0)
    _, forward = (job.run() for job in jobs(scope, context))
    assert not forward.rows
    assert forward.missing[0].startswith("64x48, batch 2: one pass would take")


def test_backend_that_cannot_be_used_is_reported(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = [("torch nowhere", DetectConfig(weights="mshnet", backend="torch", device="cuda:99"))]
    monkeypatch.setattr(network, "candidates", lambda *_: iter(wrong))
    _, forward = (job.run() for job in jobs(TINY, context))
    assert [row.backend for row in forward.rows["forward"]] == [PUBLISHED]
    assert "torch nowhere" in forward.missing[0] and "cuda:99" in forward.missing[0]


def test_a_failing_variant_is_reported_and_does_not_stop_the_others(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> object:
        return lambda: np.zeros(3).reshape(2)

    monkeypatch.setattr(network, "backend_way", broken)
    _, forward = (job.run() for job in jobs(TINY, context._replace(backends=["torch fp32"])))
    assert [row.backend for row in forward.rows["forward"]] == [PUBLISHED]
    assert [line.partition(": ")[0] for line in forward.missing] == [
        f"64x48, batch 2, {name}" for name in ("torch fp32", "edge torch fp32")
    ]
    assert ": ValueError: cannot reshape" in forward.missing[0] and "(test_network.py:" in forward.missing[0]
