import numpy as np
import pytest

from training.side_by_side import FALSE, GAP, HIT, MISSED, PANEL, STRIP, sheet, side_by_side

SHAPE = (STRIP + PANEL, 3 * PANEL + 2 * GAP, 3)
WINDOW_LEFT, COLOURED_LEFT = PANEL + GAP, 2 * (PANEL + GAP)


def mask(shape, *blocks):
    """Return a mask that is True in blocks (row, column, height, width)."""
    out = np.zeros(shape, bool)
    for row, column, height, width in blocks:
        out[row : row + height, column : column + width] = True
    return out


def noise(shape, dtype=np.uint8):
    return np.random.default_rng(0).integers(0, np.iinfo(dtype).max // 2, shape).astype(dtype)


def colours(panel):
    """Return which of the three colours occur."""
    return {name for name, c in (("hit", HIT), ("missed", MISSED), ("false", FALSE)) if (panel == c).all(-1).any()}


def test_the_coloured_window_pixel_by_pixel():
    shape = (64, 64)  # the window is the whole picture, magnified four times
    truth, predicted = mask(shape, (30, 30, 1, 2)), mask(shape, (30, 31, 1, 2))
    row = side_by_side(noise(shape), truth, predicted, "name")
    plain, coloured = row[STRIP:, WINDOW_LEFT:][:, :PANEL], row[STRIP:, COLOURED_LEFT:]
    for column, colour in ((30, MISSED), (31, HIT), (32, FALSE)):
        pixel = coloured[120:124, 4 * column : 4 * column + 4]
        assert (pixel == colour).all()
    touched = np.kron(truth | predicted, np.ones((4, 4), bool))
    np.testing.assert_array_equal(coloured[~touched], plain[~touched])
    assert colours(plain) == set()
    assert row[:STRIP].any()


@pytest.mark.parametrize("shape", [(512, 512), (40, 300), (300, 40), (33, 33), (64, 640)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_every_row_has_one_size_and_the_full_contrast(shape, dtype):
    row = side_by_side(noise(shape, dtype), mask(shape, (5, 5, 3, 3)), mask(shape))
    assert (row.shape, row.dtype) == (SHAPE, np.uint8)
    plain = row[STRIP:, WINDOW_LEFT:][:, :PANEL]
    assert (plain.min(), plain.max()) == (0, 255)
    assert colours(row[:, COLOURED_LEFT:]) == {"missed"}


@pytest.mark.parametrize(
    ("truth", "predicted", "inside"),
    [
        ([(20, 20, 9, 9), (220, 350, 1, 1)], [(20, 20, 9, 9)], {"missed"}),  # the missed one, though it is smaller
        ([(20, 20, 9, 9), (220, 350, 1, 1)], [(20, 20, 9, 9), (220, 350, 1, 1)], {"hit"}),
        ([(150, 150, 2, 2)], [(150, 150, 2, 2), (20, 20, 20, 20)], {"hit"}),  # the target and not the false alarm
        ([], [(239, 399, 1, 1)], {"false"}),  # at the very corner
        ([], [], set()),
    ],
)
def test_the_window_looks_where_it_matters(truth, predicted, inside):
    shape = (240, 400)
    row = side_by_side(noise(shape), mask(shape, *truth), mask(shape, *predicted))
    assert colours(row[:, COLOURED_LEFT:]) == inside


def test_every_component_has_a_box_in_the_whole_picture():
    shape = (512, 512)
    truth = mask(shape, (100, 100, 4, 4), (300, 100, 2, 2))
    predicted = mask(shape, (102, 100, 4, 4), (400, 400, 2, 2))
    whole = side_by_side(noise(shape), truth, predicted)[STRIP:, :PANEL]
    assert colours(whole) == {"hit", "missed", "false"}
    # At half size the false alarm lies at 200..201; its box is drawn four pixels outside.
    assert (whole[196, 196:206] == FALSE).all()
    assert (whole[196:206, 196] == FALSE).all()
    # Overlapping components of truth and prediction share a box.
    assert (whole[46, 46:57] == HIT).all()


def test_sheet_is_a_grid_under_a_legend():
    rows = [np.full((10, 200, 3), value, np.uint8) for value in (50, 100, 150)]
    out = sheet(rows)
    cell = (10 + GAP, 200 + 2 * GAP)
    top = STRIP + GAP
    assert out.shape == (top + 2 * cell[0], 2 * cell[1], 3)
    assert [int(out[top + 2, x, 0]) for x in (100, cell[1] + 100)] == [50, 100]
    below = out[top + cell[0] :]
    assert int(below[2, 100, 0]) == 150
    assert not below[:, cell[1] :].any()
    # Antialiased letters may not reach the full colour, so only the dominant channels are compared.
    green, red, yellow = (out[:top, start : start + 64].astype(int).sum((0, 1)) for start in (8, 72, 136))
    assert (green[1], red[2]) == (green.max(), red.max())
    assert yellow[0] == 0 < yellow[1] < yellow[2]
