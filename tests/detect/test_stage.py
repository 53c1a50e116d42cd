from __future__ import annotations

import msgspec
import numpy as np
import pytest

from nets.normalisation import change_picture
from pipeline.capture.scene import Scene, SceneSpec
from pipeline.detect.config import DetectConfig
from pipeline.detect.stage import DetectStage
from pipeline.detect.tiling import stitch, tiles
from pipeline.errors import BackendError
from pipeline.messages import REPLACED_DTYPE, Detected, EgoMotion, Packet, Prepared
from pipeline.moving.change_detection import ChangeDetector
from pipeline.moving.config import MovingConfig
from pipeline.moving.handover import change, to_message
from pipeline.preprocess.intensity import measure
from tests.detect.conftest import NORM
from tests.detect.test_backend import backend, noise
from tests.messages import end, frame_header

EGO = EgoMotion(matrix=(1.0, 0.0, 2.5, 0.0, 1.0, -1.5), inliers=40, residual=0.2, ok=True, method="flow")


STILL = msgspec.structs.replace(EGO, matrix=(1.0, 0.0, 0.0, 0.0, 1.0, 0.0))


def prepared(picture, source="a", seq=0, ego=EGO, moving=None):
    header = frame_header(picture.shape, picture.dtype, source=source, seq=seq)
    return Packet(Prepared(header=header, intensity=measure(picture, NORM), ego=ego, moving=moving), picture)


def filmed(scene, source="a"):
    """Yield the motion evidence and the packet of each frame of a scene."""
    moving = ChangeDetector(MovingConfig())
    for k in range(len(scene)):
        picture = scene.frame(k)
        evidence = moving.update(picture, STILL, frame_header(picture.shape, seq=k).pts)
        yield evidence, prepared(picture, source, k, STILL, to_message(evidence))


@pytest.fixture
def stage(weights):
    return opened(weights, batch_size=8)


def opened(weights, **settings):
    stage = DetectStage(
        DetectConfig(**{"weights": weights, "backend": "torch", "device": "cpu", "threads": 1, **settings})
    )
    stage.open()
    return stage


def test_header_ego_motion_and_picture_are_passed_on(stage):
    packet = prepared(noise(48, 64))
    (out,) = stage.process([packet])
    assert isinstance(out.message, Detected)
    assert out.message.header == packet.message.header
    assert out.message.ego == EGO
    assert out.picture is packet.picture
    table = out.message.table()
    assert len(table) > 0
    assert (np.diff(table["score"]) <= 0).all()


def test_mixed_batch_keeps_order_and_results(stage):
    packets = [
        prepared(noise(48, 64, seed=0), "a", 0),
        prepared(noise(40, 40, seed=1), "b", 0),
        prepared(noise(48, 64, seed=2, dtype=np.uint16), "c", 0),
        prepared(noise(48, 64, seed=3), "a", 1),
        end("a"),
        prepared(noise(40, 40, seed=4), "b", 1),
        end("c"),
        end("b"),
    ]
    together = list(stage.process(packets))
    one_by_one = [out for packet in packets for out in stage.process([packet])]
    assert [out.message for out in together] == [out.message for out in one_by_one]
    assert [out.picture is packet.picture for out, packet in zip(together, packets, strict=True)] == [True] * 8
    found = [out.message.detections for out in together if isinstance(out.message, Detected)]
    assert len(set(found)) == 5  # the detections of all frames differ


def test_network_sees_the_picture_without_the_defects_of_the_sensor(weights):
    stage, clean = opened(weights, tile=64, tile_overlap=16), noise(60, 80)
    picture = clean.copy()
    picture[20, 30] = 255
    hidden = np.array([(20 * 80 + 30, clean[20, 30])], REPLACED_DTYPE).tobytes()
    intensity = measure(picture, NORM)

    def detections(picture, hidden):
        message = msgspec.structs.replace(prepared(picture).message, intensity=intensity, hidden=hidden)
        (out,) = stage.process([Packet(message, picture)])
        assert out.picture is picture
        return out.message.detections

    assert detections(picture, hidden) == detections(clean, b"") != detections(picture, b"")


def test_black_hot_pictures_give_the_detections_of_white_hot_ones_and_are_passed_on(weights):
    stage, white = opened(weights), noise(60, 80)
    message = prepared(white).message
    (expected,) = stage.process([Packet(message, white)])
    black = Packet(msgspec.structs.replace(message, black_hot=True), 255 - white)
    (out,) = stage.process([black])
    assert out.message == expected.message
    assert out.picture is black.picture


def test_large_pictures_are_tiled(weights):
    # The tiles of both frames share a batch and must not be mixed up.
    stage = opened(weights, tile=64, tile_overlap=16, batch_size=2, mirrored=False, threshold=0.6, low_ratio=1.0)
    pictures = [noise(100, 130, seed=seed) for seed in (1, 2)]
    outs = list(stage.process([prepared(p, seq=seq) for seq, p in enumerate(pictures)]))
    runner, layout = backend(weights), tiles(100, 130, 64, 16)
    assert len(layout) == 6
    for picture, out in zip(pictures, outs, strict=True):
        intensity = measure(picture, NORM)  # statistics of the whole frame are used for all its tiles
        by_hand = stitch(layout, [runner.infer(tile.cut(picture)[None], [intensity])[0] for tile in layout])
        assert out.message.table()["area"].sum() == (by_hand >= 0.6).sum() > 0


