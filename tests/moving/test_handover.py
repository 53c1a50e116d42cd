"""Motion evidence survives the transfer between stages."""

from __future__ import annotations

import numpy as np
import pytest

from nets.normalisation import change_picture
from pipeline.messages import MAX_OBJECTS, REPLACED_DTYPE, Packet, Prepared
from pipeline.moving.change_detection import ChangeDetector, MotionEvidence
from pipeline.moving.config import MovingConfig
from pipeline.moving.fusion import KEEP_MARGIN
from pipeline.moving.handover import change, exceeding, hide, sharpness, to_message
from pipeline.moving.sharpness import Sharpness
from pipeline.preprocess.ego_motion import STILL
from pipeline.wire import decode, encode
from tests.messages import SESSION, frame_header

SHAPE = (60, 80)
DULL = Sharpness(np.zeros(SHAPE, np.float32), np.zeros(0, np.float32), 0.0)


def filmed(count=30):
    """Yield 8-bit pictures of a shifting texture with a moving spot and a stuck pixel."""
    rng = np.random.default_rng(0)
    texture = rng.integers(60, 120, SHAPE)
    for k in range(count):
        picture = np.roll(texture, k, axis=1) + rng.normal(0, 3, SHAPE)
        picture[30, 10 + k] += 60
        picture[5, 70] = 255
        yield picture.clip(0, 255).astype(np.uint8)


def test_evidence_survives_encoding_and_decoding():
    detector, count = ChangeDetector(MovingConfig()), 0
    for k, picture in enumerate(filmed()):
        evidence = detector.update(picture, STILL, k / 25)
        header = frame_header(SHAPE, seq=k)
        sent = Prepared(header=header, intensity={"mean": 0.0, "gain": 1.0}, ego=STILL, moving=to_message(evidence))
        got = decode([bytes(part) for part in encode(Packet(sent, picture))], SESSION).message.moving
        if evidence is None:
            assert got is None
            continue
        count += 1
        assert np.array_equal(change(got, picture), change_picture(evidence.significance))
        assert np.array_equal(got.exceeding_table(), exceeding(evidence))
        same = sharpness(got, picture)
        assert np.array_equal(same.picture, evidence.sharpness.picture), "stuck pixels mended as they were"
        assert np.array_equal(same.references, evidence.sharpness.references)
        assert same.weight == evidence.sharpness.weight
    assert count > 20
    assert [5 * SHAPE[1] + 70] == got.mended_table()["at"].tolist()


def test_no_evidence_is_an_empty_change_picture():
    assert to_message(None) is None
    assert not change(None, np.ones(SHAPE, np.uint16)).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_defects_are_replaced_in_the_picture(dtype):
    picture = np.random.default_rng(0).integers(0, 200, SHAPE, dtype)
    defects = np.array([(3, 7), (4799, 9)], REPLACED_DTYPE)
    before = picture.copy()
    assert hide(defects[:0], picture) is picture
    corrected = hide(defects, picture)
    assert corrected.dtype == dtype
    assert (corrected.flat[3], corrected.flat[4799]) == (7, 9)
    assert np.flatnonzero(corrected != before).tolist() == [3, 4799]
    assert np.array_equal(picture, before)


def seen(significance, threshold):
    return MotionEvidence(significance, np.full(SHAPE, threshold, np.float32), DULL, np.zeros(0, REPLACED_DTYPE))


def test_pixels_down_to_the_keep_margin_are_included():
    found = np.zeros(SHAPE, np.float32)
    found[3, 4], found[3, 5], found[50, 60] = 5 - KEEP_MARGIN + 0.01, 5 - KEEP_MARGIN - 0.01, 9
    table = exceeding(seen(found, 5.0))
    assert table["at"].tolist() == [3 * 80 + 4, 50 * 80 + 60]
    assert table["over"] == pytest.approx([-KEEP_MARGIN + 0.01, 4], abs=1e-5)
    assert table["significance"] == pytest.approx([5 - KEEP_MARGIN + 0.01, 9])
    assert len(exceeding(seen(found, np.inf))) == 0


def test_too_many_pixels_are_limited_to_the_largest_excess():
    shape = (128, 160)
    found = np.random.default_rng(0).permutation(128 * 160).astype(np.float32).reshape(shape)
    evidence = MotionEvidence(found, np.zeros(shape, np.float32), DULL, np.zeros(0, REPLACED_DTYPE))
    table = exceeding(evidence)
    assert len(table) == MAX_OBJECTS
    assert table["over"].min() == 128 * 160 - MAX_OBJECTS
    assert (np.diff(table["at"]) > 0).all()
