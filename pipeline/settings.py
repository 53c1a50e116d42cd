"""Settings as people write them: YAML files and ``key.path=value`` words, checked against a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml

from pipeline.errors import ConfigError

T = TypeVar("T")

# Besides its own errors the parser lets through whatever its converters of dates, numbers and the like meet.
YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
_MAX_KEYS = 1000


def read_yaml(path: Path) -> Any:
    """What a YAML file holds; None for an empty one.

    Raises:
        ConfigError: names the file, and why it cannot be read.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except YAML_ERRORS as error:
        raise ConfigError(f"{path}: no valid YAML: {error}") from None


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
        node[last] = parse_yaml(text)
    except YAML_ERRORS as error:
        raise ConfigError(f"--set {setting}: no valid YAML value: {error}") from None
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
    except UnicodeError:
        raise ConfigError(f"{origin}: holds what is no character") from None


def parse_yaml(text: str) -> Any:
    """What a YAML text holds; raises one of ``NO_YAML``."""
    return yaml.load(text, _Loader)  # noqa: S506 - a safe loader


class _Loader(yaml.SafeLoader):
    """Refuses what holds itself, and mappings that double again and again by merging (``<<``) the one before twice."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # children before parents: PyYAML then finds the circle

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MAX_KEYS:
            raise yaml.constructor.ConstructorError(None, None, f"over {_MAX_KEYS} keys", node.start_mark)


# YAML 1.1 takes 3e-4 for a word, since it has no dot; people mean a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
