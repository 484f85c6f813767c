"""Launches of commands, as stored in ``environment.json``: command, settings, versions, machine."""

import hashlib
import json
import os
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import read_json, write_atomically
from nonverbal.system import version_of

FILE = "environment.json"

PACKAGES = ("nonverbal", "torch", "transformers", "numpy", "scipy", "scikit-learn", "soundfile", "opensmile")
"""Packages on which scores of frozen encoders depend."""

OF_CONTENT = ("command", "settings", "python", "platform", "packages")
"""Keys in which two launches must agree to count as the same."""


def launch_of(command: Sequence[str], packages: Sequence[str] = PACKAGES, **facts: Any) -> dict[str, Any]:
    """Return the record of a command that starts now.

    Args:
        command: as it was given; bytes that are not UTF-8, which names of files may contain, are escaped.
        packages: whose versions are recorded.
        facts: further entries.
    """
    return {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "command": [os.fsencode(argument).decode("utf-8", "backslashreplace") for argument in command],
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: version_of(name) for name in packages},
        **facts,
    }


def launch_key(launch: dict[str, Any]) -> str:
    """Return the hash of a launch, 12 hexadecimal digits. It does not depend on the time of the launch."""
    content = json.dumps([launch.get(name) for name in OF_CONTENT], ensure_ascii=False)
    return hashlib.sha256(content.encode(errors="surrogatepass")).hexdigest()[:12]


def add_launch(folder: Path, launch: dict[str, Any]) -> str:
    """Add a launch to the ``environment.json`` of a folder, which is created if missing, and return its key.

    Raises:
        UserError: the file is damaged.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / FILE
    rows = [*read_launches(path), launch] if path.exists() else [launch]
    write_atomically(path, json.dumps(rows, indent=1))
    return launch_key(launch)


def read_launches(path: Path) -> list[dict[str, Any]]:
    """Return the launches in a file, the earliest first.

    Raises:
        UserError: the file is damaged.
    """
    try:
        rows = read_json(path)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); {REMEDY}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UserError(f"{path} is damaged: it holds {str(rows)[:80]!r}; {REMEDY}")
    return rows


REMEDY = "restore the file that the command wrote, or give another --out"
