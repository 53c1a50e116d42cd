"""Key files: accessible to their user only, never overwritten, refused if other users could have changed them."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq
import zmq.auth

from pipeline import keys
from pipeline.capture.address import redact
from pipeline.errors import ConfigError
from tools.make_keys import main


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    keys.create(tmp_path / "keys", "camera1")
    return tmp_path / "keys"


def test_keys_are_accessible_to_their_user_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "deep" / "keys"
    before = os.umask(0)
    try:
        assert main([str(folder), "--name", "camera1"]) == 0
    finally:
        os.umask(before)
    assert {path.name: mode(path) for path in folder.iterdir()} == {
        "camera1.key": 0o600,
        "camera1.key_secret": 0o600,
        "trusted": 0o700,
    }
    assert mode(folder) == 0o700
    own = keys.identity(folder)
    assert zmq.curve_public(own.secret) == own.public
    assert zmq.auth.load_certificate(folder / "camera1.key") == (own.public, None)
    shown = "".join(capsys.readouterr())
    assert str(folder / "camera1.key") in shown
    assert own.secret.decode() not in shown
    assert keys.trusted(folder) == {}


@pytest.mark.parametrize("name", ["camera1", "other"])
def test_keys_are_never_overwritten(folder: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    before = keys.identity(folder)
    assert main([str(folder), "--name", name]) == 2
    assert capsys.readouterr().err.count("not overwritten") == 1
    assert keys.identity(folder) == before
    (folder / "camera1.key_secret").unlink()
    with pytest.raises(ConfigError, match=r"camera1\.key: already exists"):
        keys.create(folder, "camera1")


@pytest.mark.parametrize("name", ["", "../x", "a/b", "a b", ".", "x" * 65])
def test_names_stay_in_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="expected 1 to 64 letters"):
        keys.create(tmp_path / "keys", name)
    assert not (tmp_path / "keys").exists()


@pytest.mark.parametrize("bits", [0o640, 0o604, 0o620, 0o644])
def test_secret_key_accessible_to_others_is_refused(folder: Path, bits: int) -> None:
    secret = folder / "camera1.key_secret"
    secret.chmod(bits)
    with pytest.raises(ConfigError, match=rf"{secret}: others can .*chmod 600 {secret}$"):
        keys.identity(folder)


def test_no_key_is_created_in_a_folder_accessible_to_others(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with pytest.raises(ConfigError, match="chmod 700"):
        keys.create(tmp_path, "camera1")
    assert list(tmp_path.iterdir()) == []


def test_trusted_keys_writable_by_others_are_refused(folder: Path, tmp_path: Path) -> None:
    friend = keys.create(tmp_path / "friend", "friend")
    (folder / "trusted" / "friend.key").write_bytes(friend.read_bytes())
    (folder / "trusted" / "friend.key").chmod(0o644)
    assert list(keys.trusted(folder)) == ["friend"]
    (folder / "trusted" / "friend.key").chmod(0o664)
    with pytest.raises(ConfigError, match="others can write"):
        keys.trusted(folder)
    (folder / "trusted" / "friend.key").chmod(0o600)
    (folder / "trusted").chmod(0o777)
    with pytest.raises(ConfigError, match="others can write"):
        keys.trusted(folder)


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", 'public-key = "short"', 'public-key = "' + "x" * 41 + '"', 'public-key = "' + "\u00e9" * 20 + '"'],
)
def test_invalid_key_file_is_named(folder: Path, text: str) -> None:
    path = folder / "trusted" / "friend.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match=rf"^{path}: not a key file$"):
        keys.trusted(folder)


def test_missing_and_ambiguous_keys_say_what_to_do(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no secret key; python -m tools\.make_keys"):
        keys.identity(tmp_path / "nowhere")
    (folder / "second.key_secret").touch(mode=0o600)
    with pytest.raises(ConfigError, match="more than one secret key"):
        keys.identity(folder)
    (folder / "second.key_secret").unlink()
    (folder / "camera1.key_secret").write_bytes((folder / "camera1.key").read_bytes())
    with pytest.raises(ConfigError, match="contains no secret key"):
        keys.identity(folder)


def test_no_client_is_trusted_by_default(folder: Path) -> None:
    with (
        zmq.Context() as context,
        pytest.raises(ConfigError, match="no client could connect"),
        keys.authenticator(context, folder),
    ):
        pass


def test_secured_server_without_authenticator_admits_no_client(folder: Path, tmp_path: Path) -> None:
    """Without its authenticator, a server must refuse all clients instead of admitting all."""
    keys.create(tmp_path / "viewer", "viewer")
    with zmq.Context() as context:
        server, client = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        server.linger = client.linger = 0
        keys.secure_server(server, keys.identity(folder))
        port = server.bind_to_random_port("tcp://127.0.0.1")
        keys.secure_client(client, keys.identity(tmp_path / "viewer"), keys.identity(folder).public)
        client.connect(f"tcp://127.0.0.1:{port}")
        client.send(b"hello")
        assert not server.poll(500)
        server.close()
        client.close()


def test_fingerprint_identifies_a_key_and_is_not_redacted(tmp_path, capsys):
    assert main([str(tmp_path / "keys"), "--name", "camera1"]) == 0
    mark = keys.fingerprint(keys.identity(tmp_path / "keys").public)
    assert f"camera1 has the key {mark}" in capsys.readouterr().out
    marks = {keys.fingerprint(zmq.curve_keypair()[0]) for _ in range(50)}
    assert len(marks) == 50
    assert all(redact(f"a client with the unknown key {one} is refused").split()[6] == one for one in marks)
