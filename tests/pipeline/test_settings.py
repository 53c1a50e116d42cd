"""Reading, overriding and checking settings, independent of the schemas of the project."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

import pytest
from msgspec import Struct

from pipeline.capture.address import redact
from pipeline.errors import ConfigError
from pipeline.settings import convert_to, read_yaml, with_setting


class Inner(Struct, forbid_unknown_fields=True):
    size: int = 1


class Outer(Struct, forbid_unknown_fields=True):
    parts: list[Inner]


class Areas(Struct, forbid_unknown_fields=True):
    by_camera: dict[str, list[Inner]] = {}


class Deep(Struct, forbid_unknown_fields=True):
    areas: Areas


def said(function: Any, *args: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        function(*args)
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "holds"), [("", None), ("- 1\n- a", [1, "a"]), ("a: {b: 2.5e-1}", {"a": {"b": 0.25}})]
)
def test_yaml_file_is_read(tmp_path: Path, text: str, holds: object) -> None:
    (tmp_path / "a.yaml").write_text(text)
    assert read_yaml(tmp_path / "a.yaml") == holds


def test_unreadable_file_is_named_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    assert said(read_yaml, path) == f"{path}: No such file or directory"
    for content in (b"a: [", b"\xff\xfe\xfa", b"a: b: c"):
        path.write_bytes(content)
        message = said(read_yaml, path)
        assert message.startswith(f"{path}: not valid YAML: ")
        assert "\n" not in message


@pytest.mark.parametrize(
    ("tree", "setting", "changed"),
    [
        ({}, "a=3", {"a": 3}),
        ({}, "a.b.c=[1, x]", {"a": {"b": {"c": [1, "x"]}}}),
        ({"a": {"b": 1, "c": 2}, "d": 3}, "a.b=null", {"a": {"b": None, "c": 2}, "d": 3}),
        ({"a": {"b": 1, "c": 2}}, "a={b: 5}", {"a": {"b": 5}}),
        ({"a": 1}, " a =text = text", {"a": "text = text"}),
    ],
)
def test_setting_is_applied_to_a_copy(tree: dict[str, Any], setting: str, changed: dict[str, Any]) -> None:
    before = repr(tree)
    assert with_setting(tree, setting) == changed
    assert repr(tree) == before


def test_setting_below_a_shared_node_changes_one_place_only() -> None:
    shared = {"x": 1}  # as created by a YAML alias
    assert with_setting({"a": shared, "b": shared}, "a.x=2") == {"a": {"x": 2}, "b": {"x": 1}}


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("a", "expected SECTION.NAME=VALUE"),
        ("=3", "expected SECTION.NAME=VALUE"),
        ("a..b=3", "expected SECTION.NAME=VALUE"),
        ("a.b.c=3", "b is not a section"),
        ("a.b=[", "not a valid YAML value: "),
    ],
)
def test_a_bad_setting_is_named_in_one_line(setting: str, says: str) -> None:
    message = said(with_setting, {"a": {"b": 1}}, setting)
    assert message.startswith(f"--set {setting}: {says}")
    assert "\n" not in message


def test_values_are_checked_with_origin_and_path() -> None:
    assert convert_to(Outer, {"parts": [{}, {"size": 4}]}, "x") == Outer([Inner(1), Inner(4)])
    assert said(convert_to, Outer, {"parts": [{}, {"size": "a"}]}, "f.yaml") == (
        "f.yaml: parts[1].size: Expected `int`, got `str`"
    )
    assert said(convert_to, Outer, {}, "f.yaml") == "f.yaml: Object missing required field `parts`"


class Colour(StrEnum):
    RED = "red"


class Choices(Struct, forbid_unknown_fields=True):
    literal: Literal["a", "b", 3] | None = None
    colour: Colour = Colour.RED
    mixed: bool | Literal["c"] = True
    each: list[dict[str, Literal["d"]]] = []


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"literal": "x"}, "literal: Invalid enum value 'x', expected 3, a, b"),
        ({"colour": "x"}, "colour: Invalid enum value 'x', expected red"),
        ({"mixed": "x"}, "mixed: Invalid enum value 'x', expected c"),
        ({"each": [{"k": "x"}]}, "each[0][...]: Invalid enum value 'x', expected d"),
    ],
)
def test_a_value_that_is_none_of_the_choices_is_answered_with_them(tree: dict[str, Any], says: str) -> None:
    assert said(convert_to, Choices, tree, "file") == f"file: {says}"


def test_a_bad_entry_of_a_mapping_is_named_by_its_key() -> None:
    tree = {"areas": {"by_camera": {"a": [{"size": 2}], "roof": [{}, {"size": "x"}], "b": [{"size": []}]}}}
    before = repr(tree)
    assert said(convert_to, Deep, tree, "f.yaml") == ("f.yaml: areas.by_camera.roof[1].size: Expected `int`, got `str`")
    assert repr(tree) == before


def test_a_malformed_setting_is_explained_without_masks() -> None:
    message = said(with_setting, {}, "track")
    assert redact(message) == message


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1E5", 1e5),
        ("-2.e+1", -20.0),
        (".5e1", 5.0),
        ("1.5e-3", 1.5e-3),
        ("e5", "e5"),
        ("0xe1", 225),
        ("1e", "1e"),
    ],
)
def test_exponents_are_read_as_numbers(text: str, value: object) -> None:
    assert with_setting({}, f"lr={text}") == {"lr": value}
