"""Folders: a run writes to its output folder only, and its private folder is protected from other users."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import run_folder
from pipeline.capture.address import source_ids
from pipeline.config import Config
from pipeline.errors import ConfigError, SourceError
from pipeline.journal import Journal
from pipeline.messages import Packet
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.stage import SinkStage
from pipeline.supervisor import Supervisor
from tests.conftest import ROOT, locked
from tests.messages import tracked

hostile = st.one_of(
    st.text(min_size=1),
    st.lists(st.sampled_from(["..", ".", "/", "\\", "a", "~", "\n", "%2e%2e", "\u2025", "con"]), min_size=1).map(
        "".join
    ),
)


prefixes = st.sampled_from(["", "test://", "rtsp://u:p@", "zmq+tcp://", "http://h/", "file://", "/dev/v4l/"])


@given(st.lists(st.builds(str.__add__, prefixes, hostile), min_size=1, max_size=4))
def test_ids_cannot_leave_the_output_folder(addresses: list[str]) -> None:
    try:
        ids = source_ids(addresses)
    except SourceError:
        return
    out = Path("/out")
    assert len(set(ids)) == len(addresses)
    for id_ in ids:
        assert re.fullmatch("[a-z0-9_-]{1,32}", id_)
        assert Path(os.path.normpath(out / id_)).parent == out


@pytest.mark.parametrize("source", ["..", "../x", "a/b", ".", "", "/etc/x", "a/../../x"])
def test_sinks_refuse_sources_outside_the_output_folder(tmp_path: Path, source: str) -> None:
    """A message created in this process has not been checked by ``wire.decode``."""
    out = tmp_path / "deep" / "out"
    stage = SinkStage(SinkConfig(), out)
    stage.open()
    message = tracked(source=source)
    with pytest.raises(ConfigError, match="outside"):
        stage.process([Packet(message, np.zeros((64, 80), np.uint8))])
    stage.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_the_folder_of_unix_sockets_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = os.umask(0)
    try:
        with run_folder.folder() as folder:
            assert folder.parent == tmp_path
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_lock_and_not_process_id_shows_that_a_folder_is_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(["true"]) as gone:
        pass
    live, stale = tmp_path / f"irst-{gone.pid}-live", tmp_path / f"irst-{os.getpid()}-stale"
    for folder in (live, stale):
        folder.mkdir()
        (folder / run_folder.STATUS).touch()
    with locked(live), run_folder.folder() as own:
        assert set(tmp_path.iterdir()) == {live, own}
        stale.mkdir()
        (stale / run_folder.STATUS).touch()
        assert run_folder.status_sockets() == [live / run_folder.STATUS]
    with run_folder.folder() as own:
        assert list(tmp_path.iterdir()) == [own]


def test_a_folder_that_cannot_be_created_or_filled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")
    with pytest.raises(ConfigError, match=r"^/proc: no folder for a run can be created: "), run_folder.folder():
        pass
    with pytest.raises(ConfigError, match=r"^/dev/full: No space left on device$"):
        Journal(Path("/dev/full"), ["a"])


def test_libraries_do_not_report_their_use(tmp_path: Path) -> None:
    """ONNX Runtime keeps the session of its uploader in the temporary folder."""
    pytest.importorskip("onnxruntime")
    command = [sys.executable, "-c", "import pipeline.detect.backends.onnx_runtime"]
    subprocess.run(command, env={**os.environ, "TMPDIR": str(tmp_path)}, cwd=ROOT, check=True, timeout=100)
    assert list(tmp_path.iterdir()) == []


def test_failed_start_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(ConfigError):  # the id is not a valid file name
        Supervisor(Config(), [("no/such", "test://demo")], None)
    assert list(tmp_path.iterdir()) == []


def test_folders_of_other_users_are_ignored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    own, foreign = (tmp_path / f"irst-{os.getpid()}-{name}" for name in ("own", "foreign"))
    for folder in (own, foreign):
        folder.mkdir()
        (folder / run_folder.STATUS).touch()
    (tmp_path / f"irst-{os.getpid()}-link").symlink_to(own)
    with locked(own), locked(foreign):
        if os.getuid() == 0:
            os.chown(foreign, 65534, 65534)
        else:
            foreign.rename(tmp_path / "elsewhere")
        assert run_folder.status_sockets() == [own / run_folder.STATUS]
