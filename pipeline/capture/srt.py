"""SRT streams, received by the ``ffmpeg`` program because OpenCV's FFmpeg is usually built without SRT."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path

from pipeline import run_folder
from pipeline.capture.address import redact
from pipeline.capture.config import CaptureConfig
from pipeline.errors import SourceError

_POLL_S = 0.02
_STOP_S = 1.0


class SrtRelay:
    """Receives an SRT stream and forwards its packets unchanged over a private Unix socket.

    Args:
        url: ``srt://...`` with all its parameters.
        name: masked address for error messages.
        config: timeouts. The program exits when the stream is silent for the read timeout, or when its output is no
            longer read.

    Attributes:
        address: address to open instead of the URL.

    Raises:
        SourceError: the ``ffmpeg`` program is missing, or there is no stream.
    """

    def __init__(self, url: str, name: str, config: CaptureConfig) -> None:
        program = shutil.which("ffmpeg")
        if program is None:
            raise SourceError(f"{name}: SRT needs the ffmpeg program: apt-get install ffmpeg")
        self._resources = ExitStack()
        folder = self._resources.enter_context(run_folder.folder())  # removed by the next run if this process is killed
        socket = folder / "stream"
        self.address = f"unix:{socket}"
        self._errors = self._resources.enter_context((folder / "errors").open("w+b"))
        # The URL is passed through a pipe: a passphrase in the arguments would be visible to every user of the machine.
        command = [program, "-nostdin", "-v", "error", "-safe", "0", "-f", "concat"]
        command += ["-protocol_whitelist", "srt,udp,pipe,fd,file,crypto", "-i", "pipe:0", "-map", "0:v:0", "-c", "copy"]
        command += ["-f", "mpegts", "-listen", "1", self.address]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self._errors)
        try:
            self._hand_over(url, config)
            deadline = time.monotonic() + config.open_timeout_s
            while not _listens(socket):
                if self._process.poll() is not None:
                    raise SourceError(f"{name}: {self.reason() or 'no SRT stream'}")
                if time.monotonic() > deadline:
                    raise SourceError(f"{name}: no video arrived within {config.open_timeout_s:g} s")
                time.sleep(_POLL_S)
        except BaseException:
            self.close()
            raise

    def _hand_over(self, url: str, config: CaptureConfig) -> None:
        joint = "&" if "?" in url else "?"
        quoted = f"{url}{joint}timeout={round(config.read_timeout_s * 1e6)}".replace("'", "'\\''")
        assert self._process.stdin is not None
        self._process.stdin.write(f"ffconcat version 1.0\nfile '{quoted}'\n".encode())
        self._process.stdin.close()

    def reason(self) -> str:
        """Return the last error message of the program with addresses removed; empty if there is none."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        return redact(lines[-1].rpartition(": ")[2].strip()) if lines else ""

    def close(self) -> None:
        """Stop the program."""
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._resources.close()


def _listens(socket: Path) -> bool:
    """Return whether a Unix socket accepts connections. After it appears, it refuses them until ``listen``."""
    if not socket.exists():
        return False
    try:
        sockets = Path("/proc/net/unix").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # not Linux
        return True
    return re.search(rf" 00010000 .* {re.escape(str(socket))}$", sockets, re.MULTILINE) is not None
