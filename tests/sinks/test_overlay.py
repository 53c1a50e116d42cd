from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.messages import COASTING, CONFIRMED, MAX_SIDE, TENTATIVE, EgoMotion
from pipeline.sinks.overlay import COLOURS, LEGIBLE_WIDTH, STRIP, Overlay
from tests.messages import tracked

STATES = (TENTATIVE, CONFIRMED, COASTING)


def scene(height=128, width=160, dtype=np.uint8):
    top = 255 if dtype is np.uint8 else 20_000
    return np.random.default_rng(0).integers(top // 4, top // 2, (height, width)).astype(dtype)


def draw(tracks, picture=None, scale=4, **options):
    picture = scene() if picture is None else picture
    message = tracked(tracks, shape=picture.shape, dtype=picture.dtype.name, **options)
    return Overlay(scale, 2.0).draw(message, picture, 12.3)


def coloured(canvas):
    """Return the mask of non-gray pixels above the strip."""
    picture = canvas[: -STRIP - 1].astype(int)
    return np.ptp(picture, axis=2) > 20


def track(x=80.0, y=60.0, state=CONFIRMED, **columns):
    return {"id": 5, "x": x, "y": y, "state": state, **columns}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 3, 8])
def test_marks_surround_the_target_and_leave_its_pixels_alone(state, scale, size):
    x, y = 80.0, 60.0 if size % 2 else 60.5
    x = x if size % 2 else 80.5
    plain = draw([], scale=scale)
    marked = draw([track(x, y, state, bw=size, bh=size)], scale=scale)
    first, last = int((x - (size - 1) / 2) * scale), int((x + (size - 1) / 2 + 1) * scale)
    top, bottom = int((y - (size - 1) / 2) * scale), int((y + (size - 1) / 2 + 1) * scale)
    assert np.array_equal(marked[top:bottom, first:last], plain[top:bottom, first:last])
    # The marks themselves, without the label, are centred on the target.
    rows, columns = np.nonzero(coloured(marked)[:, : int((x + 0.5) * scale)])
    assert len(rows)
    left = columns.min()
    half = (x + 0.5) * scale - 0.5 - left
    assert half == pytest.approx(max(size * scale / 2 + 5, 9), abs=2)
    assert rows.max() - rows.min() == pytest.approx(2 * half, abs=4)


def test_marks_and_trails_of_neighbours_do_not_hide_a_target():
    overlay, plain = Overlay(4, 10.0), Overlay(4, 10.0)
    picture = scene()
    for i in range(20):
        # One target flies straight over another that stands still.
        tracks = [track(60.0 + 2 * i, 60.0), track(80.0, 60.0) | {"id": 6}, track(82.0, 62.0, COASTING) | {"id": 7}]
        canvas = overlay.draw(tracked(tracks, seq=i, shape=picture.shape), picture, 0.0)
        empty = plain.draw(tracked(seq=i, shape=picture.shape), picture, 0.0)
        assert np.array_equal(canvas[59 * 4 : 62 * 4, 79 * 4 : 82 * 4], empty[59 * 4 : 62 * 4, 79 * 4 : 82 * 4])
    assert coloured(canvas)[238:246, : 75 * 4].any()  # there is a trail


def test_each_state_has_its_colour_and_only_real_tracks_a_label():
    areas = {}
    for state in STATES:
        canvas = draw([track(state=state)])
        assert (np.abs(canvas.astype(int) - COLOURS[state]).sum(axis=2) < 12).any()
        right = coloured(canvas)[:, 336:]
        areas[state] = int(right.sum())
    assert areas[TENTATIVE] == 0
    assert areas[CONFIRMED] > 0
    assert areas[COASTING] > 0


def test_labels_stay_in_the_picture():
    middle = coloured(draw([track(80.0, 60.0)])).sum()
    for x, y in ((156.0, 60.0), (80.0, 4.0), (156.0, 4.0)):
        marked = coloured(draw([track(x, y)]))
        assert marked.sum() > 0.8 * middle


@pytest.mark.parametrize(("height", "width", "scale"), [(33, 35, 1), (33, 35, 3), (96, 131, None), (41, 2001, None)])
def test_sides_are_even_and_the_picture_is_complete(height, width, scale):
    picture = scene(height, width)
    canvas = draw([track(10.0, 10.0)], picture, scale)
    factor = scale or (1 if width >= LEGIBLE_WIDTH else 4)
    assert canvas.shape[0] % 2 == canvas.shape[1] % 2 == 0
    assert 0 <= canvas.shape[1] - width * factor <= 1
    assert 0 <= canvas.shape[0] - height * factor - STRIP <= 1


