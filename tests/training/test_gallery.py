import cv2
import numpy as np
import pytest

from pipeline.errors import ConfigError
from training.gallery import MOST, Gallery


def show(gallery, name, hits):
    """Add a picture with a target of twenty pixels, ``hits`` of which are found."""
    truth, predicted = np.zeros((2, 40, 40), bool)
    truth[10, 10:30], predicted[10, 10 : 10 + hits] = True, True
    gallery.add(name, np.arange(1600, dtype=np.uint16).reshape(40, 40), truth, predicted)


def test_the_ends_of_the_ranking_are_kept_in_order(tmp_path):
    gallery = Gallery()
    for hits in np.random.default_rng(0).permutation(21):
        show(gallery, f"p{hits}", int(hits))
    assert [(iou, name) for iou, name, _ in gallery.best] == [(k / 20, f"p{k}") for k in range(20, 20 - MOST, -1)]
    assert [(iou, name) for iou, name, _ in gallery.worst] == [(k / 20, f"p{k}") for k in range(MOST)]
    gallery.write(tmp_path)
    best, worst = (cv2.imread(str(tmp_path / f"{name}.png")) for name in ("best", "worst"))
    assert best.shape == worst.shape
    assert (best != worst).any()
    height, width = gallery.best[0][2].shape[:2]
    top = best.shape[0] - 5 * (height + 4)
    np.testing.assert_array_equal(best[top : top + height, 4 : 4 + width], gallery.best[0][2])


def test_false_pixels_count(tmp_path):
    gallery = Gallery()
    truth = np.zeros((40, 40), bool)
    truth[5, 5] = True
    gallery.add("all", np.zeros((40, 40), np.uint8), truth, np.ones((40, 40), bool))
    assert gallery.best[0][0] == 1 / 1600


def test_pictures_without_targets_are_not_ranked(tmp_path):
    gallery, nothing = Gallery(), np.zeros((40, 40), bool)
    gallery.add("sky", np.zeros((40, 40), np.uint8), nothing, ~nothing)
    with pytest.raises(ConfigError, match="no picture contains a target"):
        gallery.write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_written_is_named(tmp_path):
    gallery = Gallery()
    show(gallery, "p", 3)
    with pytest.raises(ConfigError, match=r"gone/best\.png: No such file"):
        gallery.write(tmp_path / "gone")
