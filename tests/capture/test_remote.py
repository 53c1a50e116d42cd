"""Cameras of other machines: a real server process, and this end of the line."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pytest
import zmq

from pipeline import keys
from pipeline.capture.config import CaptureConfig, ReconnectConfig, RemoteConfig
from pipeline.capture.factory import open_source
from pipeline.capture.remote import Timeline, is_loopback
from pipeline.capture.scene import Scene, SceneSpec
from pipeline.errors import ConfigError, SourceError
from pipeline.messages import Packet
from pipeline.queues import Sender
from pipeline.wire import MAGIC, WireError
from tests.capture.conftest import read_all
from tests.capture.servers import free_port
from tests.capture.streams import Reading, error_of, reading
from tests.conftest import ROOT, wait_until
from tests.messages import end, frame, frame_header

SCENE = "test://demo?width=96&height=96&frames=8"
ENDLESS = "test://demo?width=96&height=96&frames=20000&fps=50&live=1"
QUICK = CaptureConfig(
    open_timeout_s=10, read_timeout_s=2, reconnect=ReconnectConfig(initial_s=0.05, max_s=0.2, give_up_s=30)
)


@pytest.fixture
def context() -> Iterator[zmq.Context]:
    made = zmq.Context()
    yield made
    made.destroy(0)


Read = Callable[[str, CaptureConfig], Reading]


@pytest.fixture
def read() -> Iterator[Read]:
    """Starts reading a remote camera; closed after the test, however that ends."""
    with ExitStack() as sources:
        yield lambda url, config: sources.enter_context(reading(url, config))


class Serving:
    """``python -m pipeline.serve`` in a process of its own."""

    def __init__(self, *words: str, bind: str = "tcp://127.0.0.1:*") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.serve", *words, "--bind", bind],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.first_line = self.process.stdout.readline()
        self.url = "zmq+" + self.first_line.split(" at ")[-1].strip()

    def finish(self) -> tuple[int, str, str]:
        out, errors = self.process.communicate(timeout=30)
        return self.process.returncode, out, errors


@contextmanager
def serving(*words: str, **options: str) -> Iterator[Serving]:
    server = Serving(*words, **options)
    try:
        yield server
    finally:
        server.process.kill()
        server.process.communicate()


def test_pictures_arrive_as_they_were_with_number_time_and_depth_of_the_other_end() -> None:
    scene = Scene(SceneSpec.from_url(SCENE))
    with serving(SCENE) as server:
        grabs = read_all(open_source(server.url, QUICK))
        assert server.finish() == (0, "captured 8, seen 8, dropped 0, lost 0\n", "")
    assert len(grabs) == 8
    for k, grab in enumerate(grabs):
        assert grab.picture.dtype == np.uint16
        np.testing.assert_array_equal(grab.picture, scene.frame(k))
        assert (grab.frame, grab.pts, grab.bit_depth) == (k, k / scene.spec.fps, scene.spec.bit_depth)
    now = time.monotonic_ns()
    assert all(now - 60e9 < grab.mono_ns < now for grab in grabs)


def test_server_that_is_killed_and_started_again_is_taken_up_again(read: Read) -> None:
    port = free_port()
    bind = f"tcp://127.0.0.1:{port}"
    with serving(ENDLESS, bind=bind) as first:
        it = read(first.url, QUICK)
        it.wait_for(5)
        first.process.kill()
        wait_until(lambda: it.source.state == "reconnecting")
        seen = len(it.grabs)
    with serving(ENDLESS, bind=bind):
        it.wait_for(seen + 5)
        it.close()
    assert it.error is None
    assert it.source.reconnects == 1
    assert (np.diff([grab.frame for grab in it.grabs]) > 0).all()
    assert (np.diff([grab.pts for grab in it.grabs]) > 0).all()


def test_stopped_server_is_looked_for_again_and_its_viewer_has_all_it_sent(read: Read) -> None:
    with serving(ENDLESS, "--policy", "lossless") as server:
        it = read(server.url, QUICK)
        it.wait_for(3)
        server.process.send_signal(signal.SIGTERM)
        code, out, errors = server.finish()
        wait_until(lambda: it.source.state == "reconnecting")
        it.close()
    assert (code, errors) == (130, "")
    assert out == f"captured {len(it.grabs)}, seen {len(it.grabs)}, dropped 0, lost 0\n"


def test_one_viewer_at_a_time(read: Read) -> None:
    with serving(ENDLESS) as server:
        first = read(server.url, QUICK)
        first.wait_for(3)
        assert error_of(server.url, QUICK) == f"{server.url}: over there: busy with another viewer"
        seen = len(first.grabs)
        first.wait_for(seen + 3)
        first.close()
        again = read(server.url, QUICK)
        again.wait_for(3)
        again.close()
        assert (first.error, again.error, first.source.reconnects) == (None, None, 0)
        server.process.send_signal(signal.SIGINT)
        code, out, errors = server.finish()
    assert (code, errors) == (130, "serve: a second receiver came and was refused\n")
    assert "captured" in out


def test_what_the_viewer_does_not_take_is_dropped_at_the_camera() -> None:
    with serving(ENDLESS, "--policy", "latest") as server:
        source = open_source(server.url, QUICK)
        source.open()
        frames = []
        for _ in range(6):
            time.sleep(0.1)
            grab = source.grab()
            assert grab is not None
            frames.append(grab.frame)
        source.close()
        server.process.send_signal(signal.SIGINT)
        _, out, _ = server.finish()
    assert frames[-1] - frames[0] > 5, "numbers show what is missing"
    assert " superseded" in out


def test_source_that_fails_over_there_ends_both(tmp_path: Path) -> None:
    gone = tmp_path / "gone.mp4"
    with serving(str(gone)) as server:
        code, _, errors = server.finish()
    assert (code, errors) == (3, f"serve: error: {gone}: no such file\n")


def test_failure_over_there_is_told_here_in_one_clean_line(read: Read, context: zmq.Context) -> None:
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
    assert text.startswith(f"{url}: over there: rtsp://***@cam/x?[2J broke xx")
    assert len(text) < 300


class Impostor:
    """A ROUTER that answers whoever comes with the given parts, one message per connection."""

    def __init__(self, context: zmq.Context, *answers: list[bytes]) -> None:
        self.socket = context.socket(zmq.ROUTER)
        self.socket.linger = 0
        self.url = f"zmq+tcp://127.0.0.1:{self.socket.bind_to_random_port('tcp://127.0.0.1')}"
        self._answers = list(answers)
        self._seen: set[bytes] = set()

    def serve(self) -> None:
        while self.socket.poll(20):
            who = self.socket.recv_multipart()[0]
            if who not in self._seen and self._answers:
                self._seen.add(who)
                for parts in self._answers.pop(0):
                    self.socket.send_multipart([who, *parts])


def bytes_of(packet: Packet) -> list[bytes]:
    from pipeline.wire import encode

    return [bytes(part) for part in encode(packet)]


PICTURE = np.zeros((32, 32), np.uint16)
GOOD = bytes_of(frame(PICTURE))


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


def test_after_a_malformed_message_the_camera_is_asked_again(
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


def test_port_that_is_no_camera_host() -> None:
    port = free_port()
    url = f"zmq+tcp://127.0.0.1:{port}"
    assert error_of(url, QUICK) == f"{url}: connection refused by port {port} of 127.0.0.1"
    url = "zmq+tcp://localhost:1?server=x"
    assert "refused by port 1" in error_of(url, QUICK)


def test_host_that_says_nothing(context: zmq.Context) -> None:
    impostor = Impostor(context)
    config = CaptureConfig(open_timeout_s=0.3)
    assert error_of(impostor.url, config) == f"{impostor.url}: no picture came within 0.3 s (open_timeout_s)"
    impostor.socket.close()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("zmq+tcp://127.0.0.1", "names no port"),
        ("zmq+tcp://:5", "names no host"),
        ("zmq+tcp://127.0.0.1:99999", "not a valid host and port"),
        ("zmq+tcp://u:hunter2@127.0.0.1:5", "takes no user and password"),
        ("zmq+tcp://127.0.0.1:5/path", "expected zmq+tcp://host:port"),
        ("zmq+tcp://127.0.0.1:5?serer=x", "expected zmq+tcp://host:port"),
    ],
)
def test_addresses_that_are_none(url: str, says: str) -> None:
    with pytest.raises(SourceError, match=says.replace("+", r"\+")) as caught:
        open_source(url, QUICK)
    assert "hunter2" not in str(caught.value)


def test_timeline_by_hand() -> None:
    """Numbers as sent; what comes twice is left out; a second session goes on where the first was lost."""
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
def test_what_is_this_machine(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


class Machines:
    """Folders of keys of a camera host, a viewer that it trusts, and a stranger."""

    def __init__(self, folder: Path) -> None:
        for name in ("camera", "viewer", "stranger"):
            keys.create(folder / name, name)
        self.camera, self.viewer, self.stranger = (folder / name for name in ("camera", "viewer", "stranger"))
        trust(self.camera, self.viewer)
        trust(self.viewer, self.camera)
        trust(self.stranger, self.camera)


def trust(who: Path, whom: Path) -> None:
    (who / keys.TRUSTED / f"{whom.name}.key").write_bytes((whom / f"{whom.name}.key").read_bytes())
    (who / keys.TRUSTED / f"{whom.name}.key").chmod(0o600)


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path)


def trusting(folder: Path | None) -> CaptureConfig:
    remote = RemoteConfig(keys=str(folder) if folder is not None else None)
    return CaptureConfig(open_timeout_s=10, read_timeout_s=2, remote=remote)


def test_only_those_who_know_each_other_meet(read: Read, machines: Machines) -> None:
    with serving(SCENE, "--keys", str(machines.camera)) as server:
        url = server.url
        refused = f"{url}: does not know this machine: copy stranger.key to its folder trusted"
        assert error_of(url, trusting(machines.stranger)) == refused
        assert error_of(url, trusting(None)) == (
            f"{url}: broke off: it wants keys (capture.remote.keys), or is no camera host"
        )
        trust(machines.viewer, machines.stranger)
        wrong = f"{url}?server=stranger"
        assert error_of(wrong, trusting(machines.viewer)) == (
            f"{wrong}: broke off: it is not the owner of stranger.key, or uses no keys"
        )
        it = read(f"{url}?server=camera", trusting(machines.viewer))
        it.thread.join(30)
        assert (it.error, len(it.grabs)) == (None, 8), "none of them has taken a picture away"
        code, out, errors = server.finish()
    assert (code, out) == (0, "captured 8, seen 8, dropped 0, lost 0\n")
    stranger = keys.identity(machines.stranger).public.decode()
    assert errors.splitlines() == [
        f"serve: a client with the unknown key {stranger} is refused",
        "serve: client viewer is let in",
    ]


def test_a_key_taken_away_is_refused_at_the_next_knock(read: Read, machines: Machines) -> None:
    with serving(ENDLESS, "--keys", str(machines.camera)) as server:
        it = read(server.url, trusting(machines.viewer))
        it.wait_for(1)
        it.close()
        (machines.camera / keys.TRUSTED / "viewer.key").unlink()
        assert "does not know this machine" in error_of(server.url, trusting(machines.viewer))


def test_server_without_keys_is_not_taken_for_one_with(machines: Machines, context: zmq.Context) -> None:
    impostor = Impostor(context, [GOOD])
    assert error_of(impostor.url, trusting(machines.viewer)) == (
        f"{impostor.url}: broke off: it is not the owner of camera.key, or uses no keys"
    )
    impostor.socket.close()


@pytest.mark.parametrize(
    ("bind", "words", "says"),
    [
        ("tcp://0.0.0.0:0", [], "on a network it needs keys: python -m tools.make_keys"),
        ("tcp://*:*", [], "on a network it needs keys"),
        ("tcp://[::]:5", [], "on a network it needs keys"),
        ("udp://127.0.0.1:5", [], "expected tcp://HOST:PORT"),
        ("tcp://127.0.0.1", [], "expected tcp://HOST:PORT"),
        ("tcp://192.0.2.1:5", ["--insecure"], "--bind tcp://192.0.2.1:5: "),
        ("tcp://0.0.0.0:0", ["--keys", "/nowhere"], "/nowhere: no secret key"),
    ],
)
def test_server_refuses_in_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, bind: str, words: list[str], says: str
) -> None:
    from pipeline import serve

    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert serve.main([SCENE, "--bind", bind, *words]) == 2
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1
    assert says in errors


def test_network_without_keys_is_refused_before_anything_is_sent() -> None:
    with pytest.raises(ConfigError, match=r"^zmq\+tcp://192\.0\.2\.1:5: .*python -m tools\.make_keys .*insecure=true"):
        open_source("zmq+tcp://192.0.2.1:5", CaptureConfig())
    open_source("zmq+tcp://192.0.2.1:5", CaptureConfig(remote=RemoteConfig(insecure=True)))


def test_which_camera_host_must_be_clear(machines: Machines) -> None:
    trust(machines.viewer, machines.stranger)
    with pytest.raises(ConfigError, match=r"which of camera, stranger is it\? Say so with \?server=NAME"):
        open_source("zmq+tcp://192.0.2.1:5", trusting(machines.viewer))
    with pytest.raises(ConfigError, match=r"no public key .*trusted/other\.key"):
        open_source("zmq+tcp://192.0.2.1:5?server=other", trusting(machines.viewer))
    for path in (machines.viewer / keys.TRUSTED).iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="no public key of a camera host"):
        open_source("zmq+tcp://192.0.2.1:5", trusting(machines.viewer))