def test_16_bit_pictures_are_stretched():
    canvas = draw([], scene(dtype=np.uint16))[:-STRIP]
    assert canvas.std() > 20


def test_unknown_camera_motion_is_shown():
    known, unknown = (draw([], ego=EgoMotion(ok=ok))[-STRIP:].astype(int) for ok in (True, False))
    assert (np.ptp(known, axis=2) > 20).sum() == 0
    assert (np.ptp(unknown, axis=2) > 20).sum() > 50


def test_marks_are_in_place_in_the_widest_picture():
    x = MAX_SIDE - 60
    canvas = draw([track(x, 16.0, TENTATIVE)], np.full((32, MAX_SIDE), 60, np.uint8), 4)
    columns = np.nonzero(canvas[: -STRIP - 1] != canvas[0, 0])[1]
    assert (columns.min() + columns.max()) / 2 == pytest.approx((x + 0.5) * 4, abs=2)


UNKNOWN = EgoMotion(ok=False)


@pytest.mark.parametrize(("width", "right"), [(8, 60), (32, 60), (64, 220), (640, 220)])
def test_no_text_covers_the_age_of_the_frame_and_the_warning(width, right):
    # A day of video from a source with a long name. The texts on the right are those of a picture with room for them.
    crowded = draw([track(0.0, 0.0)], scene(32, width), None, source="s" * 32, frame=2_592_000, pts=86_400, ego=UNKNOWN)
    roomy = draw([], scene(32, 1000), 1, source="s", ego=UNKNOWN if right > 100 else EgoMotion(ok=True))
    right = min(right, crowded.shape[1] - 8)
    assert np.array_equal(crowded[-STRIP:, -right:], roomy[-STRIP:, -right:])


def test_drawing_is_pure():
    picture = scene()
    before = picture.copy()
    picture.flags.writeable = False
    first, second = draw([track()], picture), draw([track()], picture)
    assert np.array_equal(first, second)
    assert np.array_equal(picture, before)


far = st.floats(-3 * MAX_SIDE, 3 * MAX_SIDE)


@given(st.lists(st.tuples(far, far, st.floats(0, MAX_SIDE), st.sampled_from(STATES)), max_size=5))
@settings(max_examples=40, deadline=None)
def test_tracks_anywhere_can_be_drawn(values):
    tracks = [track(x, y, state, bw=size, bh=size) for x, y, size, state in values]
    assert draw(tracks, scene(48, 64), 1).dtype == np.uint8


def test_video_coding_keeps_marks_and_target_visible(tmp_path):
    # The operator sees the encoded video, not the canvas.
    from pipeline.sinks.video_file import OverlayVideo

    picture = np.full((128, 160), 60, np.uint8)
    picture[59:62, 79:82] = 200
    message = tracked([track()], shape=picture.shape)
    video = OverlayVideo(tmp_path / "overlay.mp4")
    video.write(message.header, Overlay(4, 0.0).draw(message, picture, 0.0))
    video.close()
    _, frame = cv2.VideoCapture(str(tmp_path / "overlay.mp4")).read()
    assert frame[59 * 4 + 2 : 62 * 4 - 2, 79 * 4 + 2 : 82 * 4 - 2].mean() > frame[20:60, 20:60].mean() + 60
    assert coloured(frame)[200:290, 280:370].sum() > 50


def test_masked_areas_are_outlined_and_keep_their_pixels():
    picture = scene()
    message = tracked([], shape=picture.shape, dtype=picture.dtype.name)
    corners = [(20.0, 20.0), (60.0, 20.0), (60.0, 50.0), (20.0, 50.0)]
    plain = Overlay(2, 0.0).draw(message, picture, 0.0)
    masked = Overlay(2, 0.0, [corners]).draw(message, picture, 0.0)
    rows, columns = np.nonzero((plain != masked).any(axis=2))
    assert (columns.min(), rows.min()) == pytest.approx((40.5, 40.5), abs=2)
    assert (columns.max(), rows.max()) == pytest.approx((120.5, 100.5), abs=3)
    assert np.array_equal(plain[46:96, 46:116], masked[46:96, 46:116])
