"""Invalid messages from a camera host, and invalid addresses: one line of error each."""

from __future__ import annotations

import numpy as np
import pytest
import zmq

from pipeline.capture.config import CaptureConfig
from pipeline.capture.factory import open_source
from pipeline.capture.remote import Timeline
from pipeline.errors import SourceError
from pipeline.loopback import is_loopback
from pipeline.queues import Sender
from pipeline.wire import MAGIC, WireError
from tests.capture.remote_host import GOOD, PICTURE, QUICK, Impostor, Read, bytes_of
from tests.capture.servers import free_port
from tests.capture.streams import error_of
from tests.conftest import wait_until
from tests.messages import end, frame, frame_header


def test_remote_failure_is_reported_in_one_sanitised_line(read: Read, context: zmq.Context) -> None:
    sender = Sender(context, "tcp://127.0.0.1:*")
    sender.offer(frame(np.zeros((32, 32), np.uint16)))
    words = "rtsp://u:hunter2@cam/x\x1b[2J\nbroke " + "x" * 9000
    sender.offer(end(reason="failed", error=words))
    url = "zmq+" + sender.endpoint
    it = read(url, QUICK)
    wait_until(lambda: not it.thread.is_alive(), pause=lambda: sender.pump(0.05))
    sender.close()
    assert len(it.grabs) == 1
    text = str(it.error)
    assert text.startswith(f"{url}: remote error: rtsp://***@cam/x?[2J broke xx")
    assert len(text) < 300


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ([b"HTTP/1.1 200 OK"], "malformed message: message of 1 parts"),
        ([b"IRST\x00\x63", b"", b""], "other program or schema version"),
        ([MAGIC, b"\xc1" * 50, b""], "bad message"),
        ([*GOOD[:2], bytes(7)], "picture of 7 bytes"),
        (bytes_of(frame(np.zeros((1, 1), np.uint16))), "picture of 1x1 px is smaller than 32x32"),
        (bytes_of(frame(PICTURE, frame=1 << 60)), "out of range"),
        (bytes_of(frame(PICTURE, pts=1e300)), "out of range"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_malformed_messages_are_one_line(read: Read, context: zmq.Context, parts: list[bytes], says: str) -> None:
    impostor = Impostor(context, [parts])
    it = read(impostor.url, QUICK)
    wait_until(lambda: it.error is not None, pause=impostor.serve)
    impostor.socket.close()
    assert str(it.error).startswith(f"{impostor.url}: ")
    assert says in str(it.error)


def test_reconnects_after_a_malformed_message(
    read: Read, context: zmq.Context, caplog: pytest.LogCaptureFixture
) -> None:
    impostor = Impostor(context, [GOOD, [b"nonsense", b""]], [bytes_of(frame(PICTURE, seq=1))])
    it = read(impostor.url, QUICK)
    wait_until(lambda: len(it.grabs) == 2, pause=impostor.serve)
    it.close()
    impostor.socket.close()
    assert [grab.frame for grab in it.grabs] == [0, 1]
    assert it.source.reconnects == 1
    assert [record.getMessage() for record in caplog.records if "malformed" in record.getMessage()] == [
        f"{impostor.url}: malformed message: message starts with b'nonsense', expected {MAGIC!r}: "
        "other program or schema version"
    ]


def test_port_of_another_service() -> None:
    port = free_port()
    url = f"zmq+tcp://127.0.0.1:{port}"
    assert error_of(url, QUICK) == f"{url}: connection refused by port {port} of 127.0.0.1"
    url = "zmq+tcp://localhost:1?server=x"
    assert "refused by port 1" in error_of(url, QUICK)


def test_silent_host(context: zmq.Context) -> None:
    impostor = Impostor(context)
    config = CaptureConfig(open_timeout_s=0.3)
    assert error_of(impostor.url, config) == f"{impostor.url}: no frame arrived within 0.3 s (open_timeout_s)"
    impostor.socket.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("zmq+tcp://127.0.0.1", "names no port"),
        ("zmq+tcp://:5", "names no host"),
        ("zmq+tcp://127.0.0.1:99999", "not a valid host and port"),
        ("zmq+tcp://u:hunter2@127.0.0.1:5", "user and password are not supported"),
        ("zmq+tcp://127.0.0.1:5/path", "expected zmq+tcp://host:port"),
        ("zmq+tcp://127.0.0.1:5?serer=x", "expected zmq+tcp://host:port"),
    ],
)
def test_invalid_addresses(url: str, says: str) -> None:
    with pytest.raises(SourceError, match=says.replace("+", r"\+")) as caught:
        open_source(url, QUICK)
    assert "hunter2" not in str(caught.value)


def test_timeline_matches_expected_values() -> None:
    """Numbers are kept as sent; duplicates are skipped; a second session continues where the first was lost."""
    timeline = Timeline()
    second = 1_000_000_000

    def place(session: str, seq: int, number: int, pts: float, at_s: float) -> tuple[int, float] | None:
        header = frame_header((32, 32), seq=seq, frame=number, pts=pts)
        return timeline.place(_with(header, session), int(at_s * second))

    assert place("a", 4, 10, 1.0, 100.0) == (10, 1.0)
    assert place("a", 5, 12, 1.5, 100.5) == (12, 1.5)
    assert place("a", 5, 12, 1.5, 100.6) is None
    assert place("b", 0, 0, 0.25, 103.5) == (13, 4.5)
    assert place("b", 1, 2, 0.5, 103.75) == (15, 4.75)
    with pytest.raises(WireError, match="frame 1 after frame 2"):
        place("b", 2, 1, 0.75, 104.0)
    with pytest.raises(WireError, match="frame of source 'other' after those of 'a'"):
        timeline.place(_with(frame_header((32, 32), source="other", seq=3, frame=9), "b"), 105 * second)


def _with(header, session):
    from msgspec.structs import replace

    return replace(header, session=session)


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("10.0.0.5", False),
        ("*", False),
        ("lo", False),
        ("camera.local", False),
        ("127.0.0.1.evil.example", False),
    ],
)
def test_is_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback
