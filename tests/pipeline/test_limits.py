"""Every socket limits the size of messages, tested by speaking raw ZMTP to it."""

from __future__ import annotations

import ast
import contextlib
import re
import socket
from contextlib import ExitStack
from pathlib import Path

import pytest
import zmq

import pipeline.receiver
from pipeline.capture.config import CaptureConfig, ReconnectConfig
from pipeline.control_link import MAX_ORDER_BYTES, MAX_STATE_BYTES, Link, StageState, Switchboard
from pipeline.queues import MAX_CONTROL_BYTES, Sender
from pipeline.receiver import Receiver
from pipeline.wire import WireError, encode
from tests.capture.streams import reading
from tests.conftest import ROOT
from tests.messages import SESSION
from tests.pipeline.queue_ends import finish, frame, pump_until, seqs, taking

TERABYTE = (1 << 40).to_bytes(8, "big")


LONG_FRAME = b"\x02"


def take_bytes(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        assert more, "hung up too early"
        data += more
    return data


def zmtp_handshake(peer: socket.socket, kind: bytes) -> None:
    """Do the handshake of ZMTP 3.0 (RFC 23): greeting, then READY of the NULL mechanism."""
    peer.settimeout(10)
    peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    assert b"NULL" in take_bytes(peer, 64)
    body = b"\x05READY" + b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    peer.sendall(b"\x04" + bytes([len(body)]) + body)
    assert b"READY" in take_bytes(peer, take_bytes(peer, 2)[1])


def disconnects(peer: socket.socket) -> bool:
    """Return True once the peer closes the connection; time out if it does not."""
    with contextlib.suppress(ConnectionResetError):
        while peer.recv(65536):
            pass
    return True


def open_connection(endpoint: str) -> socket.socket:
    if endpoint.startswith("ipc://"):
        peer = socket.socket(socket.AF_UNIX)
        peer.connect(endpoint.removeprefix("ipc://"))
        return peer
    host, port = endpoint.removeprefix("tcp://").split(":")
    return socket.create_connection((host, int(port)))


@pytest.fixture(params=["ipc", "tcp"])
def endpoint(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {"ipc": f"ipc://{tmp_path}/s", "tcp": "tcp://127.0.0.1:*"}[request.param]


TOO_MUCH = MAX_CONTROL_BYTES + 1


@pytest.mark.parametrize("too_much", [TERABYTE, TOO_MUCH.to_bytes(8, "big") + bytes(TOO_MUCH)], ids=["1 TB", "1 byte"])
def test_queue_disconnects_a_peer_over_the_limit_and_keeps_working(
    context: zmq.Context, endpoint: str, too_much: bytes
) -> None:
    sender = Sender(context, endpoint)
    with open_connection(sender.endpoint) as peer:
        zmtp_handshake(peer, b"DEALER")
        peer.sendall(LONG_FRAME + MAX_CONTROL_BYTES.to_bytes(8, "big") + bytes(MAX_CONTROL_BYTES))
        pump_until(sender, lambda: sender.rejected == 1)  # exactly at the limit: invalid, but read
        peer.sendall(LONG_FRAME + too_much)
        assert disconnects(peer)
    sender.pump(0.1)
    assert sender.rejected == 1
    receiver = Receiver(context, sender.endpoint, SESSION)
    with taking(receiver, {"a"}) as got:
        sender.offer(frame("a", 0))
        finish(sender, {"a"})
    assert seqs(got, "a") == [0]
    receiver.close()
    sender.close()


def test_switchboard_disconnects_a_peer_over_the_limit_and_keeps_working(context: zmq.Context, endpoint: str) -> None:
    board = Switchboard(context, [endpoint])
    at = board.socket.get_string(zmq.LAST_ENDPOINT)
    with open_connection(at) as peer:
        zmtp_handshake(peer, b"DEALER")
        peer.sendall(LONG_FRAME + (MAX_STATE_BYTES + 1).to_bytes(8, "big"))
        assert disconnects(peer)
    link = Link(context, at, "detect")
    link.send_state(StageState(stage="detect", state="running"))
    assert [state.state for state in board.receive_states(10)] == ["running"]
    link.close()
    board.close()


def test_receiver_reads_no_more_than_the_limit(context: zmq.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1 << 20  # messages above the real limit would take too long
    monkeypatch.setattr(pipeline.receiver, "MAX_PICTURE_BYTES", 1)
    monkeypatch.setattr(pipeline.receiver, "MAX_HEADER_BYTES", limit)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = Receiver(context, f"tcp://127.0.0.1:{listener.getsockname()[1]}", SESSION)
        peer, _ = listener.accept()
        with peer:
            zmtp_handshake(peer, b"ROUTER")
            peer.sendall(LONG_FRAME + limit.to_bytes(8, "big") + bytes(limit))
            with pytest.raises(WireError, match="message of 1 parts"):  # at the limit: invalid, but read
                receiver.receive(10)
            with contextlib.suppress(OSError):  # the connection is closed while sending
                peer.sendall(LONG_FRAME + (limit + 1).to_bytes(8, "big") + bytes(limit + 1))
            assert disconnects(peer)
        assert receiver.receive(0.1) is None
        receiver.close()


def test_remote_camera_over_the_limit_is_disconnected_and_reconnected() -> None:
    quick = CaptureConfig(read_timeout_s=1, reconnect=ReconnectConfig(initial_s=0.05))
    first, second = frame("a", 0), frame("a", 1)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        it = stack.enter_context(reading(f"zmq+tcp://127.0.0.1:{listener.getsockname()[1]}", quick))
        for packet, after in ((first, LONG_FRAME + TERABYTE), (second, b"")):
            peer, _ = listener.accept()
            with peer:
                zmtp_handshake(peer, b"ROUTER")
                parts = [bytes(part) for part in encode(packet)]
                for more, part in zip((1, 1, 0), parts, strict=True):
                    peer.sendall(bytes([LONG_FRAME[0] | more]) + len(part).to_bytes(8, "big") + part)
                peer.sendall(after)
                assert not after or disconnects(peer)
                it.wait_for(1 if after else 2)
    assert [grab.picture[0, 0] for grab in it.grabs] == [0, 1]
    assert it.source.reconnects == 1


def test_stage_disconnects_a_peer_whose_order_is_over_the_limit(context: zmq.Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(context, f"tcp://127.0.0.1:{listener.getsockname()[1]}", "detect")
        peer, _ = listener.accept()
        with peer:
            zmtp_handshake(peer, b"ROUTER")
            peer.sendall(LONG_FRAME + (MAX_ORDER_BYTES + 1).to_bytes(8, "big"))
            assert disconnects(peer)
        link.close()


def test_every_socket_has_a_message_size_limit() -> None:
    without = []
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                code = ast.unparse(function)
                if re.search(r"\.socket\(zmq\.", code) and not re.search(r"maxmsgsize =|prepare\(", code):
                    without.append((path.name, function.name))
    assert without == []
