"""Weights where nobody names any."""

import pytest
import torch

from pipeline.config import load
from pipeline.detect.config import DetectConfig
from pipeline.detect.defaults import apply_device_defaults


@pytest.mark.parametrize(("device", "weights"), [("cpu", "edge"), ("cuda", "mshnet"), ("cuda:1", "mshnet")])
def test_the_device_decides(device, weights):
    assert apply_device_defaults(DetectConfig(device=device)) == DetectConfig(device=device, weights=weights)


def test_without_a_device_it_is_the_one_that_is_there():
    assert apply_device_defaults(DetectConfig()).weights == ("mshnet" if torch.cuda.is_available() else "edge")


@pytest.mark.parametrize(("device", "batch"), [("cpu", 1), ("cuda", 8)])
@pytest.mark.parametrize("weights", ["auto", "mshnet"])
def test_a_cpu_takes_no_batches(device, batch, weights):
    assert apply_device_defaults(DetectConfig(device=device, weights=weights, batch_size=8)).batch_size == batch


def test_weights_that_are_named_stay():
    named = DetectConfig(device="cpu", weights="mshnet")
    assert apply_device_defaults(named) is named


def test_a_loaded_configuration_has_a_name():
    assert load(None, ["detect.device=cpu"]).detect.weights == "edge"
    assert load(None, ["detect.device=cpu", "detect.weights=auto"]).detect.weights == "edge"
