"""Settings of a step as the arguments that a user would type."""

import json
import re
from typing import Any

PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*(\.[A-Za-z_][A-Za-z0-9_-]*)*")
"""Keys that can follow ``--``, with or without dots."""

FREE = (
    "jobs",
    "processes",
    "cache",
    "embeddings",
    *(
        f"trainer.{name}"
        for name in ("workers", "processes", "zero", "offload", "timeout_minutes", "watchdog", "log_every")
    ),
)
"""Settings, with those below them, that decide where and how fast a command runs, but do not affect its results."""


def flat(settings: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings by dotted key. A mapping with a key that cannot be part of one, such as ``*``, is one value."""
    found: dict[str, Any] = {}
    for key, value in settings.items():
        is_group = isinstance(value, dict) and value and all(PLAIN.fullmatch(name) for name in value)
        found |= flat(value, f"{prefix}{key}.") if is_group else {f"{prefix}{key}": value}
    return found


def counted(settings: dict[str, Any]) -> dict[str, Any]:
    """Return those flat settings on which results depend."""
    return {
        key: value for key, value in settings.items() if not f"{key}.".startswith(tuple(f"{name}." for name in FREE))
    }


def arguments(run: str, recipe: str | None, settings: dict[str, Any]) -> list[str]:
    """Return what follows ``nonverbal``: the command, its positional arguments, and flat settings in their order."""
    rest = dict(settings)
    lead = [] if recipe is None else [recipe]
    if run == "analyze" and "name" in rest:
        lead = [str(rest.pop("name"))]
    if run == "prepare":
        folders = {key: key.split(".")[1] for key in rest if re.fullmatch(r"corpora\.[^.=/-][^.=/]*\.folder", key)}
        lead += [f"{name}={rest.pop(key)}" for key, name in folders.items()]
    return [run, *lead, *(word for key, value in rest.items() for word in _argument(key, value))]


def _argument(key: str, value: Any) -> list[str]:
    if isinstance(value, list) and value and all(_is_word(item) for item in value):
        return [f"--{key}", *map(_text, value)]
    text = json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else _text(value)
    return [f"--{key}={text}"] if text == "" or text.startswith("--") else [f"--{key}", text]


def _is_word(item: Any) -> bool:
    """Whether an item of a list can be an argument by itself: commas separate items, and brackets begin JSON."""
    if isinstance(item, str):
        return bool(item) and "," not in item and not item.startswith(("--", "[", "{"))
    return isinstance(item, bool | int | float)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
