from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import nets
from nets.normalisation import FrameZScore
from pipeline.cores import usable_cores
from pipeline.detect.backends import make_backend, network_input
from pipeline.detect.backends.base import threads
from pipeline.detect.config import DetectConfig
from pipeline.errors import BackendError, one_line
from pipeline.messages import Intensity
from pipeline.preprocess.intensity import measure
from tests.detect.conftest import NORM
from training.predict import probabilities

BACKENDS = ["torch", "openvino"]
needs_openvino = pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")


def backend(weights, **settings):
    if settings.get("backend") == "openvino":
        pytest.importorskip("openvino")
    return make_backend(
        DetectConfig(**{"weights": str(weights), "backend": "torch", "device": "cpu", "threads": 1, **settings})
    )


def noise(*shape, dtype=np.uint8, seed=0):
    top = np.iinfo(dtype).max
    return np.random.default_rng(seed).normal(top / 2, top / 16, shape).clip(0, top).astype(dtype)


def infer(runner, pictures):
    return runner.infer(pictures, [measure(p, runner.manifest.input.normalisation) for p in pictures])


def test_network_input_by_hand():
    pictures = np.array([[[0, 10, 30]], [[5, 5, 60_000]]], np.uint16)
    intensities = [Intensity(mean=10.0, gain=0.5), Intensity(mean=5.0, gain=1.0)]
    batch = network_input(pictures[:, None], intensities, FrameZScore(clip=4.0))
    assert batch.dtype == torch.float32
    assert batch.tolist() == [[[[-4.0, 0.0, 4.0]]], [[[0.0, 0.0, 4.0]]]]


def test_all_16_bits_reach_the_network():
    # The two pictures are identical in their upper 8 bits.
    coarse = noise(1, 48, 64, dtype=np.uint16) // 256 * 256
    fine = coarse + np.random.default_rng(1).integers(0, 256, coarse.shape).astype(np.uint16)
    assert np.array_equal(coarse // 256, fine // 256)
    first, second = (network_input(p[:, None], [measure(p[0], NORM)], FrameZScore()) for p in (coarse, fine))
    assert len(second.unique()) > 10 * len(first.unique())


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_live_and_evaluation_maps_are_bit_identical(weights, dtype):
    picture = noise(50, 70, dtype=dtype)
    network, manifest = nets.load(weights)
    runner = backend(weights)
    expected = probabilities(network, picture, manifest.input.normalisation, torch.device("cpu"))
    assert 0.01 < (expected > 0.5).mean() < 0.9  # otherwise the comparison is meaningless
    assert np.array_equal(infer(runner, picture[None])[0], expected)


@pytest.mark.parametrize("name", BACKENDS)
def test_maps_do_not_depend_on_batch_or_earlier_pictures(weights, name):
    runner = backend(weights, backend=name, batch_size=4)
    pictures = noise(3, 48, 64)
    alone = [infer(runner, p[None])[0] for p in pictures]
    infer(runner, noise(1, 33, 47, seed=9))
    assert np.array_equal(infer(runner, pictures), np.stack(alone))
    assert not np.array_equal(alone[0], alone[1])


@needs_openvino
def test_openvino_agrees_with_torch_at_any_size(weights):
    # Random weights are more sensitive to errors than trained ones.
    reference, runner = backend(weights), backend(weights, backend="openvino")
    for shape in ((64, 64), (32, 33), (75, 130), (127, 49)):
        pictures = noise(1, *shape, dtype=np.uint16, seed=shape[0])
        expected = infer(reference, pictures)
        assert np.ptp(expected) > 0.5
        assert np.abs(infer(runner, pictures) - expected).max() <= 1e-4


@needs_openvino
def test_openvino_prints_nothing(weights, capfd):
    infer(backend(weights, backend="openvino"), noise(1, 40, 40))
    assert capfd.readouterr() == ("", "")


def test_missing_openvino_error_says_what_to_install(weights, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "pipeline.detect.backends.openvino_cpu", raising=False)
    with pytest.raises(BackendError, match=r"detect\.backend: openvino.*pip install openvino"):
        make_backend(DetectConfig(weights=weights, backend="openvino"))


def test_a_device_of_no_kind_is_answered_with_those_there_are(weights):
    with pytest.raises(BackendError, match=r"'gpu' cannot be used: expected auto, cpu, cuda or cuda:N$"):
        backend(weights, backend="torch", device="gpu")


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("device", ["tpu9", "cuda:77", "mps:0:0"])
def test_unavailable_device_is_named(weights, name, device):
    with pytest.raises(BackendError, match=rf"detect\.device: '{device}' cannot be used") as caught:
        backend(weights, backend=name, device=device)
    assert len(str(caught.value)) < 300
    assert caught.value.exit_code == 4


@pytest.mark.parametrize("name", BACKENDS)
def test_unusable_weights_are_named(weights, name, tmp_path):
    damaged = tmp_path / "damaged.safetensors"
    data = bytearray(Path(weights).read_bytes())
    data[-1] ^= 1
    damaged.write_bytes(data)
    manifest = Path(weights).with_suffix(".json").read_bytes()
    damaged.with_suffix(".json").write_bytes(manifest)
    (tmp_path / "bare.safetensors").write_bytes(data)
    for path, reason in (
        (damaged, "sha256"),
        (tmp_path / "bare.safetensors", "No such file"),
        (tmp_path / "absent.safetensors", "no such weights file"),
        ("nothing", "no shipped weights named 'nothing'"),
    ):
        with pytest.raises(BackendError, match=reason) as caught:
            backend(path, backend=name)
        assert "\n" not in one_line(caught.value)
        assert Path(path).stem in str(caught.value)


@pytest.mark.skipif(sys.platform != "linux", reason="cores are given to processes on Linux")
def test_thread_count_follows_cpu_affinity():
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(before)})
        assert threads(DetectConfig()) == usable_cores() == 1
        assert threads(DetectConfig(threads=3)) == 3
    finally:
        os.sched_setaffinity(0, before)
    assert usable_cores() == len(before)
