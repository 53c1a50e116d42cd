from __future__ import annotations

import cv2
import numpy as np
import pytest

import nets
from pipeline.capture.scene import Scene, SceneSpec
from pipeline.errors import BackendError
from pipeline.messages import REPLACED_DTYPE, EndOfSource, Packet, Prepared
from pipeline.moving.change_detection import ChangeDetector
from pipeline.moving.config import MovingConfig
from pipeline.moving.handover import to_message
from pipeline.preprocess.config import PreprocessConfig
from pipeline.preprocess.ego_motion import UNKNOWN, EgoMotionConfig
from pipeline.preprocess.intensity import measure
from pipeline.preprocess.stage import PreprocessStage, _SourceState
from tests.messages import end, frame

WORLD = np.random.default_rng(0).integers(0, 60, (200, 260)).astype(np.float32).repeat(4, 0).repeat(4, 1)


def view(dx, dy, dtype=np.uint8):
    """Return the view of a camera whose picture has moved by (dx, dy) px."""
    return np.ascontiguousarray(WORLD[300 - dy : 420 - dy, 400 - dx : 560 - dx]).astype(dtype)


@pytest.fixture
def stage():
    stage = PreprocessStage("mshnet", PreprocessConfig(), MovingConfig())
    stage.open()
    return stage


def prepared(stage, *packets):
    return [out.message for out in stage.process(packets)]


def test_a_frame_passes_with_its_picture(stage):
    packet = frame(view(0, 0, np.uint16))
    (out,) = stage.process([packet])
    assert isinstance(out.message, Prepared)
    assert out.message.header == packet.message.header
    assert out.message.intensity == measure(packet.picture, nets.read_manifest("mshnet").input.normalisation)
    assert out.message.ego == UNKNOWN
    assert out.picture is packet.picture


def test_ego_motion_is_estimated_per_source(stage):
    outs = []
    for i in range(4):
        outs += prepared(stage, frame(view(3 * i, 0), "a", i), frame(view(0, -2 * i), "b", i))
    for out in outs[2:]:
        expected = (3, 0) if out.header.source == "a" else (0, -2)
        assert out.ego.ok
        assert (out.ego.matrix[2], out.ego.matrix[5]) == pytest.approx(expected, abs=0.1)


def test_a_black_hot_source_gives_the_results_of_its_inverse(stage):
    black = PreprocessStage("mshnet", PreprocessConfig(black_hot=["a"]), MovingConfig())
    black.open()
    for seq in range(4):
        white, same = view(3 * seq, 0), view(3 * seq, 0)
        (expected,) = stage.process([frame(white, "a", seq)])
        inverted = frame(255 - white, "a", seq)
        out, other = black.process([inverted, frame(same, "b", seq)])
        assert out.picture is inverted.picture
        assert (out.message.black_hot, other.message.black_hot) == (True, False)
        for name in ("intensity", "ego", "moving", "hidden"):
            assert getattr(out.message, name) == getattr(expected.message, name) == getattr(other.message, name)
    assert {source: report.black_hot for source, report in black.reports().items()} == {"a": True, "b": False}


def test_the_end_of_a_source_passes_after_its_frames_and_drops_its_state(stage):
    outs = prepared(stage, frame(view(0, 0)), frame(view(2, 0), seq=1), end("a"), frame(view(4, 0)))
    assert [type(out) for out in outs] == [Prepared, Prepared, EndOfSource, Prepared]
    assert outs[1].ego.ok
    assert outs[3].ego == UNKNOWN


def test_a_motion_names_the_frame_it_starts_from(stage):
    outs = prepared(stage, *(frame(view(seq, 0), "a", seq) for seq in (3, 4, 7)), frame(view(0, 0), "b", 5))
    assert [out.ego.since for out in outs] == [None, 3, 4, None]
    still = PreprocessStage("mshnet", PreprocessConfig(ego_motion=EgoMotionConfig(enabled=False)), MovingConfig())
    still.open()
    assert [out.ego.since for out in prepared(still, *(frame(view(0, 0), "a", seq) for seq in (3, 4)))] == [None, None]


def test_concurrent_sources_give_the_same_results_as_sequential_ones(stage):
    together = PreprocessStage("mshnet", PreprocessConfig(), MovingConfig(), threads=3)
    together.open()
    batches = [
        [frame(view(3 * i, 0), "a", i), frame(view(0, -2 * i), "b", 2 * i), frame(view(0, i), "b", 2 * i + 1)]
        for i in range(3)
    ]
    batches.append([end("b"), frame(view(9, 9), "a", 3), end("a")])
    for batch in batches:
        assert [out.message for out in together.process(batch)] == prepared(stage, *batch)
    together.close()


