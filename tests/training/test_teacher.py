"""Assignment of teachers to the crops of a batch."""

import msgspec
import numpy as np
import pytest
import torch

import nets
from pipeline.errors import ConfigError
from training.teacher import Teachers

CPU = torch.device("cpu")


def test_each_crop_is_taught_by_the_teacher_of_its_source():
    """A teacher without the change channel gets the other channels; crops without a teacher are left out."""
    changing = nets.read_manifest("edge").input.normalisation
    teachers = Teachers(["mshnet", None, "edge", "mshnet"], changing, CPU, bfloat16=False)
    pictures = torch.randn(6, 4, 64, 64, generator=torch.Generator().manual_seed(0))
    rows, maps = teachers.logits(pictures, np.array([1, 2, 0, 3, 1, 0]))
    by_row = dict(zip(rows.tolist(), maps, strict=True))
    assert sorted(by_row) == [1, 2, 3, 5]
    assert not maps.requires_grad
    for weights, taught in (("edge", [1]), ("mshnet", [2, 3, 5])):
        network, manifest = nets.load(weights, CPU)
        with torch.no_grad():
            expected = network(pictures[taught, : manifest.input.channels])
        torch.testing.assert_close(torch.stack([by_row[row] for row in taught]), expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("teachers", [[None, None], [None, "mshnet"]])
def test_a_batch_without_taught_crops_is_no_error(teachers):
    seen = nets.read_manifest("mshnet").input.normalisation
    rows, maps = Teachers(teachers, seen, CPU, bfloat16=False).logits(torch.zeros(2, 3, 32, 32), np.array([0, 0]))
    assert (rows.shape, maps.shape) == ((0,), (0, 1, 32, 32))


def test_a_teacher_with_another_normalisation_is_refused():
    still = msgspec.structs.replace(nets.read_manifest("edge").input.normalisation, change=False)
    with pytest.raises(ConfigError, match="edge differs in its normalisation from the recipe"):
        Teachers(["edge"], still, CPU, bfloat16=False)
