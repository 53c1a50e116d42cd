from __future__ import annotations

import cv2
import numpy as np
import pytest

from pipeline.detect.backends import available, make_backend
from pipeline.detect.backends.parity import TOLERANCES, Parity, Tolerance, compare, parity, rendered
from pipeline.detect.config import DetectConfig
from tests.conftest import real_data

# Candidates on the CPU. Compiling the whole network takes minutes there and has a test of its own.
TRIED = [("openvino", "int8"), ("openvino", "fp32"), ("openvino", "bf16"), ("onnx", "fp32"), ("torch", "bf16")]


def maps(*points, value=5.0):
    logits = np.full((8, 12), -5.0, np.float32)
    for y, x in points:
        logits[y, x] = value
    return logits


def test_figures_by_hand():
    # Frame 1: two pixels against one of them (centroids half a pixel apart), and a missing target.
    # Frame 2: a target displaced by two pixels.
    first = maps((1, 1), (1, 2), (6, 9)), maps((1, 1))
    second = maps((3, 3)), maps((3, 5), value=7.0)
    found = parity([first, second], threshold=0.0)
    assert found == Parity(pictures=2, max_logit=12.0, components=2 / 5, iou=1 / 5)


def test_differences_of_certain_background_are_ignored():
    assert parity([(maps() - 5.0, maps() - 90.0)], 0.0).max_logit == 0
    assert parity([(maps() - 3.0, maps() - 90.0)], 0.0).max_logit == 2.0


def test_empty_masks_agree():
    assert parity([(maps(), maps())], 0.0) == Parity(pictures=1, max_logit=0.0, components=1.0, iou=1.0)


def test_pixels_that_touch_at_a_corner_are_one_component():
    assert parity([(maps((1, 1), (2, 2)), maps((1, 1), (2, 2)))], 0.0).components == 1.0
    assert parity([(maps((1, 1), (2, 2), (6, 6)), maps((1, 1), (2, 2)))], 0.0).components == 2 / 3


def test_threshold_is_inclusive():
    assert parity([(maps((1, 1), value=2.0), maps())], 2.0).iou == 0.0
    assert parity([(maps((1, 1), value=1.9), maps())], 2.0).iou == 1.0


@pytest.mark.parametrize(
    ("figures", "expected"),
    [((0.1, 0.9, 0.8), True), ((0.11, 1, 1), False), ((0, 0.89, 1), False), ((0, 1, 0.79), False)],
)
def test_every_bound_counts(figures, expected):
    logit, components, iou = figures
    found = Parity(pictures=1, max_logit=logit, components=components, iou=iou)
    assert Tolerance(max_logit=0.1, components=0.9, iou=0.8).holds(found) is expected


def test_nan_is_out_of_tolerance():
    broken = maps()
    broken[0, 0] = np.nan
    found = parity([(maps(), broken), (maps(), maps())], 0.0)
    assert not any(tolerance.holds(found) for tolerance in TOLERANCES.values())


@pytest.fixture(scope="module", params=TRIED, ids=" ".join)
def pair(request):
    """The reference backend with shipped weights, and another backend."""
    name, precision = request.param
    config = DetectConfig(weights="mshnet", backend="torch", device="cpu", threads=1)
    choices = [c for c in available(config) if (c.backend, c.precision) == (name, precision)]
    if not choices:
        pytest.skip(f"{name} {precision} is not available here")
    return make_backend(config), make_backend(choices[0])


def within(pair, pictures):
    reference, other = pair
    found = compare(reference, other, pictures)
    assert TOLERANCES[other.precision].holds(found), found


def test_every_backend_agrees_on_a_rendered_scene(pair):
    pictures = rendered()
    reference, _ = pair
    assert compare(reference, reference, pictures) == Parity(pictures=3, max_logit=0, components=1, iou=1)
    assert any(reference.logits(p[None], [_intensity(reference, p)]).max() > 2.2 for p in pictures)
    within(pair, pictures)


def test_every_backend_agrees_on_real_frames(pair):
    paths = sorted(real_data("nuaa_sirst", "images").iterdir())[::90]
    within(pair, [cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)[:320, :320] for path in paths])


def test_exact_backends_agree_on_small_padded_picture(pair):
    reference, other = pair
    if other.precision != "fp32":
        pytest.skip("logits of certain background differ at lower precision")
    (picture, *_) = rendered((60, 80))
    intensities = [_intensity(reference, picture)]
    expected = reference.logits(picture[None], intensities)
    np.testing.assert_allclose(other.logits(picture[None], intensities), expected, atol=TOLERANCES["fp32"].max_logit)


def _intensity(backend, picture):
    from pipeline.preprocess.intensity import measure

    return measure(picture, backend.manifest.input.normalisation)
