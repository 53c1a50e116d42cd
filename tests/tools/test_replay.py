"""What was detected can be kept and tracked again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from pipeline.config import load
from pipeline.errors import ConfigError
from pipeline.messages import Detected
from tools.render_scene import main as render
from tools.replay import Kept, detect, track

SCENE = "test://sky?width=96&height=64&frames=6&targets=2&snr=60&camera=still"
WORDS = ["detect.threads=1"]


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scene")
    assert render([SCENE, "--out", str(out), "--format", "png16"]) == 0
    return next(path.parent for path in sorted(out.rglob("*.png")))


def test_kept_detections_give_the_same_tracks_and_other_settings_are_kept_apart(frames: Path, tmp_path: Path) -> None:
    config, kept = load(None, WORDS), Kept(tmp_path / "kept")

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
    assert len(list((tmp_path / "kept").iterdir())) == 1, "neither tracker nor threads change what is detected"
    kept.detect(str(frames), load(None, [*WORDS, "detect.min_area=3"]), [None])
    kept.detect(str(frames), config, [0.5])
    kept.detect(str(frames), config, [None], 3)
    next(frames.iterdir()).touch()
    kept.detect(str(frames), config, [None])
    assert len(list((tmp_path / "kept").iterdir())) == 5


def test_a_spoilt_file_is_named(frames: Path, tmp_path: Path) -> None:
    config, kept = load(None, WORDS), Kept(tmp_path)
    kept.detect(str(frames), config, [None])
    (file,) = tmp_path.iterdir()
    file.write_bytes(b"\xc1")
    with pytest.raises(ConfigError, match=f"{file.name}: not what was kept there"):
        kept.detect(str(frames), config, [None])


def test_a_folder_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="file/kept: Not a directory"):
        Kept(tmp_path / "file" / "kept")
