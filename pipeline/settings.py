"""Reads settings from YAML files and ``key.path=value`` arguments and checks them against a schema."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import yaml
from msgspec import inspect

from pipeline.errors import ConfigError

T = TypeVar("T")

# Besides its own errors, the parser passes on whatever its converters of dates, numbers etc. raise.
YAML_ERRORS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, RecursionError)
_MAX_KEYS = 1000


def read_yaml(path: Path) -> Any:
    """Return the contents of a YAML file, None if it is empty.

    Raises:
        ConfigError: the file cannot be read. The message names it and the reason.
    """
    try:
        return parse_yaml(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except YAML_ERRORS as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from None


def with_setting(tree: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Return a copy of a tree of settings in which ``key.path`` is set to ``value``, which is YAML.

    Raises:
        ConfigError: the setting is invalid. The message names it and the problem.
    """
    key, equals, text = setting.partition("=")
    *parents, last = key.strip().split(".")
    if not equals or not all([*parents, last]):
        raise ConfigError(f"--set {setting}: expected SECTION.NAME=VALUE")
    changed = node = dict(tree)
    for parent in parents:
        child = node.get(parent, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {setting}: {parent} is not a section")
        node[parent] = node = dict(child)
    try:
        node[last] = parse_yaml(text)
    except YAML_ERRORS as error:
        raise ConfigError(f"--set {setting}: not a valid YAML value: {error}") from None
    return changed


def convert_to(schema: type[T], tree: Any, origin: str) -> T:
    """Convert plain values to the types of a schema.

    Args:
        schema: type to convert to.
        tree: plain values, as read from YAML.
        origin: where the values come from, for error messages.

    Raises:
        ConfigError: a value is invalid. The message names the origin, the path of the field and the problem.
    """
    try:
        return msgspec.convert(tree, schema)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$")
        place = place.rstrip("`").lstrip(".")
        if choices := _choices(schema, place):
            text += f", expected {', '.join(choices)}"
        key = _with_key(schema, tree, str(error), place)
        raise ConfigError(f"{origin}: {key + ': ' if key else ''}{text}") from None
    except UnicodeError:
        raise ConfigError(f"{origin}: contains an invalid character") from None


def _choices(schema: type[Any], place: str) -> list[str]:
    """Return the values that the schema allows at the place of an error if it lists them, which msgspec does not tell.

    The place may be one of several types; those that accept any value of a kind are left out.
    """
    kinds = _alternatives(inspect.type_info(schema))
    for step in re.findall(r"\[[^]]*\]|[^.[]+", place):
        kinds = [kind for outer in kinds for inner in _inner(outer, step) for kind in _alternatives(inner)]
    literals = [value for kind in kinds if isinstance(kind, inspect.LiteralType) for value in kind.values]
    members = [member.value for kind in kinds if isinstance(kind, inspect.EnumType) for member in kind.cls]
    return [str(value) for value in [*literals, *members]]


def _alternatives(kind: inspect.Type) -> list[inspect.Type]:
    if isinstance(kind, inspect.Metadata):
        return _alternatives(kind.type)
    return (
        [one for inner in kind.types for one in _alternatives(inner)] if isinstance(kind, inspect.UnionType) else [kind]
    )


def _inner(kind: inspect.Type, step: str) -> list[inspect.Type]:
    """Return the type of a field, named by ``step``, or of the entries of a mapping or a list; empty if none."""
    if isinstance(kind, inspect.StructType):
        return [field.type for field in kind.fields if field.encode_name == step]
    if isinstance(kind, inspect.DictType):
        return [kind.value_type]
    return [kind.item_type] if isinstance(kind, inspect.ListType) else []


def _with_key(schema: type[Any], tree: Any, error: str, place: str) -> str:
    """Return the place of an error with the key of a mapping for which msgspec writes ``[...]``.

    The key is found by converting the tree with one entry of the mapping at a time.
    """
    path, gap, rest = place.partition("[...]")
    if not gap or "[" in path:
        return place
    node = copy = dict(tree)
    *parents, last = path.split(".")
    for parent in parents:
        node[parent] = node = dict(node[parent])
    for key, value in dict(node[last]).items():
        node[last] = {key: value}
        try:
            msgspec.convert(copy, schema)
        except msgspec.ValidationError as same:
            if str(same) == error:
                return f"{path}.{key}{rest}"
    return place


def parse_yaml(text: str) -> Any:
    """Parse a YAML text. Raises one of ``YAML_ERRORS``."""
    return yaml.load(text, _Loader)  # noqa: S506 - a safe loader


class _Loader(yaml.SafeLoader):
    """Refuses values that contain themselves, and mappings that grow exponentially through merge keys (``<<``)."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self.deep_construct = True  # children before parents, so that PyYAML detects recursion

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        super().flatten_mapping(node)
        if len(node.value) > _MAX_KEYS:
            raise yaml.constructor.ConstructorError(None, None, f"over {_MAX_KEYS} keys", node.start_mark)


# YAML 1.1 reads 3e-4 as a string, since it has no dot; users mean a number.
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)[eE][-+]?[0-9]+$"), list("-+.0123456789")
)
