"""Settings as people write them: YAML files and ``key.path=value`` words, checked against a schema."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from pipeline.errors import ConfigError

T = TypeVar("T")


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; None for an empty one.

    Raises:
        ConfigError: names the file, and why it cannot be read.
    """
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no valid YAML: {_one_line(error)}") from None


def with_setting(tree: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """A copy of a tree of settings with ``key.path=value`` laid over it, the value in YAML.

    Raises:
        ConfigError: names the setting, and what is wrong with it.
    """
    key, equals, text = setting.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all([*parents, last]):
        raise ConfigError(f"--set {setting}: expected key.path=value")
    changed = node = dict(tree)
    for parent in parents:
        child = node.get(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {setting}: {parent} holds no keys")
        node[parent] = node = dict(child)
    try:
        node[last] = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {setting}: no valid YAML value: {_one_line(error)}") from None
    return changed


def convert_to(schema: type[T], tree: Any, origin: str) -> T:
    """Plain values as the schema has them.

    Raises:
        ConfigError: names the origin of the values, the path of the field at fault and what is wrong with it.
    """
    try:
        return msgspec.convert(tree, schema)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        key = place.rstrip("`").lstrip(".")
        raise ConfigError(f"{origin}: {key + ': ' if key else ''}{text}") from None


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())
