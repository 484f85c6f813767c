"""Heads by name and settings: ``fcn``, or with other settings than its defaults ``fcn:dropout=0.1,batch=16``."""

import difflib
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any

import yaml

from nonverbal.errors import UserError
from nonverbal.evaluation.heads import FRAME_HEADS, HEADS
from nonverbal.evaluation.heads.base import Head


def head_named(text: str) -> Head[Any]:
    """Return a head.

    Args:
        text: a name in ``HEADS`` or ``FRAME_HEADS``; after a colon, settings that differ from the head's defaults, as
            ``key=value``, separated by commas.

    Raises:
        UserError: there is no such head or setting, or a value has the wrong type or is refused by the head.
    """
    name, _, settings = text.partition(":")
    known: dict[str, Head[Any]] = {**HEADS, **FRAME_HEADS}
    if name not in known:
        raise UserError(f"there is no head {name!r}; there are {', '.join(known)}")
    head: Any = known[name]
    if not settings:
        return known[name]
    changes = [change.partition("=") for change in settings.split(",") if change]
    changed: Head[Any] = replace(head, **{key: _value(name, head, key, value) for key, _, value in changes})
    return changed


def full_name(text: str) -> str:
    """Return a head's name with the settings that differ from its defaults, in a single spelling, as in scores.

    Raises:
        UserError: see ``head_named``.
    """
    name = text.partition(":")[0]
    return spelled(name, _settings(head_named(text)), _settings(head_named(name)))


def spelled(name: str, settings: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """Return a head's name with those of its settings that differ from the defaults."""
    changed = [f"{key}={value}" for key, value in settings.items() if value != defaults[key]]
    return f"{name}:{','.join(changed)}" if changed else name


def reads_frames(text: str) -> bool:
    """Whether a head reads frames rather than pooled embeddings."""
    return text.partition(":")[0] in FRAME_HEADS


def _settings(head: Any) -> dict[str, Any]:
    """Return the settings of a head that are a single value."""
    if not is_dataclass(head):
        return {}
    values = {field.name: getattr(head, field.name) for field in fields(head)}
    return {key: value for key, value in values.items() if isinstance(value, bool | int | float)}


def _value(name: str, head: Any, key: str, text: str) -> Any:
    settings = _settings(head)
    if key not in settings:
        close = difflib.get_close_matches(key, settings, n=1)
        there = f"did you mean {close[0]}?" if close else f"there are {', '.join(settings) or 'none'}"
        raise UserError(f"the head {name} has no setting {key!r}; {there}")
    kind, value = type(settings[key]), yaml.safe_load(text)
    # YAML reads 1e-3 as text.
    if kind is float and not isinstance(value, bool):
        try:
            return float(text)
        except ValueError:
            value = text
    if type(value) is not kind:
        words = {bool: "true or false", int: "a whole number", float: "a number"}
        raise UserError(f"{key} of the head {name} must be {words[kind]}, but is {text!r}")
    return value
