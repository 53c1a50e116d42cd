import numpy as np
import pytest
import torch

import nets
from training import predict
from training.response import CONTRASTS, SIGMAS, noise, response


@pytest.mark.parametrize("name", ["mshnet", "mshnet-irstd1k", "mshnet-nudt", "edge"])
@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("noise", [3.0, 30.0])
def test_shipped_weights_detect_a_bright_square_in_uniform_noise(name, size, noise):
    """Weights can improve on every held-out picture and still miss this simple target."""
    network, manifest = nets.load(name)
    picture = np.random.default_rng(0).normal(8000, noise, (96, 128))
    picture[40 : 40 + size, 60 : 60 + size] += max(20 * noise, 400)
    norm = manifest.input.normalisation
    found = predict.probabilities(network, picture.astype(np.uint16), norm, torch.device("cpu"))
    assert found[40 : 40 + size, 60 : 60 + size].max() >= manifest.threshold


@pytest.mark.parametrize("name", ["mshnet", "mshnet-irstd1k", "edge"])
def test_shipped_weights_detect_bright_spots_of_every_size(name):
    network, manifest = nets.load(name)
    norm, rng = manifest.input.normalisation, np.random.default_rng(0)
    found = response(
        lambda picture: predict.probabilities(network, picture, norm, torch.device("cpu")),
        manifest.threshold,
        noise(rng, pictures=12),
        rng,
    )
    bright = np.s_[SIGMAS.index(0.7) :, CONTRASTS.index(20.0) :]
    assert found.spots[bright].sum() >= 50
    assert found.seen[bright].sum() >= 0.95 * found.spots[bright].sum()
