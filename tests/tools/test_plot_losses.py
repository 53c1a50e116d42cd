import cv2
import pytest
import torch

from tools.plot_losses import main, weight_and_slope, wrong_sign


def test_weight_and_slope_by_hand():
    # diff: w = (P + T) / (3 T - P) below the match, with slope 4 T / (3 T - P)^2; P = 1, T = 3.
    w, slope = weight_and_slope("diff", torch.tensor([1 / 3], dtype=torch.float64), 3)
    assert w.item() == pytest.approx(4 / 8)
    assert slope.item() == pytest.approx(3 * 12 / 64)


@pytest.mark.parametrize("ratio, attached", [(0.5, 1.0), (1.3, 0.0)])
def test_attached_diff_pushes_the_background_up_below_the_match_only(ratio, attached):
    generator = torch.Generator().manual_seed(0)
    assert wrong_sign("diff", ratio, 9, False, generator) == attached
    assert wrong_sign("diff", ratio, 9, True, generator) == 0


def test_small_pictures_are_written(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.plot_losses.PICTURES", 1)
    out = tmp_path / "new"
    assert main(["--out", str(out)]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["gradient_signs.png", "weights.png"]
    for path in out.iterdir():
        assert path.stat().st_size < 100_000
        assert cv2.imread(str(path)).std() > 10


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main(["--out", str(tmp_path / "file" / "below")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
