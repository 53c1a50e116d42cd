"""What nobody may do to a run: execute code, fill its memory, write elsewhere, enter its sockets."""

from __future__ import annotations

import ast
import contextlib
import os
import re
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import zmq
from hypothesis import given
from hypothesis import strategies as st

import pipeline.receiver
from pipeline import private
from pipeline.capture.address import source_ids
from pipeline.capture.config import CaptureConfig, ReconnectConfig
from pipeline.config import Config
from pipeline.errors import ConfigError, SourceError
from pipeline.link import MAX_ORDER_BYTES, MAX_STATE_BYTES, Link, StageState, Switchboard
from pipeline.messages import Packet
from pipeline.queues import MAX_CONTROL_BYTES, Sender
from pipeline.receiver import Receiver
from pipeline.sinks.config import SinkConfig
from pipeline.sinks.stage import SinkStage
from pipeline.supervisor import Supervisor
from pipeline.wire import WireError, encode
from tests.capture.streams import reading
from tests.conftest import ROOT, locked
from tests.messages import SESSION, tracked
from tests.pipeline.queue_ends import finish, frame, pump_until, seqs, taking

# -- code: nothing that is read is ever executed

EXECUTES = {"pickle", "cPickle", "shelve", "dill", "cloudpickle", "joblib", "marshal", "multiprocessing", "runpy"}
CALLS = {"eval", "exec", "__import__", "torch.load", "torch.jit.load", "torch.hub.load", "np.load", "numpy.load"}
CALLS |= {"yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen"}
OWN = ("pipeline", "nets", "training", "tools", "run_stream")


