"""The configuration: defaults, precedence, and errors that name the path of the invalid setting."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import yaml

from pipeline.config import Config, check_sources, load
from pipeline.errors import ConfigError
from pipeline.queues import Policy

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_reference_file_states_every_key_with_its_default() -> None:
    stated = yaml.safe_load((CONFIGS / "reference.yaml").read_text())
    assert stated == msgspec.json.decode(msgspec.json.encode(Config()))


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_presets_load(path: Path) -> None:
    load(path)


def test_settings_override_file_and_file_overrides_base(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("track: {gate: 9.0, confirm_hits: 2}\nqueue: {policy: latest}\n")
    (tmp_path / "own.yaml").write_text("extends: base.yaml\ntrack: {gate: 16.0}\n")
    config = load(tmp_path / "own.yaml", ["track.max_coast_s=2.5", "track.max_coast_s=3", "queue.policy=null"])
    assert (config.track.gate, config.track.confirm_hits, config.track.max_coast_s) == (16.0, 2, 3.0)
    assert config.queue.policy is None
    assert load(tmp_path / "own.yaml").queue.policy is Policy.LATEST


def test_setting_of_a_mapping_keeps_other_keys(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text("track: {gate: 16.0, confirm_hits: 2}\n")
    config = load(tmp_path / "own.yaml", ["track={gate: 9.0}"])
    assert (config.track.gate, config.track.confirm_hits) == (9.0, 2)


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        ("detect.masks={SOURCE: [[[0, 0], [4, 0], [4, 4]]]}", "detect.masks"),
        ("preprocess.black_hot=[SOURCE]", "preprocess.black_hot"),
    ],
)
def test_settings_of_unknown_sources_are_refused(setting: str, key: str) -> None:
    check_sources(load(None, [setting.replace("SOURCE", "a")]), iter(["b", "a"]))
    with pytest.raises(ConfigError, match=rf"^{key}: no source is named c; there is b, a$"):
        check_sources(load(None, [setting.replace("SOURCE", "c")]), iter(["b", "a"]))


def test_settings_of_all_sources_name_none() -> None:
    for setting in ('detect.masks={"*": [[[0, 0], [4, 0], [4, 4]]]}', "preprocess.black_hot=true"):
        check_sources(load(None, [setting]), ["a"])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("detekt: {}", "unknown field `detekt`"),
        ("detect: {treshold: 0.5}", "detect: Object contains unknown field `treshold`"),
        ("detect: {threshold: -0.5}", "detect.threshold"),
        ("detect: {threshold: 1.5}", "detect.threshold"),
        ("detect: {batch_size: many}", "detect.batch_size: Expected `int`, got `str`"),
        ("detect: {batch_size: 0}", "detect.batch_size"),
        ("detect: {tile: 128, tile_overlap: 100}", "tile_overlap 100 is more than half of tile 128"),
        ("track: {confirm_hits: 6, confirm_window: 5}", "confirm_hits 6"),
        ("queue: {policy: sometimes}", "queue.policy"),
        ("placement: {detect: cloud}", "placement.detect"),
        ("placement: {lanes: 0}", "placement.lanes"),
        ("capture: {reconnect: {max_s: -1}}", "capture.reconnect.max_s"),
        ("preprocess: {black_hot: [Mast camera]}", "preprocess.black_hot"),
        ("- a\n- b", "expected keys and values"),
        ("a: [1,", "not valid YAML"),
        ("extends: 3", "extends: expected a file name"),
        ("extends: nowhere.yaml", "nowhere.yaml"),
        ("extends: own.yaml", "extends itself"),
    ],
)
def test_bad_file_is_refused_with_file_and_path(tmp_path: Path, text: str, says: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert says in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("setting", ["track", "=3", "track..gate=3", "track.gate=[", "track.gate=wide", "nope=1"])
def test_bad_setting_is_refused_and_named(setting: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(None, [setting])
    assert setting.split("=", maxsplit=1)[0] in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.yaml: No such file"):
        load(tmp_path / "gone.yaml")
