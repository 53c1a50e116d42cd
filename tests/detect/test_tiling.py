from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from pipeline.detect.tiling import spans, stitch, tiles

sizes = st.integers(1, 300)


@st.composite
def layouts(draw):
    tile = draw(st.integers(2, 64))
    return draw(sizes), draw(sizes), tile, draw(st.integers(0, tile // 2))


def test_spans_by_hand():
    # 100 px in tiles of 64 with an overlap of 16: two tiles suffice; they overlap by 28 px and meet at 50.
    assert spans(100, 64, 16) == [(0, 64, 0, 50), (36, 100, 50, 100)]
    assert spans(64, 64, 16) == [(0, 64, 0, 64)]
    assert len(spans(65, 64, 16)) == 2
    assert len(spans(112, 64, 16)) == 2
    assert len(spans(113, 64, 16)) == 3


@given(layouts())
@settings(deadline=None)
def test_every_pixel_is_kept_exactly_once(layout):
    height, width, tile, overlap = layout
    kept = np.zeros((height, width), int)
    for rows, columns in tiles(height, width, tile, overlap):
        assert rows.stop - rows.start == min(tile, height)
        assert columns.stop - columns.start == min(tile, width)
        assert rows.start <= rows.begin < rows.end <= rows.stop
        kept[rows.begin : rows.end, columns.begin : columns.end] += 1
    assert (kept == 1).all()


@given(layouts())
@settings(deadline=None)
def test_inner_edges_keep_half_the_overlap_away(layout):
    _, width, tile, overlap = layout
    found = spans(width, tile, overlap)
    for before, after in pairwise(found):
        assert before.stop - after.start >= overlap
        assert before.end == after.begin
        assert before.stop - before.end >= overlap // 2
        assert after.begin - after.start >= overlap // 2
        assert abs((before.stop - before.end) - (after.begin - after.start)) <= 1


@given(layouts(), st.integers(0, 2**32))
@settings(deadline=None, max_examples=50)
def test_cut_and_stitch_round_trip(layout, seed):
    height, width, tile, overlap = layout
    picture = np.random.default_rng(seed).integers(0, 65_535, (height, width)).astype(np.uint16)
    layout = tiles(height, width, tile, overlap)
    assert np.array_equal(stitch(layout, [t.cut(picture) for t in layout]), picture)


@pytest.mark.parametrize("shape", [(200, 300), (64, 200), (65, 64), (129, 257)])
def test_local_filter_leaves_no_seam(shape):
    # A 9x9 filter reaches 4 px to each side, so with an overlap of 8 inner edges have no effect.
    picture = np.random.default_rng(0).random(shape)

    def network(x):
        return ndimage.maximum_filter(ndimage.uniform_filter(x, 5), 5)

    layout = tiles(*shape, 64, 8)
    tiled = stitch(layout, [network(t.cut(picture)) for t in layout])
    assert np.allclose(tiled, network(picture), atol=1e-12)
