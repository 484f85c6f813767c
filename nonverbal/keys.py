"""Settings as dotted keys: which keys a dataclass has, and whether the given keys and nulls are allowed."""

import difflib
from dataclasses import MISSING, Field, is_dataclass
from types import NoneType, UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from nonverbal.errors import UserError


def known(cls: type, prefix: str = "") -> dict[str, Any]:
    """Return types by dotted key, for every field of a dataclass and of the dataclasses in it."""
    found: dict[str, Any] = {}
    for key, hint in hints_of(cls).items():
        found[prefix + key] = hint
        if group := _group(hint):
            found |= known(group, f"{prefix}{key}.")
    return found


def hints_of(cls: type) -> dict[str, Any]:
    """Return types by key. If a key is a Python keyword, such as ``with``, the name of its field ends in ``_``."""
    hints = get_type_hints(cls).items()
    return {name.removesuffix("_"): hint for name, hint in hints if get_origin(hint) is not ClassVar}


def kinds_of(hint: Any) -> tuple[Any, ...]:
    """Return the types that a type stands for: the members of a union, or the type itself."""
    return get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)


def is_required(field: Field[Any]) -> bool:
    """Whether a field of a dataclass has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def tables(cls: type) -> dict[str, Any]:
    """Return the fields that map names to dataclasses, such as ``dict[str, Source]``, each with its dataclass."""
    return {key: get_args(hint)[1] for key, hint in hints_of(cls).items() if _is_table(hint)}


def check(content: dict[str, Any], cls: type, where: str) -> None:
    """Refuse keys that a dataclass does not have, and null if it would be mistaken for the default.

    Args:
        content: the given keys and values, nested as in the dataclass.
        cls: the dataclass.
        where: where they were given, for errors: "in the recipe x.yaml".

    Raises:
        UserError: names the key, ``where``, and the nearest known key or another remedy.
    """
    _check(content, cls, where, "", known(cls))


def _check(content: dict[str, Any], cls: type, where: str, prefix: str, all_known: dict[str, Any]) -> None:
    hints = hints_of(cls)
    for key, value in content.items():
        if key not in hints:
            # YAML reads 1, no and null as keys that are not strings.
            name = f"{prefix}{key}"
            raise UserError(f"unknown key {name!r} {where}; {_nearest(name, all_known)}")
        _check_value(value, hints[key], where, prefix + key, all_known)


def _check_value(value: Any, hint: Any, where: str, key: str, all_known: dict[str, Any]) -> None:
    group, is_dictionary = _group(hint), get_origin(hint) is dict
    if (group or is_dictionary) and not isinstance(value, dict):
        written = "is null" if value is None else f"is {value!r}"
        raise UserError(
            f"{key} {written} {where}, but must hold `key: value` lines; leave it out where nothing differs"
        )
    is_null = value is None or (isinstance(value, list) and None in value)
    if is_null and hint is not Any and NoneType not in _kinds(hint, value):
        written = "is null" if value is None else "holds null"
        raise UserError(f"{key} {written} {where}: give it a value, or leave it out for its default")
    if group:
        _check(value, group, where, f"{key}.", all_known)
    elif is_dictionary:
        entry = get_args(hint)[1]
        for name, item in value.items():
            keys = known(entry, f"{key}.{name}.") if _group(entry) else all_known
            _check_value(item, entry, where, f"{key}.{name}", keys)


def _kinds(hint: Any, value: Any) -> tuple[Any, ...]:
    """Return the members of a field's type; for a list, also the members of its items' type."""
    items = get_args(hint)[:1] if isinstance(value, list) else ()
    return (*get_args(hint), *(kind for item in items for kind in get_args(item)))


def _group(hint: Any) -> type | None:
    """Return the type of a field that is a dataclass; None for any other field."""
    return hint if isinstance(hint, type) and is_dataclass(hint) else None


def _is_table(hint: Any) -> bool:
    return get_origin(hint) is dict and is_dataclass(get_args(hint)[1])


def _nearest(path: str, all_known: dict[str, Any]) -> str:
    tails = {key: key.rsplit(".", 1)[-1] for key in all_known}
    tail = path.rsplit(".", 1)[-1]
    elsewhere = [key for key in all_known if "." in key and key.partition(".")[2] == path.partition(".")[2]]
    near = (
        elsewhere
        or difflib.get_close_matches(path, all_known, 1, 0.7)
        or [key for key in tails if tails[key] in difflib.get_close_matches(tail, tails.values(), 1, 0.7)]
    )
    return f"did you mean {near[0]!r}?" if near else "see --help for the keys there are"
