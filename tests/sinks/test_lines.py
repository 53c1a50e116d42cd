from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import ConfigError, StageError
from pipeline.sinks.lines import LineFile
from tests.conftest import ROOT
from tests.sinks.files import descriptors


def test_lines_are_written_immediately(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("from an earlier run\n")
    file = LineFile(path)
    assert path.read_bytes() == b""
    file.write(b"one\n")
    assert path.read_bytes() == b"one\n"
    file.write(b"")
    file.write(b"two\nthree\n")
    assert path.read_bytes() == b"one\ntwo\nthree\n"
    file.close()


def python(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code, *args], capture_output=True, text=True, cwd=ROOT, check=False)


def test_lines_survive_a_kill(tmp_path):
    path = tmp_path / "x.jsonl"
    done = python(
        "import os, sys; from pathlib import Path; from pipeline.sinks.lines import LineFile\n"
        "file = LineFile(Path(sys.argv[1])); [file.write(b'%d\\n' % i) for i in range(100)]; os.kill(os.getpid(), 9)",
        str(path),
    )
    assert done.returncode == -signal.SIGKILL
    assert path.read_text().split() == [str(i) for i in range(100)]


def test_line_exceeding_the_file_size_limit_is_removed(tmp_path):
    # A file size limit interrupts a write in the middle of a line, like a full disk.
    path = tmp_path / "x.jsonl"
    done = python(
        "import resource, sys; from pathlib import Path; from pipeline.sinks.lines import LineFile\n"
        "file = LineFile(Path(sys.argv[1])); resource.setrlimit(resource.RLIMIT_FSIZE, (25, 25))\n"
        "file.write(b'a' * 9 + b'\\n'); file.write(b'b' * 9 + b'\\n')\n"
        "try: file.write(b'c' * 9 + b'\\n')\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        "file.write(b'd' * 4 + b'\\n'); file.close()",
        str(path),
    )
    assert done.stdout == f"StageError cannot write {path}: File too large\n"
    assert path.read_text() == "a" * 9 + "\n" + "b" * 9 + "\ndddd\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_full_disk_error_names_the_file():
    file = LineFile(Path("/dev/full"))
    with pytest.raises(StageError, match=r"^cannot write /dev/full: No space left on device$"):
        file.write(b"line\n")


@pytest.mark.parametrize(("name", "reason"), [("absent/x.jsonl", "No such file"), ("folder", "Is a directory")])
def test_a_file_that_cannot_be_made_is_named(tmp_path, name, reason):
    (tmp_path / "folder").mkdir()
    with pytest.raises(ConfigError, match=f"cannot write .*{name}: {reason}"):
        LineFile(tmp_path / name)


def test_close_releases_the_descriptor(tmp_path):
    before = len(descriptors())
    for _ in range(20):
        LineFile(tmp_path / "x").close()
    assert len(descriptors()) == before


@pytest.mark.parametrize("size", [3, 70_000, 140_000])
@pytest.mark.parametrize("torn", [b"", b"torn in the mid", b"t" * 70_000])
def test_resume_drops_only_an_incomplete_last_line(tmp_path, size, torn):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b"first\n" + b"l" * size + b"\n" + torn)
    file = LineFile(path, resume=True)
    assert file.last == b"l" * size
    file.write(b"next\n")
    file.close()
    assert path.read_bytes() == b"first\n" + b"l" * size + b"\nnext\n"


@pytest.mark.parametrize("content", [None, b"", b"torn"])
def test_resume_of_a_file_without_complete_lines_starts_over(tmp_path, content):
    path = tmp_path / "x.jsonl"
    if content is not None:
        path.write_bytes(content)
    file = LineFile(path, resume=True)
    assert file.last == b""
    file.write(b"one\n")
    file.close()
    assert path.read_bytes() == b"one\n"
