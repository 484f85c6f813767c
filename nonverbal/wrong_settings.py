"""Finds what is wrong with settings that the parser refused: a value of the wrong type, or a missing value."""

import difflib
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass
from functools import reduce
from itertools import repeat
from typing import Any, get_args, get_origin

from nonverbal.keys import hints_of, is_required, kinds_of, tables
from nonverbal.recipes import FAULTS
from nonverbal.records import abridged, in_words

Value = tuple[str, Any, Any]
"""A dotted key, the type of its field, and the value given for it."""


@dataclass(frozen=True)
class Given:
    """Settings from one place."""

    content: dict[str, Any]
    """The settings, nested as in the dataclass; on the command line, values may be YAML texts."""
    before: str = ""
    """Text before a key in an error: -- on the command line."""
    after: str = ""
    """Text at the end of an error: where the value was given."""


def fault(given: list[Given], cls: type) -> str | None:
    """Return an error message about a value that does not suit its field, or else about missing settings.

    Args:
        given: the settings from each place; later ones take precedence.
        cls: the dataclass that they are for, whose keys have been checked (``nonverbal.keys.check``).

    Returns:
        The first fault, or None if each value suits its field and no required one is missing.
    """
    for place, one in enumerate(given):
        counts = _without(one.content, _merged(given[place + 1 :]))
        if wrong := _first_wrong(_values(counts, cls)):
            key, hint, value = wrong
            return f"{one.before}{key} must be {in_words(hint)}, but is {abridged(value)}{one.after}"
    all_given = _merged(given)
    if missing := _missing(all_given, cls):
        return f"missing: {', '.join(f'--{key}' for key in missing)}{_meant(missing[0], all_given, cls)}"
    return None


def _values(content: dict[str, Any], cls: type, prefix: str = "") -> list[Value]:
    hints = hints_of(cls)
    return [(prefix + key, hints[key], value) for key, value in content.items() if key in hints]


def _first_wrong(values: Iterable[Value]) -> Value | None:
    return next((wrong for value in values if (wrong := _wrong(*value))), None)


def _wrong(key: str, hint: Any, value: Any) -> Value | None:
    """Return the innermost value that does not suit its field. A group may lack keys, which another place may give."""
    if groups := _groups(key, hint, value):
        return _first_wrong(inner for name, group, items in groups for inner in _values(items, group, f"{name}."))
    if _suits(hint, value):
        return None
    parts = (part for kind in kinds_of(hint) for part in _parts(key, kind, value))
    return _first_wrong(parts) or (key, hint, value)


def _groups(key: str, hint: Any, value: Any) -> list[tuple[str, Any, dict[str, Any]]]:
    """Return the key, dataclass and content of a group, or of each group in a table; nothing for plain values."""
    for kind in kinds_of(hint) if isinstance(value, dict) else ():
        if is_dataclass(kind):
            return [(key, kind, value)]
        if get_origin(kind) is dict and is_dataclass(entry := get_args(kind)[1]):
            return [(f"{key}.{name}", entry, item) for name, item in value.items()]
    return []


def _parts(key: str, kind: Any, value: Any) -> list[Value]:
    """Return the values in a list or dictionary; nothing if the value is not of that kind."""
    from jsonargparse import get_loader

    origin, inner = get_origin(kind), get_args(kind)
    if origin in (list, tuple) and isinstance(value, str) and value.startswith("["):
        with suppress(*FAULTS):
            value = get_loader("yaml")(value)
    if origin is dict and isinstance(value, dict):
        return [(f"{key}.{name}", inner[1], item) for name, item in value.items()]
    if origin in (list, tuple) and isinstance(value, list):
        hints = repeat(inner[0]) if origin is list else inner
        return [(f"{key}[{place}]", hint, item) for place, (hint, item) in enumerate(zip(hints, value, strict=False))]
    return []


def _suits(hint: Any, value: Any) -> bool:
    """Whether the parser accepts this value by itself."""
    from jsonargparse import ArgumentError, ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=hint)
    try:
        parser.parse_object({"value": value})
    except (ArgumentError, OverflowError):
        return False
    return True


def _missing(content: dict[str, Any], cls: type, prefix: str = "") -> list[str]:
    """Return the keys of required fields that are not given."""
    found, hints = [], hints_of(cls)
    for field in fields(cls):
        key = field.name.removesuffix("_")
        is_group = is_dataclass(hints[key])
        # The default of a group has a value for each of its keys.
        if not is_required(field) and (is_group or key not in content):
            continue
        if key not in content and not is_group:
            found.append(prefix + key)
        for name, group, items in _groups(prefix + key, hints[key], content.get(key, {})):
            found += _missing(items, group, f"{name}.")
    return found


def _meant(missing: str, content: dict[str, Any], cls: type) -> str:
    """Suggest the entry of a table whose name is closest to that of one that lacks a key, which may be misspelt."""
    table, _, rest = missing.partition(".")
    if table not in tables(cls):
        return ""
    name = rest.rpartition(".")[0]
    near = difflib.get_close_matches(name, [other for other in content[table] if other != name], 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _merged(given: list[Given]) -> dict[str, Any]:
    return reduce(_over, [one.content for one in given], {})


def _over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {key for key in below.keys() & above.keys() if isinstance(below[key], dict) and isinstance(above[key], dict)}
    return below | above | {key: _over(below[key], above[key]) for key in both}


def _without(content: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that no later place overrides."""
    left = {}
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(above.get(key, {}), dict):
            left[key] = _without(value, above.get(key, {}))
        elif key not in above:
            left[key] = value
    return left
