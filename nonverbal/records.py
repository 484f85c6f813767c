"""Reads dataclasses from YAML or JSON that others wrote. A value without its field's type is an error that names it."""

import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from nonverbal.errors import UserError
from nonverbal.keys import check, is_required, kinds_of
from nonverbal.paths import PathOrName

T = TypeVar("T")

WORDS = {
    float: "a finite number",
    int: "a whole number",
    str: "a text",
    bool: "true or false",
    NoneType: "null",
    Path: "a path",
    PathOrName: "a path or a name",
}
"""Names of types in errors."""


def read_record(cls: type[T], content: Any, where: str) -> T:
    """Return content as an instance of a dataclass.

    Args:
        cls: the dataclass. Its fields, and those of the dataclasses in it, may be strings, numbers, booleans, choices
            (Literal), lists, dictionaries with strings as keys, unions of these, and Any.
        content: nested in the same way as the dataclass. A field ``name_`` is written as ``name``.
        where: its place, for errors: "in study.json".

    Raises:
        UserError: a key is unknown (the error suggests the nearest one) or missing, or a value has another type.
    """
    if not isinstance(content, dict):
        raise UserError(f"the content {where} must be `key: value` pairs, but is {abridged(content)}")
    made = _made(cls, content, "", where)
    assert isinstance(made, cls)
    return made


def _made(hint: Any, value: Any, key: str, where: str) -> Any:
    """Return the value as a field of this type stores it."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if len(kinds_of(hint)) > 1:
        return _one_of(inner, value, key, where)
    if is_dataclass(hint) and isinstance(value, dict):
        return _filled(hint, value, key, where)
    if origin is list and isinstance(value, list):
        return [_made(inner[0], item, f"{key}[{place}]", where) for place, item in enumerate(value)]
    if origin is dict and isinstance(value, dict):
        texts = {name: item for name, item in value.items() if isinstance(name, str)}
        if len(texts) == len(value):
            return {name: _made(inner[1], item, f"{key}.{name}", where) for name, item in value.items()}
    if origin is Literal and any(value == one and type(value) is type(one) for one in inner):
        return value
    # Refuses NaN, and integers that no float can represent.
    if hint is float and type(value) in (int, float) and abs(value) <= sys.float_info.max:
        return float(value)
    if hint in (int, str, bool, NoneType) and type(value) is hint:
        return value
    raise UserError(f"{key} must be {in_words(hint)}, but is {abridged(value)} {where}")


def _one_of(kinds: tuple[Any, ...], value: Any, key: str, where: str) -> Any:
    """Return the value as the first of several types that it fits."""
    fitting = [kind for kind in kinds if _container(kind) is type(value)]
    if len(fitting) == 1:
        # So that the error names the wrong item.
        return _made(fitting[0], value, key, where)
    for kind in kinds:
        try:
            return _made(kind, value, key, where)
        except UserError:
            continue
    raise UserError(f"{key} must be {in_words(*kinds)}, but is {abridged(value)} {where}")


def _container(kind: Any) -> type | None:
    return dict if is_dataclass(kind) else get_origin(kind) if get_origin(kind) in (list, dict) else None


def _filled(cls: Any, content: dict[str, Any], key: str, where: str) -> Any:
    hints, prefix = get_type_hints(cls), f"{key}." if key else ""
    check(content, cls, f"in {key} {where}" if key else where)
    values = {}
    for field in fields(cls):
        written = field.name.removesuffix("_")
        if written in content:
            values[field.name] = _made(hints[field.name], content[written], prefix + written, where)
        elif is_required(field):
            raise UserError(f"{prefix}{written} is missing {where}")
    return cls(**values)


def in_words(*hints: Any) -> str:
    """Return the name of a value of one of these types for errors: a whole number, 'all' or null."""
    *words, last = [word for hint in hints for kind in kinds_of(hint) for word in _words(kind)]
    return f"{', '.join(words)} or {last}" if words else last


def _words(kind: Any) -> list[str]:
    if get_origin(kind) is Literal:
        return list(map(repr, get_args(kind)))
    if get_origin(kind) is tuple:
        return [f"a list of {len(get_args(kind))}"]
    return ["a list" if get_origin(kind) is list else WORDS.get(kind, "`key: value` pairs")]


def abridged(value: Any) -> str:
    """Return the beginning of a value as Python writes it, without characters that control a terminal."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
