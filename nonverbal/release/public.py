"""A run's recipe and commands in a form that may be published: only the last part of each path."""

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
"""From the folder of a ``train.py`` to its command."""

NAMES = ("--repo", "--base_model", "--base-model")
"""Settings that are names on the Hub rather than paths."""

QUERY = re.compile(r"[?#][\w.%-]+=.*")
"""Parameters at the end of an address, which may contain a token."""

PREFIX = re.compile(r"[\w.-]{2,}:(?!//)")
"""A prefix of a path, such as ``initialised:``; a single letter is a drive."""

WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\|(?:~|\.\.?)\\")
"""Beginning of a Windows path."""

ROOTED = re.compile(rf"^(?:/|~|\.\.?[/\\]|{WINDOWS.pattern})|://")
"""What is certainly a path or an address."""


def recipe_text(recipe: dict[str, Any]) -> str:
    """Return a recipe as YAML, without settings of other families, and with only the last part of each path."""
    if not recipe:
        return ""
    others = FAMILIES.keys() - {recipe.get("family")}
    own = {key: value for key, value in recipe.items() if key not in others}
    return yaml.safe_dump(_without_paths(own), sort_keys=False, allow_unicode=True)


def _without_paths(value: Any) -> Any:
    if isinstance(value, dict):
        # Not every key with a slash is a path: the name of a label or a corpus may contain one.
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
    """Return the last part of a path. Names of known checkpoints on the Hub and of shipped recipes stay complete.

    The parameters of an address, which may contain a token, are left out. Each line of a text is treated as a path.
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
    """Return the commands that trained a run, without repetitions, with only the last part of each path."""
    path = run / "environment.json"
    launches = read_file(path, list) if path.is_file() else []
    found = [row["command"] for row in launches if isinstance(row, dict) and isinstance(row.get("command"), list)]
    return list(dict.fromkeys(command_line([str(part) for part in command]) for command in found))


def command_line(argv: Sequence[str]) -> str:
    """Return a launch as a ``nonverbal`` command line. The first word of a launch is a program or a command."""
    argv = argv[1:] if argv[0] == "nonverbal" else argv
    place = Path(argv[0])
    known = place.parent.name in COMMANDS and place.name == "train.py"
    words = ["nonverbal", COMMANDS[place.parent.name] if known else place.stem]
    for before, word in pairwise(argv):
        key, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
        words.append(key + equals + (value if (key or before) in NAMES else _scrubbed(value)))
    return shlex.join(words)


def _scrubbed(value: str) -> str:
    """Return the value of a setting with only the last part of each path."""
    if value.startswith(("{", "[")):
        with contextlib.suppress(ValueError):
            return json.dumps(_without_paths(json.loads(value)), ensure_ascii=False)
    return ",".join(map(last_part, value.split(",")))
