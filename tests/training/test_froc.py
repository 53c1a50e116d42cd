import cv2
import pytest

from pipeline.errors import ConfigError
from training.froc import draw, write

POINTS = [(0.1, 0.9, 2.0), (0.5, 0.8, 0.25), (0.9, 0.5, 0.0)]


def report(targets=10):
    froc = [{"threshold": t, "pd": pd, "false_alarms_per_picture": fa, "fa": 0, "iou": 0} for t, pd, fa in POINTS]
    return {
        "weights": {"name": "mine"},
        "data": "/somewhere/sky",
        "protocol": "strict",
        "threshold": 0.5,
        "metrics": {"pictures": 4, "targets": targets},
        "froc": froc,
    }


def test_the_curve_goes_through_all_points_and_marks_the_threshold():
    (axis,) = draw(report()).axes
    curve, mark = axis.lines
    assert list(zip(*curve.get_data(), strict=True)) == [(fa, pd) for _, pd, fa in POINTS]
    assert [list(values) for values in mark.get_data()] == [[0.25], [0.8]]
    assert mark.get_label() == "threshold 0.5: Pd 0.800, 0.25 false alarms / picture"
    assert "mine on sky, strict" in axis.get_title()
    low, high = axis.get_xlim()
    assert low <= 0  # a point without false alarms is on the picture
    assert high >= 2
    place = axis.transData.transform([(0.25, 0), (0.5, 0), (1, 0)])[:, 0]
    assert place[1] - place[0] == pytest.approx(place[2] - place[1])  # logarithmic


def test_file(tmp_path):
    write(report(), tmp_path / "curve.png")
    assert cv2.imread(str(tmp_path / "curve.png")).std() > 10


def test_a_curve_that_cannot_be_drawn_or_written_is_reported(tmp_path):
    with pytest.raises(ConfigError, match=r"curve\.png: no curve, because no picture contains a target"):
        write(report(targets=0), tmp_path / "curve.png")
    with pytest.raises(ConfigError, match=r"gone/curve\.png: No such file"):
        write(report(), tmp_path / "gone" / "curve.png")
