"""Weights and batch size that depend on the device."""

import pytest
import torch

from pipeline.config import load
from pipeline.detect.config import DetectConfig
from pipeline.detect.defaults import apply_device_defaults


@pytest.mark.parametrize(("device", "weights"), [("cpu", "edge"), ("cuda", "mshnet"), ("cuda:1", "mshnet")])
def test_automatic_weights_depend_on_device(device, weights):
    assert apply_device_defaults(DetectConfig(device=device)) == DetectConfig(device=device, weights=weights)


def test_automatic_device_selects_weights():
    assert apply_device_defaults(DetectConfig()).weights == ("mshnet" if torch.cuda.is_available() else "edge")


@pytest.mark.parametrize(("device", "batch"), [("cpu", 1), ("cuda", 8)])
@pytest.mark.parametrize("weights", ["auto", "mshnet"])
def test_batch_size_is_one_on_cpu(device, batch, weights):
    assert apply_device_defaults(DetectConfig(device=device, weights=weights, batch_size=8)).batch_size == batch


def test_configured_weights_are_kept():
    named = DetectConfig(device="cpu", weights="mshnet")
    assert apply_device_defaults(named) is named


def test_load_resolves_automatic_weights():
    assert load(None, ["detect.device=cpu"]).detect.weights == "edge"
    assert load(None, ["detect.device=cpu", "detect.weights=auto"]).detect.weights == "edge"
