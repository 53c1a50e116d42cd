from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.capture.config import CaptureConfig
from pipeline.capture.images import ImageSequence, natural_key
from pipeline.capture.picture import as_picture
from pipeline.capture.tiff import count_pages
from pipeline.errors import SourceError
from tests.capture.conftest import cut, ramp, read_all, write
from tests.conftest import real_data


def sequence(path, **config):
    return ImageSequence(str(path), CaptureConfig(**config))


def test_folder_is_read_in_natural_order_at_the_configured_rate(tmp_path):
    for k in (10, 9, 1, 100, 2):
        write(tmp_path / f"frame{k}.png", ramp(np.uint8, start=k))
    (tmp_path / "notes.txt").write_text("not an image")
    source = sequence(tmp_path, image_fps=50)
    grabs = read_all(source)
    assert [grab.picture[0, 0] for grab in grabs] == [1, 2, 9, 10, 100]
    assert [grab.frame for grab in grabs] == [0, 1, 2, 3, 4]
    assert [grab.pts for grab in grabs] == [0, 0.02, 0.04, 0.06, 0.08]
    assert source.length == 5


def test_hidden_files_of_a_folder_are_skipped(tmp_path):
    write(tmp_path / "a.png", ramp(np.uint8))
    write(tmp_path / ".b.png", ramp(np.uint8))
    (tmp_path / "._a.png").write_bytes(b"\0\5\x16\7\0\2\0\0Mac OS X")
    assert len(read_all(sequence(tmp_path))) == len(read_all(sequence(tmp_path / "*.png"))) == 1


def test_pattern_picks_files_also_below_folders(tmp_path):
    for name in ("b/2.png", "b/10.png", "a/3.png", "a/3.txt", "a/x.tif"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write(tmp_path / name, ramp(np.uint8)) if not name.endswith("txt") else (tmp_path / name).touch()
    assert len(read_all(sequence(tmp_path / "*" / "*.png"))) == 3
    assert len(read_all(sequence(tmp_path / "**" / "[0-9]*"))) == 3


@pytest.mark.parametrize("suffix", ["png", "tif", "tiff"])
def test_16_bit_stays_16_bit(suffix, tmp_path):
    image = ramp(np.uint16, start=63_000)
    (grab,) = read_all(sequence(write(tmp_path / f"a.{suffix}", image)))
    np.testing.assert_array_equal(grab.picture, image)
    assert (grab.picture.dtype, grab.bit_depth) == (np.uint16, 16)
    (grab,) = read_all(sequence(tmp_path / f"a.{suffix}", bit_depth=14))
    assert grab.bit_depth == 14


def test_8_bit_stays_8_bit(tmp_path):
    image = ramp(np.uint8)
    for suffix in ("png", "tif", "bmp"):
        (grab,) = read_all(sequence(write(tmp_path / f"a.{suffix}", image), bit_depth=14))
        np.testing.assert_array_equal(grab.picture, image)
        assert (grab.picture.dtype, grab.bit_depth) == (np.uint8, 8)


def stack(path, count=40):
    """Create a stack of different, uncompressed pages of 4000 bytes each."""
    pages = [ramp(np.uint16, start=1000 * k) for k in range(count)]
    assert cv2.imwritemulti(str(path), pages, [cv2.IMWRITE_TIFF_COMPRESSION, 1])
    return pages


def first_pages(path):
    """Return the readable pages, and the error after them."""
    source = sequence(path)
    source.open()
    grabs = []
    with pytest.raises(SourceError) as caught:
        while (grab := source.grab()) is not None:
            grabs.append(grab)
    return grabs, str(caught.value)


def test_pages_of_a_stack_are_frames(tmp_path):
    pages = stack(tmp_path / "stack.tif")
    source = sequence(tmp_path / "stack.tif")
    grabs = read_all(source)
    assert source.length == len(grabs) == 40
    for grab, page in zip(grabs, pages, strict=True):
        np.testing.assert_array_equal(grab.picture, page)


def test_stack_cut_short_gives_its_good_pages_then_an_error(tmp_path):
    path = tmp_path / "stack.tif"
    pages = stack(path)
    short = cut(path, 0.5)
    grabs, message = first_pages(short)
    assert 15 <= len(grabs) <= 20
    for grab, page in zip(grabs, pages, strict=False):
        np.testing.assert_array_equal(grab.picture, page)
    assert message == f"{short}: the file is cut short, {len(grabs)} of its pages could be read"


def test_stack_of_two_pages_cut_short_is_an_error(tmp_path):
    path = tmp_path / "stack.tif"
    stack(path, 2)
    grabs, message = first_pages(cut(path, 0.7))
    assert len(grabs) == 1
    assert message.endswith("the file is cut short, 1 of its pages could be read")


def test_damaged_page_is_named_after_the_good_ones(tmp_path):
    path = tmp_path / "stack.tif"
    pages = [np.random.default_rng(k).integers(0, 65535, (64, 64)).astype(np.uint16) for k in range(20)]
    assert cv2.imwritemulti(str(path), pages)
    data = bytearray(path.read_bytes())
    start = len(data) * 17 // 20 + 2000
    data[start : start + 2000] = bytes(b ^ 0x5A for b in data[start : start + 2000])
    path.write_bytes(data)
    grabs, message = first_pages(path)
    assert [grab.picture[0, 0] for grab in grabs] == [page[0, 0] for page in pages[: len(grabs)]]
    assert message == f"{path} page {len(grabs) + 1}: not a readable image"
    assert 16 <= len(grabs) < 20


@pytest.mark.parametrize("order", ["little", "big"])
@pytest.mark.parametrize("big", [False, True])
def test_pages_are_counted_along_the_chain(order, big, tmp_path):
    """Three directories of two entries each, built by hand."""
    mark = b"II" if order == "little" else b"MM"
    counts, entry, offsets = (8, 20, 8) if big else (2, 12, 4)
    length = counts + 2 * entry + offsets
    first = 16 if big else 8
    data = mark + (43 if big else 42).to_bytes(2, order)
    data += ((8).to_bytes(2, order) + bytes(2) if big else b"") + first.to_bytes(offsets, order)
    for k in range(3):
        following = first + (k + 1) * length if k < 2 else 0
        data += (2).to_bytes(counts, order) + bytes(2 * entry) + following.to_bytes(offsets, order)
    path = tmp_path / "a.tif"
    path.write_bytes(data)
    assert count_pages(path) == (3, True)
    path.write_bytes(data[:-1])
    assert count_pages(path) == (2, False)
    looped = data[:-offsets] + first.to_bytes(offsets, order)
    path.write_bytes(looped)
    assert count_pages(path) == (3, False)
    path.write_bytes(b"no tiff at all")
    assert count_pages(path) == (0, True)


def test_bad_page_is_named(tmp_path):
    path = tmp_path / "stack.tif"
    assert cv2.imwritemulti(str(path), [ramp(np.uint16), ramp(np.uint16), ramp(np.uint16, 50, 40)])
    with pytest.raises(SourceError, match=r"stack.tif page 3: picture of 40x50 px 16 bit among pictures of 50x40"):
        read_all(sequence(path))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [3, 4])
