"""Detections can be cached and tracked again."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path

import cv2
import msgspec
import pytest

import nets
from nets.manifest import FOLDER, sha256
from pipeline.capture.address import source_ids
from pipeline.config import Config, load
from pipeline.errors import ConfigError
from pipeline.messages import Detected
from tools import replay
from tools.render_scene import main as render
from tools.replay import DetectionCache, detect, track

SCENE = "test://sky?width=96&height=64&frames=6&targets=2&snr=60&camera=still"
WORDS = ["detect.threads=1"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scene")
    assert render([SCENE, "--out", str(out), "--format", "png16"]) == 0
    return next(path.parent for path in sorted(out.rglob("*.png")))


def test_cached_detections_give_the_same_tracks_and_other_settings_are_cached_separately(
    frames: Path, tmp_path: Path
) -> None:
    config, kept = load(None, WORDS), DetectionCache(tmp_path / "kept")

    def tracks(seen: Iterable[Sequence[Detected]]) -> list[bytes]:
        return [message.tracks for (message,) in track(seen, config, [None])]

    direct = tracks(detect(str(frames), config, [None]))
    first = tracks(kept.detect(str(frames), config, [None]))
    (file,) = (tmp_path / "kept").iterdir()
    stamp = file.stat().st_mtime_ns
    assert direct == first == tracks(kept.detect(str(frames), config, [None]))
    assert any(direct)
    assert file.stat().st_mtime_ns == stamp

    kept.detect(str(frames), load(None, [*WORDS, "track.confirm_hits=1", "detect.threads=2"]), [None])
    assert len(list((tmp_path / "kept").iterdir())) == 1, "neither tracker settings nor threads change the detections"
    kept.detect(str(frames), load(None, [*WORDS, "detect.min_area=3"]), [None])
    kept.detect(str(frames), config, [0.5])
    kept.detect(str(frames), config, [None], 3)
    next(frames.iterdir()).touch()
    kept.detect(str(frames), config, [None])
    assert len(list((tmp_path / "kept").iterdir())) == 5


def test_a_recording_has_its_name_and_the_masks_of_that_name(frames: Path, tmp_path: Path) -> None:
    mast = shutil.copytree(frames, tmp_path / "Mast 1")
    config = load(None, [*WORDS, "detect.masks={mast-1: [[[-1, -1], [96, -1], [96, 64], [-1, 64]]]}"])
    for folder, name in ((mast, "mast-1"), (frames, *source_ids([str(frames)]))):
        seen = [message for (message,) in detect(str(folder), config, [None])]
        assert {message.header.source for message in seen} == {name}
        assert any(len(message.table()) for message in seen) == (name != "mast-1")


def test_a_black_hot_recording_is_tracked_like_the_white_hot_one(frames: Path, tmp_path: Path) -> None:
    for picture in frames.iterdir():
        cv2.imwrite(str(tmp_path / picture.name), ~cv2.imread(str(picture), cv2.IMREAD_UNCHANGED))
    white, black = load(None, WORDS), load(None, [*WORDS, "preprocess.black_hot=true"])

    def detections(folder: Path, config: Config) -> list[bytes]:
        return [message.detections for (message,) in detect(str(folder), config, [None])]

    assert any(detections(frames, white))
    assert detections(tmp_path, black) == detections(frames, white) != detections(tmp_path, white)


def test_changed_code_invalidates_the_cache(frames: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config, kept, root = load(None, WORDS), DetectionCache(tmp_path / "kept"), Path(replay.__file__).parents[1]

    def detect_with(checkout: Path) -> int:
        """Run the detection and return the number of cache files afterwards."""
        monkeypatch.setattr(replay, "_ROOT", checkout)
        kept.detect(str(frames), config, [None])
        return len(list((tmp_path / "kept").iterdir()))

    def checkout(name: str) -> Path:
        for part in ("nets", "pipeline", "tools"):
            shutil.copytree(
                root / part, tmp_path / name / part, ignore=shutil.ignore_patterns("weights", "__pycache__")
            )
        return tmp_path / name

    def edit(file: Path) -> None:
        file.write_text(file.read_text() + "\nADDED = 1\n")

    assert detect_with(root) == detect_with(checkout("same")) == 1
    edit(checkout("tracker") / "pipeline" / "track" / "tracker.py")
    assert detect_with(tmp_path / "tracker") == 1
    for count, file in enumerate(
        (
            "pipeline/moving/change_detection.py",
            "pipeline/detect/backends/base.py",
            "pipeline/messages.py",
            "nets/unet.py",
        ),
        2,
    ):
        edit(checkout(str(count)) / file)
        assert detect_with(tmp_path / str(count)) == count


def test_the_cache_depends_on_weights_and_preprocessing(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def digest(*words: str) -> str:
        return replay._digest(str(frames), load(None, [*WORDS, *words]), [None], None)

    manifest = nets.read_manifest("edge")
    before = digest("detect.weights=edge")
    assert digest("detect.weights=edge", "preprocess.black_hot=true") != before
    monkeypatch.setattr(nets, "read_manifest", lambda _: msgspec.structs.replace(manifest, sha256="0" * 64))
    assert digest("detect.weights=edge") != before


def test_another_backend_or_artefact_invalidates_the_cache(frames: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    for file in FOLDER.glob("edge*"):
        shutil.copy(file, tmp_path)
    config, kept = (
        load(None, [*WORDS, f"detect.weights={tmp_path / 'edge.safetensors'}"]),
        DetectionCache(tmp_path / "kept"),
    )
    manifest = tmp_path / "edge-openvino-int8.json"

    def count() -> int:
        kept.detect(str(frames), config, [None])
        return len(list((tmp_path / "kept").iterdir()))

    assert count() == count() == 1
    model, text = tmp_path / "edge-openvino-int8.xml", manifest.read_text()
    before = sha256(model)
    model.write_bytes(model.read_bytes() + b"\n")
    manifest.write_text(text.replace(before, sha256(model)))
    assert count() == 2
    manifest.unlink()
    assert count() == 3


def test_a_spoilt_file_is_named(frames: Path, tmp_path: Path) -> None:
    config, kept = load(None, WORDS), DetectionCache(tmp_path)
    kept.detect(str(frames), config, [None])
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xc1")
    with pytest.raises(ConfigError, match=f"{file.name}: not a file of cached detections"):
        kept.detect(str(frames), config, [None])


def test_a_folder_that_cannot_be_created_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/kept: Not a directory"):
        DetectionCache(tmp_path / "file" / "kept")
