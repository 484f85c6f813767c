"""What of a run's recipe and commands may be published: of paths their last parts alone."""

import contextlib
import json
import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from nonverbal.families import FAMILIES
from nonverbal.public_checkpoints import CHECKPOINTS
from nonverbal.report.origins import read_file

COMMANDS = {"pretrain": "pretrain", "finetune": "finetune"}
"""Folder of a ``train.py`` to the command that runs it."""

NAMES = ("--repo", "--base_model", "--base-model")
"""Settings that are names of the Hub, and no paths."""

QUERY = re.compile(r"[?#][\w.%-]+=.*")
"""What stands behind an address: a token among other things."""

PREFIX = re.compile(r"[\w.-]{2,}:(?!//)")
"""What stands before a path, such as ``initialised:``; a letter alone is a drive."""

WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\|(?:~|\.\.?)\\")
"""How a path of Windows begins."""

ROOTED = re.compile(rf"^(?:/|~|\.\.?[/\\]|{WINDOWS.pattern})|://")
"""What is a path or an address for certain."""


def recipe_text(recipe: dict[str, Any]) -> str:
    """Return a recipe without groups of other families, and of paths their last parts alone."""
    if not recipe:
        return ""
    others = FAMILIES.keys() - {recipe.get("family")}
    own = {key: value for key, value in recipe.items() if key not in others}
    return yaml.safe_dump(_without_paths(own), sort_keys=False, allow_unicode=True)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        # A label or a corpus may have a slash in its name.
        kept: dict[Any, Any] = {}
        for key, item in value.items():
            name = last_part(key) if _is_place(key) else key
            same = sum(str(other).partition(" (")[0] == name for other in kept)
            kept[f"{name} ({same + 1})" if same and name in kept else name] = _without_paths(item)
        return kept
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    return last_part(value) if isinstance(value, str) else value


def _is_place(key: object) -> bool:
    return isinstance(key, str) and (ROOTED.search(key) or QUERY.search(key)) is not None


def last_part(text: str) -> str:
    """Return the last part of a path, as nobody's business is where it lies; checkpoints of the Hub stay as they are.

    So do shipped recipes, which stand in this toolkit under their names. Of an address what it asks for, which may be a
    token, is left out. Of several lines each is taken for a path.
    """
    if "\n" in text:
        return "\n".join(map(last_part, text.split("\n")))
    text = QUERY.sub("", text)
    if before := PREFIX.match(text):
        return before[0] + last_part(text[before.end() :])
    source = text.replace("\\", "/") if WINDOWS.match(text) else text
    if source in CHECKPOINTS or "/" not in source:
        return source
    shipped = re.search(r"(?:^|/)(recipes/(?:\w+/)?[\w.-]+\.yaml)$", source)
    last = source.rstrip("/").rpartition("/")[2]
    return shipped[1] if shipped else last.rpartition("@")[2] if "://" in source else last


def commands_of(run: Path) -> list[str]:
    """Return the commands that trained a run, each once, of paths their last parts alone."""
    path = run / "environment.json"
    launches = read_file(path, list) if path.is_file() else []
    found = [row["command"] for row in launches if isinstance(row, dict) and isinstance(row.get("command"), list)]
    return list(dict.fromkeys(command_line([str(part) for part in command]) for command in found))


def command_line(argv: Sequence[str]) -> str:
    """Return a launch as a line for a shell, as ``nonverbal`` takes it; its first part is a program, or a command."""
    argv = argv[1:] if argv[0] == "nonverbal" else argv
    place = Path(argv[0])
    known = place.parent.name in COMMANDS and place.name == "train.py"
    words = ["nonverbal", COMMANDS[place.parent.name] if known else place.stem]
    for before, word in pairwise(argv):
        key, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(key + equals + (value if (key or before) in NAMES else _scrubbed(value)))
    return shlex.join(words)


def _scrubbed(value: str) -> str:
    """Return the value of a setting, of paths their last parts alone."""
    if value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.dumps(_without_paths(json.loads(value)), ensure_ascii=False)
    return ",".join(map(last_part, value.split(",")))