def test_default_threshold_is_that_of_the_weights(weights):
    packet = prepared(noise(48, 64))
    scores = {t: next(iter(opened(weights, threshold=t, low_ratio=0.5).process([packet]))) for t in (None, 0.5, 0.9)}
    assert scores[None].message == scores[0.5].message
    assert scores[0.9].message.table()["score"].min() >= 0.45
    assert scores[0.5].message.table()["score"].min() < 0.45


def test_area_and_count_limits_are_applied(weights):
    packet = prepared(noise(96, 96))
    (out,) = opened(weights, min_area=2, max_area=9, max_detections=3).process([packet])
    table = out.message.table()
    assert len(table) == 3
    assert ((table["area"] >= 2) & (table["area"] <= 9)).all()


def test_facts_describe_backend_and_weights(weights):
    assert opened(weights).facts() == {
        "weights": "lively",
        "sha256": backend(weights).manifest.sha256,
        "backend": "torch",
        "device": "cpu",
        "precision": "fp32",
        "chosen": "configured",
    }


def test_weights_that_are_not_there_end_the_start():
    with pytest.raises(BackendError, match="no shipped weights named 'nothing'"):
        opened("nothing")


@pytest.mark.parametrize("tile", [512, 96])
def test_network_receives_change_pictures(change_weights, tile):
    scene = Scene(SceneSpec.from_url("test://sky?width=160&height=128&snr=20&targets=20&camera=still&frames=14"))
    settings = {"threshold": 0.6, "low_ratio": 1.0, "max_area": 20_000, "max_detections": 10_000}
    stage = opened(change_weights, batch_size=8, tile=tile, tile_overlap=32, mirrored=False, **settings)
    runner, layout = backend(change_weights), tiles(128, 160, tile, 32)
    told = False
    for evidence, packet in filmed(scene):
        message, picture = packet.message, packet.picture
        (out,) = stage.process([packet])
        changes = None if evidence is None else change_picture(evidence.significance)
        seen, blind = (
            stitch(
                layout,
                [
                    runner.infer(tile.cut(picture)[None], [message.intensity], None if c is None else [tile.cut(c)])[0]
                    for tile in layout
                ],
            )
            for c in (changes, None)
        )
        network = out.message.table()[out.message.table()["motion"] == 0]
        assert network["area"].sum() == (seen >= 0.6).sum() > 0
        told |= bool(((seen >= 0.6) != (blind >= 0.6)).any())
    assert told


@pytest.mark.parametrize("size", [(96, 64), (70, 48)])  # the second is padded on one side
def test_network_sees_every_frame_mirrored_differently(change_weights, size):
    url = "test://sky?width={}&height={}&snr=20&targets=9&camera=still&frames=16"
    scene = Scene(SceneSpec.from_url(url.format(*size)))
    settings = {"threshold": 0.6, "low_ratio": 1.0, "max_area": 20_000, "max_detections": 10_000}
    stage, runner = opened(change_weights, batch_size=8, **settings), backend(change_weights)
    flips = [(slice(None), slice(None)), np.s_[::-1, :], np.s_[::-1, ::-1], np.s_[:, ::-1]]
    packets = [packet for _, packet in filmed(scene)]
    for k, (packet, out) in enumerate(zip(packets, stage.process(packets), strict=True)):
        planes = packet.picture, change(packet.message.moving, packet.picture)
        maps = []
        for flip in flips:
            picture, changes = (np.ascontiguousarray(plane[flip]) for plane in planes)
            maps.append(runner.infer(picture[None], [packet.message.intensity], [changes])[0][flip])
        assert len({(seen >= 0.6).sum() for seen in maps}) > 1
        table, seen = out.message.table(), maps[k % 4]
        network = table[table["motion"] == 0]
        assert network["area"].sum() == (seen >= 0.6).sum() > 0
        for row in network:
            left, top, width, height = (int(row[name]) for name in ("bx", "by", "bw", "bh"))
            assert seen[top : top + height, left : left + width].max() == pytest.approx(row["score"])
        assert out.picture is packet.picture


def test_change_pictures_of_sources_are_not_mixed_up(change_weights):
    url = "test://sky?width=96&height=96&snr=20&targets=20&camera=still&frames=10&seed={}"
    scenes = [Scene(SceneSpec.from_url(url.format(seed))) for seed in (1, 2)]
    frames = [
        [packet for _, packet in pair]
        for pair in zip(*(filmed(scene, name) for name, scene in zip("ab", scenes, strict=True)), strict=True)
    ]
    together, alone = opened(change_weights, batch_size=8), opened(change_weights, batch_size=8)
    for pair in frames:
        outs = list(together.process(pair))
        assert [out.message for out in outs] == [out.message for packet in pair for out in alone.process([packet])]
