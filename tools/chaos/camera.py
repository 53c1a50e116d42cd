"""Network camera with faults on demand: MPEG-TS over HTTP, encoded by ffmpeg from a video or a test picture."""

from __future__ import annotations

import random
import shutil
import socket
import subprocess
import threading
from contextlib import suppress
from typing import Literal

FFMPEG = shutil.which("ffmpeg")
ENCODER = ("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "10", "-f", "mpegts", "-")
HEADER = b"HTTP/1.0 200 OK\r\nContent-Type: video/mp2t\r\n\r\n"
SMALL = (160, 128)
FPS = 25


class Camera:
    """Context manager that serves one stream to all clients from a thread.

    Args:
        video: file to play in a loop; None for a moving test picture.

    Attributes:
        mode: ``play``; ``garbage`` to send noise instead of the stream; ``stall`` to send nothing on open connections.
    """

    def __init__(self, video: str | None = None) -> None:
        self.mode: Literal["play", "garbage", "stall"] = "play"
        self._input = ("-stream_loop", "-1", "-i", video) if video else ("-f", "lavfi", "-i", "testsrc2=s=160x128")
        self._noise = random.Random(0)
        self._port = 0
        self._server: socket.socket | None = None
        self._viewers: list[socket.socket] = []
        self._coder: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """URL of the stream."""
        return f"http://127.0.0.1:{self._port}/live.ts"

    def __enter__(self) -> Camera:
        self.play()
        self.go_up()
        return self

    def __exit__(self, *_: object) -> None:
        self.go_down()
        self._end_coder()

    def play(self, size: tuple[int, int] | None = None) -> None:
        """Start the video from the beginning, scaled to (width, height) if given; connections stay open."""
        self._end_coder()
        assert FFMPEG is not None
        scale = ("-vf", f"scale={size[0]}:{size[1]}") if size else ()
        command = [
            FFMPEG,
            "-v",
            "quiet",
            "-nostdin",
            "-re",
            *self._input,
            *scale,
            "-r",
            str(FPS),
            "-pix_fmt",
            "yuv420p",
        ]
        self._coder = subprocess.Popen([*command, *ENCODER], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        threading.Thread(target=self._pump, args=(self._coder,), daemon=True).start()

    def go_up(self) -> None:
        """Start listening, always on the same port."""
        self._server = socket.create_server(("127.0.0.1", self._port), reuse_port=False)
        self._port = self._server.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._server,), daemon=True).start()

    def go_down(self) -> None:
        """Stop listening and close all connections."""
        server, self._server = self._server, None
        if server is not None:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)  # wakes the thread that blocks in accept
            server.close()
        for viewer in self._viewers[:]:
            self._hang_up(viewer)

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                viewer, _ = server.accept()
                viewer.settimeout(1.0)
                with suppress(OSError):
                    viewer.recv(4096)
                    viewer.sendall(HEADER)
                    self._viewers.append(viewer)

    def _pump(self, coder: subprocess.Popen[bytes]) -> None:
        assert coder.stdout is not None
        while data := coder.stdout.read1(65_536):  # type: ignore[attr-defined]
            if self.mode == "stall":
                continue
            for viewer in self._viewers[:]:
                try:
                    viewer.sendall(self._noise.randbytes(len(data)) if self.mode == "garbage" else data)
                except OSError:
                    self._hang_up(viewer)

    def _hang_up(self, viewer: socket.socket) -> None:
        with suppress(ValueError):
            self._viewers.remove(viewer)
        viewer.close()

    def _end_coder(self) -> None:
        if self._coder is not None:
            self._coder.kill()
            self._coder.wait()
            self._coder = None
