"""Rendered scenes as a source: effects of ``loop`` and ``live``."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.capture import scene_source
from pipeline.capture.scene import Scene, SceneSpec
from pipeline.capture.scene_source import SceneSource

URL = "test://demo?width=64&height=48&frames=3"


def played(url: str, count: int) -> list:
    source = SceneSource(url)
    source.open()
    grabs = [source.grab() for _ in range(count)]
    source.close()
    return grabs


def test_looped_scene_shows_the_same_pictures_again_and_counts_on() -> None:
    scene = Scene(SceneSpec.from_url(URL))
    grabs = played(f"{URL}&loop=1", 8)
    assert [grab.frame for grab in grabs] == list(range(8))
    for k, grab in enumerate(grabs):
        assert np.array_equal(grab.picture, scene.frame(k % 3))


def test_looped_scene_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    frame = Scene.frame
    monkeypatch.setattr(Scene, "frame", lambda self, k: rendered.append(k) or frame(self, k))
    played(f"{URL}&loop=1", 8)
    assert rendered == [0, 1, 2]


def test_pictures_that_would_take_too_much_memory_are_rendered_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene_source, "KEPT_BYTES", 2 * 64 * 48 * 2)
    rendered = []
    frame = Scene.frame
    monkeypatch.setattr(Scene, "frame", lambda self, k: rendered.append(k) or frame(self, k))
    played(f"{URL}&loop=1", 6)
    assert rendered == [0, 1, 2, 2]


def test_scene_without_a_loop_ends() -> None:
    assert [grab is None for grab in played(URL, 5)] == [False, False, False, True, True]
