"""Authentication with CURVE keys, with real processes on both sides."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import zmq

from pipeline import keys
from pipeline.capture.config import CaptureConfig, RemoteConfig
from pipeline.capture.factory import open_source
from pipeline.errors import ConfigError
from tests.capture.remote_host import ENDLESS, GOOD, SCENE, Impostor, Read, serving
from tests.capture.streams import error_of


class Machines:
    """Key folders of a camera host, a viewer it trusts, and a stranger."""

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


def test_only_mutually_trusted_keys_connect(read: Read, machines: Machines) -> None:
    with serving(SCENE, "--keys", str(machines.camera)) as server:
        url = server.url
        refused = f"{url}: does not know this machine: copy stranger.key to its folder trusted"
        assert error_of(url, trusting(machines.stranger)) == refused
        assert error_of(url, trusting(None)) == (
            f"{url}: connection closed: the server requires keys (capture.remote.keys), or is not a camera host"
        )
        trust(machines.viewer, machines.stranger)
        wrong = f"{url}?server=stranger"
        assert error_of(wrong, trusting(machines.viewer)) == (
            f"{wrong}: connection closed: the server does not own stranger.key, or uses no keys"
        )
        it = read(f"{url}?server=camera", trusting(machines.viewer))
        it.thread.join(30)
        assert (it.error, len(it.grabs)) == (None, 8), "none of them has taken a picture away"
        code, out, errors = server.finish()
    assert (code, out) == (0, "captured 8, seen 8, dropped 0, lost 0\n")
    stranger = keys.fingerprint(keys.identity(machines.stranger).public)
    assert errors.splitlines() == [
        f"serve: a client with the unknown key {stranger} is refused",
        "serve: client viewer is admitted",
    ]


def test_removed_key_is_refused_at_the_next_connection(read: Read, machines: Machines) -> None:
    with serving(ENDLESS, "--keys", str(machines.camera)) as server:
        it = read(server.url, trusting(machines.viewer))
        it.wait_for(1)
        it.close()
        (machines.camera / keys.TRUSTED / "viewer.key").unlink()
        assert "does not know this machine" in error_of(server.url, trusting(machines.viewer))


def test_server_without_keys_is_refused(machines: Machines, context: zmq.Context) -> None:
    impostor = Impostor(context, [GOOD])
    assert error_of(impostor.url, trusting(machines.viewer)) == (
        f"{impostor.url}: connection closed: the server does not own camera.key, or uses no keys"
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


def test_ambiguous_camera_host_is_refused(machines: Machines) -> None:
    trust(machines.viewer, machines.stranger)
    with pytest.raises(
        ConfigError, match=r"several servers are trusted \(camera, stranger\), select one with \?server=NAME"
    ):
        open_source("zmq+tcp://192.0.2.1:5", trusting(machines.viewer))
    with pytest.raises(ConfigError, match=r"no public key .*trusted/other\.key"):
        open_source("zmq+tcp://192.0.2.1:5?server=other", trusting(machines.viewer))
    for path in (machines.viewer / keys.TRUSTED).iterdir():
        path.unlink()
    with pytest.raises(ConfigError, match="no public key of a camera host"):
        open_source("zmq+tcp://192.0.2.1:5", trusting(machines.viewer))