def test_motion_evidence_is_kept_per_source(stage):
    url = "test://sky?width=96&height=96&snr=20&targets=9&camera=still&frames=12&seed={}"
    scenes = {name: Scene(SceneSpec.from_url(url.format(seed))) for name, seed in (("a", 1), ("b", 2))}
    alone = {name: ChangeDetector(MovingConfig()) for name in scenes}
    told = 0
    for k in range(12):
        packets = [frame(scene.frame(k), name, k) for name, scene in scenes.items()]
        for packet, out in zip(packets, prepared(stage, *packets), strict=True):
            name = packet.message.header.source
            assert out.moving == to_message(alone[name].update(packet.picture, out.ego, packet.message.header.pts))
            told += out.moving is not None
    assert told > 10


def test_defects_of_the_sensor_are_marked_and_counted_per_source(stage):
    for k in range(12):
        whole = cv2.GaussianBlur(100 * view(2 * k, 0, np.uint16), (0, 0), 2)
        broken = whole.copy()
        broken[50, 60] = 16383
        (seen, _) = prepared(stage, frame(broken, "a", k), frame(whole, "b", k))
    assert seen.hidden_table()["at"].tolist() == [50 * 160 + 60]
    assert {source: report.places["pixel"] for source, report in stage.reports().items()} == {"a": 1, "b": 0}
    prepared(stage, end("a"))
    assert list(stage.reports()) == ["b"]


def test_defects_are_sent_while_there_is_no_evidence_of_motion(stage):
    """With the noise of a codec motion detection is silent, and after a cut there is nothing to compare with."""
    rng = np.random.default_rng(0)
    for k in range(24):
        picture = (view(2 * k, 0) if k < 20 else rng.integers(0, 255, (120, 160))).astype(np.uint8)
        picture = cv2.GaussianBlur(picture, (0, 0), 2)
        picture[50, 60] = 255
        (seen,) = prepared(stage, frame(picture, "a", k))
        if k > 12:
            assert seen.moving is None
            assert seen.hidden_table()["at"].tolist() == [50 * 160 + 60]
            assert stage.reports()["a"].places["pixel"] == 1


@pytest.mark.parametrize("black_hot", [False, True])
def test_burnt_in_graphics_are_hidden_with_the_defects_and_counted(black_hot):
    stage = PreprocessStage("mshnet", PreprocessConfig(black_hot=black_hot), MovingConfig())
    stage.open()
    reticle = np.zeros((120, 160), np.bool_)
    reticle[60, 60:100] = reticle[40:80, 80] = True
    for k in range(30):
        scene = cv2.GaussianBlur(view(2 * k, 0), (0, 0), 2)
        scene[20, 30] = 255
        picture = np.where(reticle, np.uint8(0 if black_hot else 255), ~scene if black_hot else scene)
        (seen,) = prepared(stage, frame(picture, "a", k))
    hidden = seen.hidden_table()
    assert np.array_equal(hidden["at"], [20 * 160 + 30, *np.flatnonzero(reticle)])
    assert np.abs(hidden["count"] - scene.flat[hidden["at"]])[1:].max() < 20
    assert stage.reports()["a"].places == {"pixel": 1, "graphics": reticle.sum()}
    assert seen.intensity.mean == pytest.approx(np.delete(scene, hidden["at"]).mean(), abs=0.2)


def test_graphics_are_left_in_the_picture_on_request():
    stage = PreprocessStage("mshnet", PreprocessConfig(replace_graphics=False), MovingConfig())
    stage.open()
    picture = view(0, 0)
    picture[60, 60:100] = picture[40:80, 80] = 255
    for k in range(30):
        (seen,) = prepared(stage, frame(picture, "a", k))
    assert not len(seen.hidden_table())
    assert seen.intensity == measure(picture, nets.read_manifest("mshnet").input.normalisation)


def test_disabled_motion_detection_gives_no_evidence():
    stage = PreprocessStage("mshnet", PreprocessConfig(), MovingConfig(enabled=False))
    stage.open()
    scene = Scene(SceneSpec.from_url("test://sky?width=96&height=96&camera=still&frames=12"))
    assert all(out.moving is None for k in range(12) for out in prepared(stage, frame(scene.frame(k), "a", k)))


def test_weights_that_are_not_there_end_the_start():
    with pytest.raises(BackendError, match="no shipped weights named 'nothing'"):
        PreprocessStage("nothing", PreprocessConfig(), MovingConfig()).open()


def test_a_frame_without_a_picture_is_refused(stage):
    with pytest.raises(TypeError, match="Frame"):
        prepared(stage, Packet(frame(view(0, 0)).message))


def test_a_defect_beneath_graphics_is_hidden_once_with_its_own_replacement():
    state, picture = _SourceState(PreprocessConfig(), MovingConfig(), "a"), np.arange(12, dtype=np.uint8).reshape(3, 4)
    state.graphics.pixels = np.array([2, 7, 9])
    state.moving._stuck.defects = np.array([(4, 40.0), (7, 70.0)], REPLACED_DTYPE)
    assert state.hidden(picture).tolist() == [(2, 2.0), (4, 40.0), (7, 70.0), (9, 9.0)]
