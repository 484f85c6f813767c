"""Recipes: YAML files with the settings that differ from the defaults, or from another recipe, named as ``base``."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import reduce
from pathlib import Path
from typing import Any

import yaml

from nonverbal.errors import UserError
from nonverbal.keys import check
from nonverbal.paths import expanded
from nonverbal.shipped import find_file

TEXT = "tag:yaml.org,2002:str"
MERGE = "tag:yaml.org,2002:merge"

LEVELS = 32
"""Deepest nesting of a recipe."""

MOST = 100_000
"""Largest number of values in a file of YAML, with aliases (*) expanded, because a few lines can expand to any number.
"""

DEEP = f"more than {LEVELS} levels deep, or an alias (*) stands within what it stands for"

FAULTS = (yaml.YAMLError, ValueError, LookupError, AttributeError, TypeError, ArithmeticError, RecursionError)
"""Exceptions of PyYAML for a text that it cannot read; all but the first are for values that do not fit their tag."""


@dataclass(frozen=True)
class Layer:
    """One file of a recipe."""

    path: Path
    """The file."""
    where: str
    """Its description in errors."""
    text: str
    """Its content."""
    node: yaml.MappingNode
    """The same, parsed, without ``base``."""
    base: str | None
    """The recipe that it is based on, as named in the file."""


@dataclass(frozen=True)
class Recipe:
    """A recipe and its bases."""

    layers: list[Layer]
    """The recipe itself, then its base, the base of that, and so on."""

    @property
    def text(self) -> str:
        """YAML without ``base``: mappings are merged key by key; for all other values, the upper file wins."""
        if len(self.layers) == 1:
            return self.layers[0].text
        return str(yaml.serialize(reduce(_merged, [layer.node for layer in reversed(self.layers)]), allow_unicode=True))

    @property
    def content(self) -> dict[str, Any]:
        """The values in ``text``."""
        return _content(self.text)

    def without(self, past: Mapping[str, Any]) -> "Recipe":
        """Return the recipe without the settings of ``past`` (dotted key to value) that have the value given there.

        The ``recipe.yaml`` of a run contains every setting that existed when the run was started.
        """
        left = [_without(layer.node, past) for layer in self.layers]
        return Recipe(
            [
                layer if node == layer.node else replace(layer, node=node, text=yaml.serialize(node))
                for layer, node in zip(self.layers, left, strict=True)
            ]
        )

    def check(self, cls: type) -> None:
        """Refuse keys that the dataclass ``cls`` does not have, and null for values that must be set, in each file.

        Raises:
            UserError: names the key and its file.
        """
        for layer in self.layers:
            must = "" if layer is self.layers[0] else ", which must be a recipe of the same command"
            check(_content(yaml.serialize(layer.node)), cls, f"in {layer.where}{must}")


def read_recipe(name: str) -> Recipe:
    """Read a recipe, and the recipes that it is based on.

    Args:
        name: a path, or the name of a shipped recipe; ``~`` and variables are expanded. A ``base`` is searched for in
            the folder of the recipe that names it, then among the shipped ones.

    Raises:
        UserError: there is no such file, it is not a recipe, or it is its own base. Names the file and the recipe that
            names it as its base.
    """
    path = find_file(expanded(name, "the recipe"))
    layers = [_layer(path, f"the recipe {path}")]
    while (base := layers[-1].base) is not None:
        named_in = layers[-1].path
        try:
            path = find_file(expanded(base, "base"), named_in.parent)
        except UserError as error:
            raise UserError(f"the base of {named_in}: {error}") from error
        if path.resolve() in [layer.path.resolve() for layer in layers]:
            raise UserError(
                f"{named_in} names {path} as its base, which is itself based on {named_in}; remove one `base:` line"
            )
        layers.append(_layer(path, f"{path} (the base of {named_in})"))
    return Recipe(layers)


def _layer(path: Path, where: str) -> Layer:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read {where}: {error}") from error
    node, content = _parsed(text, where)
    bases = [value for key, value in node.value if key.value == "base"]
    if any(base.tag != TEXT for base in bases):
        raise UserError(f"{where}: base must be the path or name of one recipe, but is {content['base']!r}")
    node.value = [(key, value) for key, value in node.value if key.value != "base"]
    return Layer(path, where, text, node, bases[-1].value if bases else None)


def yaml_of(text: str) -> Any:
    """Return the content of YAML: numbers, strings, lists, dictionaries and dates.

    Raises:
        ValueError: it cannot be read, is nested too deeply, or has too many values.
    """
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is None:
            return None
        _check_size(node)
        return yaml.SafeLoader("").construct_document(node)
    except FAULTS as error:
        reason = f"it is nested {DEEP}" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise ValueError(f"not valid YAML: {reason}") from error


def _check_size(node: yaml.Node) -> None:
    values = _values(node, 0, {})
    if values > MOST:
        raise ValueError(f"its aliases (*) expand to {values:.3g} values, but at most {MOST} are read")


def _values(node: yaml.Node, level: int, known: dict[tuple[int, int], int]) -> int:
    """Count the values in a node with aliases expanded, visiting each target of an alias only once."""
    if level > LEVELS:
        raise ValueError(f"line {node.start_mark.line + 1}: this is nested {DEEP}")
    key = id(node), level
    if isinstance(node, yaml.ScalarNode):
        # An escaped half of a character, which nothing can write, cannot be encoded.
        node.value.encode()
    if key not in known:
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        inner = (
            node.value
            if isinstance(node, yaml.SequenceNode)
            else [item for key, value in pairs for item in (value, key)]
        )
        known[key] = 1 + sum(_values(item, level + 1, known) for item in inner)
    return known[key]


def _parsed(text: str, where: str) -> tuple[yaml.MappingNode, dict[str, Any]]:
    """Return the nodes of a recipe, with ``<<`` resolved, and their content, which checks that YAML can read it all."""
    try:
        node = yaml.compose(text, yaml.SafeLoader)
        if node is not None:
            _check_size(node)
        if isinstance(node, yaml.MappingNode):
            _check_names(node, where)
            _resolve_merges(node)
        content = None if node is None else yaml.SafeLoader("").construct_document(node)
    except UserError:
        raise
    except FAULTS as error:
        reason = f"it is nested {DEEP}" if isinstance(error, RecursionError) else " ".join(str(error).split())
        raise UserError(f"{where} is not valid YAML: {reason}") from error
    if not isinstance(node, yaml.MappingNode) or not isinstance(content, dict):
        kind = "nothing" if content is None else "a list" if isinstance(content, list) else "one value"
        raise UserError(f"{where} must hold `key: value` lines, but holds {kind}")
    return node, content


def _content(text: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def _check_names(node: yaml.Node, where: str) -> None:
    """Refuse a key that occurs twice, of which YAML would use the last, or that YAML does not read as a string."""
    names = set()
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        line = f"{where}, line {key.start_mark.line + 1}"
        if key.tag not in (TEXT, MERGE):
            raise UserError(f"{line}: YAML does not read the key {key.value!r} as a string; write it in quotes")
        if key.value in names:
            raise UserError(f"{line}: the key {key.value!r} occurs twice; remove one, or give it another name")
        names.add(key.value)
        _check_names(value, where)
    for item in node.value if isinstance(node, yaml.SequenceNode) else []:
        _check_names(item, where)


def _resolve_merges(node: yaml.Node) -> None:
    """Replace YAML's ``<<`` by the keys that it stands for."""
    if isinstance(node, yaml.MappingNode):
        yaml.SafeLoader("").flatten_mapping(node)
        for _, value in node.value:
            _resolve_merges(value)


def _without(node: yaml.MappingNode, past: Mapping[str, Any], prefix: str = "") -> yaml.MappingNode:
    """Return the node without settings of ``past``, or the node itself if it has none."""
    pairs = []
    for key, value in node.value:
        name = f"{prefix}{key.value}"
        if isinstance(value, yaml.MappingNode):
            pairs.append((key, _without(value, past, f"{name}.")))
        elif name not in past or yaml.safe_load(yaml.serialize(value)) != past[name]:
            pairs.append((key, value))
    return node if pairs == node.value else yaml.MappingNode(node.tag, pairs)


def _merged(below: yaml.MappingNode, above: yaml.MappingNode) -> yaml.MappingNode:
    """Return the pairs of both. If both have a key, mappings are merged, and otherwise the upper value is used."""
    pairs = {key.value: (key, value) for key, value in below.value}
    for key, value in above.value:
        under = pairs[key.value][1] if key.value in pairs else None
        if isinstance(under, yaml.MappingNode) and isinstance(value, yaml.MappingNode):
            value = _merged(under, value)
        pairs[key.value] = (key, value)
    return yaml.MappingNode(below.tag, list(pairs.values()))