def test_gray_stored_as_colour_keeps_its_values(dtype, channels):
    gray = np.arange(np.iinfo(dtype).max + 1).astype(dtype).reshape(-1, 256).repeat(32 if dtype is np.uint8 else 1, 0)
    picture = as_picture(np.dstack([gray] * channels), "x")
    np.testing.assert_array_equal(picture, gray)
    assert picture.dtype == dtype


def test_colour_becomes_luma(tmp_path):
    bgr = np.zeros((32, 32, 3), np.uint8)
    bgr[:] = (10, 20, 200)
    (grab,) = read_all(sequence(write(tmp_path / "a.png", bgr)))
    assert (grab.picture == round(0.114 * 10 + 0.587 * 20 + 0.299 * 200)).all()


def test_file_that_vanishes_is_named(tmp_path):
    for k in range(2):
        write(tmp_path / f"{k}.png", ramp(np.uint8))
    source = sequence(tmp_path)
    source.open()
    (tmp_path / "1.png").unlink()
    assert source.grab() is not None
    with pytest.raises(SourceError, match=r"1\.png: no such file"):
        source.grab()


def test_close_ends_the_sequence(tmp_path):
    write(tmp_path / "0.png", ramp(np.uint8))
    source = sequence(tmp_path)
    source.open()
    source.close()
    assert source.grab() is None


@given(st.lists(st.integers(0, 10**9), unique=True, min_size=2))
def test_natural_order_of_numbers(numbers):
    from pathlib import Path

    paths = [Path(f"run2/f{n}.png") for n in numbers]
    assert sorted(paths, key=natural_key) == [Path(f"run2/f{n}.png") for n in sorted(numbers)]


def test_real_sequence():
    folder = real_data("video", "sequences", "sequence1")
    source = sequence(folder)
    grabs = read_all(source)
    assert len(grabs) == source.length == sum(1 for _ in folder.iterdir())
    assert all(grab.picture.dtype == np.uint8 for grab in grabs)