def imports(tree: ast.AST, package: str) -> Iterator[str]:
    """Full names of all that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: -(node.level - 1) or None] if node.level else []
            base = ".".join([*parents, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def guilty(tree: ast.AST, package: str = "") -> list[str]:
    """What in a module could execute what it reads."""
    names = list(imports(tree, package))
    found = [name for name in names if name.split(".")[0] in EXECUTES or name in CALLS]
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            unsafe = any(word.arg == "shell" or word.arg == "allow_pickle" for word in node.keywords)
            found += [name] if name in CALLS or unsafe else []
    return found


def file_of(module: str) -> Path | None:
    path = ROOT.joinpath(*module.split("."))
    return next((p for p in (path.with_suffix(".py"), path / "__init__.py") if p.is_file()), None)


def reachable() -> dict[str, Path]:
    """Every module of pipeline, nets and run_stream.py, and all of this project that they import in turn."""
    starts = [p for part in ("pipeline", "nets") for p in (ROOT / part).rglob("*.py")] + [ROOT / "run_stream.py"]
    todo = [".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for p in starts]
    seen: dict[str, Path] = {}
    while todo:
        module = todo.pop()
        path = file_of(module)
        if path is None or module in seen:
            continue
        seen[module] = path
        package = module if path.name == "__init__.py" else module.rpartition(".")[0]
        for name in imports(ast.parse(path.read_text()), package):
            if name.split(".")[0] in OWN:
                todo += [name, name.rpartition(".")[0]]
    return seen


def test_nothing_that_runs_can_execute_what_it_reads() -> None:
    modules = reachable()
    assert {"run_stream", "pipeline.wire", "pipeline.serve", "nets.manifest", "nets"} <= modules.keys()
    assert len(modules) > 80
    found = {name: guilty(ast.parse(path.read_text())) for name, path in modules.items()}
    assert {name: what for name, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "def f():\n    from pickle import loads as harmless",
        "import marshal as m",
        "import torch\ntorch.load('x')",
        "from torch import load",
        "import numpy as np\nnp.load('x')",
        "open_it(path, allow_pickle=True)",
        "exec('x')",
        "subprocess.run('x', shell=True)",
        "import multiprocessing.pool",
    ],
)
def test_the_search_would_find_it(code: str) -> None:
    assert guilty(ast.parse(code))


def test_relative_imports_are_followed() -> None:
    tree = ast.parse("from . import a\nfrom .b import c\nfrom ..d import e")
    assert list(imports(tree, "p.q")) == ["p.q.a", "p.q.b.c", "p.d.e"]


# -- memory: a peer that announces too much is cut off before room is made for it

TERABYTE = (1 << 40).to_bytes(8, "big")
LONG_FRAME = b"\x02"


def take_bytes(peer: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = peer.recv(count - len(data))
        assert more, "hung up too early"
        data += more
    return data


def greet(peer: socket.socket, kind: bytes) -> None:
    """Speak ZMTP 3.0 (RFC 23) up to the first message: greeting, then READY of the NULL mechanism."""
    peer.settimeout(10)
    peer.sendall(b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32))
    assert b"NULL" in take_bytes(peer, 64)
    body = b"\x05READY" + b"\x0bSocket-Type" + len(kind).to_bytes(4, "big") + kind
    peer.sendall(b"\x04" + bytes([len(body)]) + body)
    assert b"READY" in take_bytes(peer, take_bytes(peer, 2)[1])


def hangs_up(peer: socket.socket) -> bool:
    """Whether the other side ends the connection; a time-out if not."""
    with contextlib.suppress(ConnectionResetError):
        while peer.recv(65536):
            pass
    return True


def dial(endpoint: str) -> socket.socket:
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
def test_queue_cuts_off_who_sends_too_much_and_goes_on(context: zmq.Context, endpoint: str, too_much: bytes) -> None:
    sender = Sender(context, endpoint)
    with dial(sender.endpoint) as peer:
        greet(peer, b"DEALER")
        peer.sendall(LONG_FRAME + MAX_CONTROL_BYTES.to_bytes(8, "big") + bytes(MAX_CONTROL_BYTES))
        pump_until(sender, lambda: sender.rejected == 1)  # as long as may be: nonsense, but read
        peer.sendall(LONG_FRAME + too_much)
        assert hangs_up(peer)
    sender.pump(0.1)
    assert sender.rejected == 1
    receiver = Receiver(context, sender.endpoint, SESSION)
    with taking(receiver, {"a"}) as got:
        sender.offer(frame("a", 0))
        finish(sender, {"a"})
    assert seqs(got, "a") == [0]
    receiver.close()
    sender.close()


def test_switchboard_cuts_off_who_announces_too_much_and_goes_on(context: zmq.Context, endpoint: str) -> None:
    board = Switchboard(context, [endpoint])
    at = board.socket.get_string(zmq.LAST_ENDPOINT)
    with dial(at) as peer:
        greet(peer, b"DEALER")
        peer.sendall(LONG_FRAME + (MAX_STATE_BYTES + 1).to_bytes(8, "big"))
        assert hangs_up(peer)
    link = Link(context, at, "detect")
    link.tell(StageState(stage="detect", state="running"))
    assert [state.state for state in board.hear(10)] == ["running"]
    link.close()
    board.close()


def test_receiver_reads_no_more_than_the_limit(context: zmq.Context, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = 1 << 20  # what is over the real one takes too long
    monkeypatch.setattr(pipeline.receiver, "MAX_PICTURE_BYTES", 1)
    monkeypatch.setattr(pipeline.receiver, "MAX_HEADER_BYTES", limit)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        receiver = Receiver(context, f"tcp://127.0.0.1:{listener.getsockname()[1]}", SESSION)
        peer, _ = listener.accept()
        with peer:
            greet(peer, b"ROUTER")
            peer.sendall(LONG_FRAME + limit.to_bytes(8, "big") + bytes(limit))
            with pytest.raises(WireError, match="message of 1 parts"):  # as long as may be: nonsense, but read
                receiver.receive(10)
            with contextlib.suppress(OSError):  # hung up on in the middle
                peer.sendall(LONG_FRAME + (limit + 1).to_bytes(8, "big") + bytes(limit + 1))
            assert hangs_up(peer)
        assert receiver.receive(0.1) is None
        receiver.close()


def test_remote_camera_that_announces_too_much_is_hung_up_on_and_asked_again() -> None:
    quick = CaptureConfig(read_timeout_s=1, reconnect=ReconnectConfig(initial_s=0.05))
    first, second = frame("a", 0), frame("a", 1)
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        it = stack.enter_context(reading(f"zmq+tcp://127.0.0.1:{listener.getsockname()[1]}", quick))
        for packet, after in ((first, LONG_FRAME + TERABYTE), (second, b"")):
            peer, _ = listener.accept()
            with peer:
                greet(peer, b"ROUTER")
                parts = [bytes(part) for part in encode(packet)]
                for more, part in zip((1, 1, 0), parts, strict=True):
                    peer.sendall(bytes([LONG_FRAME[0] | more]) + len(part).to_bytes(8, "big") + part)
                peer.sendall(after)
                assert not after or hangs_up(peer)
                it.wait_for(1 if after else 2)
    assert [grab.picture[0, 0] for grab in it.grabs] == [0, 1]
    assert it.source.reconnects == 1


def test_stage_hangs_up_on_who_orders_too_much(context: zmq.Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        link = Link(context, f"tcp://127.0.0.1:{listener.getsockname()[1]}", "detect")
        peer, _ = listener.accept()
        with peer:
            greet(peer, b"ROUTER")
            peer.sendall(LONG_FRAME + (MAX_ORDER_BYTES + 1).to_bytes(8, "big"))
            assert hangs_up(peer)
        link.close()


def test_every_socket_that_others_can_reach_has_a_limit() -> None:
    without = []
    for path in sorted((ROOT / "pipeline").rglob("*.py")):
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef):
                code = ast.unparse(function)
                if re.search(r"\.socket\(zmq\.", code) and not re.search(r"maxmsgsize =|prepare\(", code):
                    without.append((path.name, function.name))
    assert without == []


# -- files: nobody outside chooses where a run writes

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
def test_sinks_write_nowhere_else_whatever_a_message_is_called(tmp_path: Path, source: str) -> None:
    """A message made in this process is not checked by the wire."""
    out = tmp_path / "deep" / "out"
    stage = SinkStage(SinkConfig(), out)
    stage.open()
    message = tracked(source=source)
    with pytest.raises(ConfigError, match="outside"):
        stage.process([Packet(message, np.zeros((64, 80), np.uint8))])
    stage.close()
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


# -- sockets: their folder is for one user alone


def test_the_folder_of_unix_sockets_is_private(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    before = os.umask(0)
    try:
        with private.folder() as folder:
            assert folder.parent == tmp_path
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    finally:
        os.umask(before)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_a_live_run_s_as_long_as_it_is_locked_whatever_its_process_id_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with subprocess.Popen(["true"]) as gone:
        pass
    live, stale = tmp_path / f"irst-{gone.pid}-live", tmp_path / f"irst-{os.getpid()}-stale"
    for folder in (live, stale):
        folder.mkdir()
        (folder / private.STATUS).touch()
    with locked(live), private.folder() as own:
        assert set(tmp_path.iterdir()) == {live, own}
        stale.mkdir()
        (stale / private.STATUS).touch()
        assert [door for door in private.status_doors() if tmp_path in door.parents] == [live / private.STATUS]
    with private.folder() as own:
        assert list(tmp_path.iterdir()) == [own]


def test_a_run_that_cannot_be_made_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with pytest.raises(FileNotFoundError):  # an id that can be no part of a file's name
        Supervisor(Config(), [("no/such", "test://demo")], None)
    assert list(tmp_path.iterdir()) == []


def test_only_own_folders_are_looked_into_for_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    own, foreign = (tmp_path / f"irst-{os.getpid()}-{name}" for name in ("own", "foreign"))
    for folder in (own, foreign):
        folder.mkdir()
        (folder / private.STATUS).touch()
    (tmp_path / f"irst-{os.getpid()}-link").symlink_to(own)
    with locked(own), locked(foreign):
        if os.getuid() == 0:
            os.chown(foreign, 65534, 65534)
        else:
            foreign.rename(tmp_path / "elsewhere")
        assert [door for door in private.status_doors() if tmp_path in door.parents] == [own / private.STATUS]
