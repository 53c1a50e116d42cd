import json

import numpy as np
import pytest

from tests.training.synthetic import write_set
from training.response import CONTRASTS, SIGMAS, main, markdown, noise, response


def brighter_than(level):
    return lambda picture: (picture >= level).astype(np.float32)


def test_a_plain_threshold_detects_the_spots_whose_peaks_exceed_it():
    """With noise of 20 around 9000, the threshold lies at a contrast of 15."""
    found = response(brighter_than(9300), 0.5, noise(np.random.default_rng(0)), np.random.default_rng(1))
    assert found.spots.min() >= 20  # 48 pictures of 16 spots in 36 kinds
    assert found.spots.sum() == 48 * 16
    weak, strong = CONTRASTS.index(10.0), CONTRASTS.index(20.0)
    assert not found.seen[:, :weak].any()
    assert np.array_equal(found.seen[:, strong:], found.spots[:, strong:])


def test_only_detections_on_the_spot_itself_count():
    everything = response(brighter_than(0), 0.5, noise(np.random.default_rng(0), 3), np.random.default_rng(1))
    assert np.array_equal(everything.seen, everything.spots)

    def beside(picture):
        seen = np.ones(picture.shape, np.float32)
        seen[picture > 9080] = 0  # everything except the spots
        return seen

    past = response(beside, 0.5, noise(np.random.default_rng(0)), np.random.default_rng(1))
    assert past.seen[:, CONTRASTS.index(50.0)].sum() == 0


def test_on_a_uniform_picture_contrast_is_in_counts():
    even = (np.full((64, 64), 100, np.uint8) for _ in range(36))
    found = response(brighter_than(107), 0.5, even, np.random.default_rng(0))
    assert (found.spots == 1).all()
    assert np.array_equal(found.seen.any(0), np.array(CONTRASTS) >= 7)


def test_contrast_relates_to_the_surroundings_of_the_spot():
    """The left half is uniform, the right half has a noise of 100."""
    picture = np.full((64, 128), 9000, np.uint16)
    picture[:, 64:] += np.random.default_rng(0).integers(0, 2, (64, 64), np.uint16) * 200
    found = response(brighter_than(9202), 0.5, (picture for _ in range(36)), np.random.default_rng(0))
    assert found.spots.sum() == 72
    assert 30 <= found.seen.sum() <= 36  # a contrast of 4 or more, only where the noise is


def test_spots_saturate_in_8_bit_pictures():
    white = (np.full((64, 64), 250, np.uint8) for _ in range(36))
    assert response(brighter_than(256), 0.5, white, np.random.default_rng(0)).seen.sum() == 0


def test_the_table_has_a_dash_where_there_was_no_spot():
    found = response(brighter_than(0), 0.5, iter([]), np.random.default_rng(0))
    lines = markdown(found).splitlines()
    assert len(lines) == 2 + len(SIGMAS)
    assert lines[2] == f"| 0.5 |{' - |' * len(CONTRASTS)}"


def test_the_command_scores_shipped_weights_in_real_pictures(tmp_path, capsys):
    write_set(tmp_path / "tiny", pictures=4, size=128)
    out = tmp_path / "found.json"
    split = ["--data", str(tmp_path / "tiny"), "--split", "img_idx/train.txt", "--json", str(out)]
    assert main(["--weights", "edge", *split]) == 0
    assert "edge: 16 spots, threshold" in capsys.readouterr().out
    report = json.loads(out.read_text())
    assert np.sum(report["spots"]) == 16
    assert (np.array(report["seen"]) <= report["spots"]).all()


def test_a_picture_too_small_for_the_network_is_named(tmp_path, capsys):
    write_set(tmp_path / "tiny", pictures=2, size=24)
    split = ["--data", str(tmp_path / "tiny"), "--split", "img_idx/train.txt"]
    assert main(["--weights", "edge", *split]) == 2
    assert "images/p0.png: 24x24 px, but networks need 32x32\n" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--weights", "none.safetensors"], "none.safetensors"),
        (["--weights", "edge", "--data", "x"], "--split"),
        (["--weights", "edge", "--data", "x", "--split", "y"], "x"),
        (["--weights", "edge", "--json", "/nonexistent/out.json"], "--json /nonexistent/out.json: No such file"),
    ],
)
def test_invalid_input_is_reported_in_one_line_before_the_work(arguments, words, capsys):
    assert main(arguments) != 0
    out, error = capsys.readouterr()
    assert out == ""
    assert words in error
    assert error.count("\n") == 1
