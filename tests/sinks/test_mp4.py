import cv2
import numpy as np
import pytest

from pipeline.sinks import mp4


def picture(i):
    """Return a pattern that moves slightly from frame to frame, so that the encoder uses differences."""
    pattern = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 255, (64, 80, 3)).astype(np.uint8), (0, 0), 4)
    return np.roll(pattern, 2 * i, axis=1)


@pytest.fixture(scope="module")
def coded(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (80, 64))
    for i in range(30):
        writer.write(picture(i))
    writer.release()
    return path.read_bytes()


def test_clip_is_parsed_into_its_frames(coded):
    clip = mp4.parse_clip(coded)
    assert len(clip.samples) == 30
    assert clip.keys == {0, 12, 24}  # the encoder's group of pictures
    assert clip.description[4:8] == b"stsd"
    assert b"".join(clip.samples) in coded
    assert all(sample.startswith(b"\0\0\1") for sample in clip.samples)


@pytest.mark.parametrize("cut", [0, 7, 40, 300, -1, -400])
def test_an_incomplete_clip_is_refused(coded, cut):
    with pytest.raises(ValueError, match=r"no complete MP4|bytes of video"):
        mp4.parse_clip(coded[:cut])


def test_fragments_play_in_order_at_their_times(coded, tmp_path):
    clip = mp4.parse_clip(coded)
    parts = [mp4.init_segment(clip.description, 80, 64)]
    for k in range(3):
        parts.append(mp4.fragment(clip, k + 1, k * 30 * 1800, [1800] * 30))
    (tmp_path / "film.mp4").write_bytes(b"".join(parts))
    film = cv2.VideoCapture(str(tmp_path / "film.mp4"), cv2.CAP_FFMPEG)
    assert film.get(cv2.CAP_PROP_FRAME_COUNT) == 90
    assert film.get(cv2.CAP_PROP_FPS) == pytest.approx(50)
    film.set(cv2.CAP_PROP_POS_FRAMES, 70)
    ok, shown = film.read()
    assert ok
    assert np.abs(shown.astype(int) - picture(10)).mean() < 4


def test_fragment_of_a_run_of_days_keeps_its_time(coded, tmp_path):
    """13 hours are 2**32 units of 1/90,000 s."""
    clip, days = mp4.parse_clip(coded), 2**33
    film = mp4.init_segment(clip.description, 80, 64)
    film += mp4.fragment(clip, 1, 0, [1800] * 30) + mp4.fragment(clip, 2, days, [1800] * 30)
    (tmp_path / "film.mp4").write_bytes(film)
    reader, times = cv2.VideoCapture(str(tmp_path / "film.mp4"), cv2.CAP_FFMPEG), []
    while reader.read()[0]:
        times.append(reader.get(cv2.CAP_PROP_POS_MSEC))
    assert times[30] == pytest.approx(days / 90)


def test_only_key_frames_are_marked_as_such(coded):
    clip = mp4.parse_clip(coded)
    head = mp4.fragment(clip, 1, 0, [1800] * 30).partition(b"mdat")[0]
    flags = [int.from_bytes(head[-4 - 12 * k :][8:12], "big") for k in range(30, 0, -1)]
    assert [k for k, flag in enumerate(flags) if flag == mp4.KEY] == sorted(clip.keys)
    assert set(flags) == {mp4.KEY, mp4.NON_KEY}
