"""Weights that cannot be loaded are named in one line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import nets
from run_stream import main
from tests.e2e.harness import FAST, SMALL, record


def copy_of_weights(tmp: Path) -> Path:
    shipped = Path(nets.__file__).parent / "weights"
    for suffix in (".safetensors", ".json"):
        shutil.copy(shipped / f"mshnet{suffix}", tmp / f"own{suffix}")
    return tmp / "own.safetensors"


def wrong_hash(path: Path) -> str:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    return "sha256"


def other_architecture(path: Path) -> str:
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["architecture"] = "resnet50"
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return "resnet50"


def not_safetensors(path: Path) -> str:
    path.write_bytes(b"PK\x03\x04 this is something else" * 50)
    return "own.safetensors"


def no_manifest(path: Path) -> str:
    path.with_suffix(".json").unlink()
    return "own.json"


def unknown_field_in_manifest(path: Path) -> str:
    manifest = json.loads(path.with_suffix(".json").read_text())
    manifest["treshold"] = 0.5
    path.with_suffix(".json").write_text(json.dumps(manifest))
    return "treshold"


def no_file(path: Path) -> str:
    path.unlink()
    return "own.safetensors"


WEIGHTS = [wrong_hash, other_architecture, not_safetensors, no_manifest, unknown_field_in_manifest, no_file]


@pytest.mark.parametrize("spoil", WEIGHTS, ids=lambda spoil: spoil.__name__)
def test_bad_weights_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str], spoil: Callable[[Path], str]) -> None:
    path = copy_of_weights(tmp_path)
    named = spoil(path)
    out = tmp_path / "out"
    assert main([SMALL, *FAST, "--set", f"detect.weights={path}", "--out", str(out)]) == 4
    errors = capfd.readouterr().err.splitlines()
    assert len(errors) == 1, errors
    assert named in errors[0]
    assert record(out)["sources"]["demo"]["account"]["closes"]


def test_unknown_weights_name_lists_the_known(capfd: pytest.CaptureFixture[str]) -> None:
    assert main([SMALL, *FAST, "--set", "detect.weights=mshnett"]) == 4
    assert "mshnet" in capfd.readouterr().err.replace("mshnett", "")
