"""Who may see the live page."""

from __future__ import annotations

from base64 import b64encode
from http import HTTPStatus
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.sinks.config import PageConfig
from pipeline.sinks.page.access import Access


def secret(path: Path, content: bytes, mode: int = 0o600) -> str:
    path.write_bytes(content)
    path.chmod(mode)
    return str(path)


def basic(words: str) -> str:
    return f"Basic {b64encode(words.encode()).decode()}"


def test_page_for_other_machines_needs_a_password(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^sinks\.page: 0\.0\.0\.0: .*password_file"):
        Access(PageConfig(port=0, host="0.0.0.0"))
    Access(PageConfig(port=0, host="0.0.0.0", insecure=True))
    Access(PageConfig(port=0, host="0.0.0.0", password_file=secret(tmp_path / "word", b"correct horse\n")))


@pytest.mark.parametrize(
    ("content", "mode", "reason"),
    [(b"correct horse\n", 0o640, "other users have access"), (b"short\n", 0o600, "8 characters"), (b"", 0o600, "8")],
)
def test_unfit_password_file_is_named(tmp_path: Path, content: bytes, mode: int, reason: str) -> None:
    name = secret(tmp_path / "word", content, mode)
    with pytest.raises(ConfigError, match=f"{name}: .*{reason}"):
        Access(PageConfig(port=0, password_file=name))


@pytest.mark.parametrize("name", ["missing", "", "zero\0byte"])
def test_missing_password_file_is_an_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"sinks\.page\.password_file: "):
        Access(PageConfig(port=0, password_file=str(tmp_path / name)))


@pytest.mark.parametrize(
    ("authorization", "admitted"),
    [
        (basic("anybody:correct horse"), True),
        (basic(":correct horse"), True),
        (basic("anybody:correct horse "), False),
        (basic("correct horse"), False),
        (basic("anybody:"), False),
        ("Basic ???", False),
        ("Bearer correct horse", False),
        ("Basic \u00e9", False),
        ("", False),
    ],
)
def test_password_is_checked(tmp_path: Path, authorization: str, admitted: bool) -> None:
    access = Access(PageConfig(port=0, password_file=secret(tmp_path / "word", b"correct horse\r\nsecond line\n")))
    assert access.refusal("camera.lan:8080", authorization) == (None if admitted else HTTPStatus.UNAUTHORIZED)


@pytest.mark.parametrize(
    ("host", "admitted"),
    [
        ("localhost:8080", True),
        ("LOCALHOST", True),
        ("127.0.0.1:8080", True),
        ("[::1]:8080", True),
        ("attacker.example:8080", False),
        ("127.0.0.1.attacker.example", False),
        ("[::1", False),
        ("", False),
    ],
)
def test_without_a_password_only_names_of_this_machine_are_answered(host: str, admitted: bool) -> None:
    refusal = Access(PageConfig(port=0)).refusal(host, "")
    assert refusal == (None if admitted else HTTPStatus.MISDIRECTED_REQUEST)
    assert Access(PageConfig(port=0, insecure=True)).refusal(host, "") is None
