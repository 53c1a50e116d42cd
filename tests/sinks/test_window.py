from __future__ import annotations

import sys

import pytest

from pipeline.errors import ConfigError
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.stage import SinkStage


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_without_a_display_the_run_does_not_start(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(ConfigError, match="no display to open a window on") as caught:
        SinkStage(SinkConfig(display=True), None).open()
    assert caught.value.exit_code == 2


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems always have a display")
def test_a_display_that_does_not_answer_does_not_end_the_process(monkeypatch, tmp_path):
    (tmp_path / "cv2.py").write_text("import pathlib, sys; pathlib.Path('executed').touch(); sys.exit()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv("DISPLAY", ":987")
    with pytest.raises(ConfigError, match="no window can be opened on this display; run without --display"):
        SinkStage(SinkConfig(display=True), None).open()
    assert not (tmp_path / "executed").exists(), "nothing in the current folder is"
