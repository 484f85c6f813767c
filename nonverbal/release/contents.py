"""The files in a released folder, and what does not belong there. Nothing is loaded, and no link is followed."""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import read_json

OF_THE_HUB = re.compile(r"(?:\.gitattributes|LICENSE)$|\.cache/huggingface/")
"""Files that the Hub, its page and its client add to a release. They are not part of it, and no model reads them."""


@dataclass(frozen=True)
class Contents:
    """The content of a folder, by paths relative to it; links are not followed."""

    folder: Path
    files: tuple[str, ...]
    """Regular files, without ``of_the_hub``."""
    of_the_hub: tuple[str, ...]
    """Regular files that match ``OF_THE_HUB``."""
    links: tuple[str, ...]
    others: tuple[str, ...]
    """Pipes, sockets, devices."""

    @cached_property
    def config(self) -> Mapping[str, Any]:
        """The content of ``config.json``; empty if it cannot be read."""
        found = self.json("config.json")
        return found if isinstance(found, dict) else {}

    def json(self, name: str) -> Any:
        """Return the content of a JSON file; None if it is missing or not JSON."""
        if name not in self.files:
            return None
        try:
            return read_json(self.folder / name)
        except (OSError, ValueError, RecursionError):
            return None

    @property
    def code(self) -> list[str]:
        """Python files."""
        return [name for name in self.files if name.endswith(".py")]


def contents_of(folder: Path) -> Contents:
    """List the content of a folder.

    Raises:
        UserError: there is no such folder.
    """
    if not folder.is_dir():
        raise UserError(f"there is no folder {folder}; give one that nonverbal release wrote, or a Hub repository")
    files, links, others = [], [], []
    for place, folders, names in os.walk(folder):
        for name in [*names, *folders]:
            path = Path(place, name)
            inside, mode = path.relative_to(folder).as_posix(), path.lstat().st_mode
            if stat.S_ISLNK(mode):
                links.append(inside)
            elif stat.S_ISREG(mode):
                files.append(inside)
            elif not stat.S_ISDIR(mode):
                others.append(inside)
    own = [name for name in files if not OF_THE_HUB.match(name)]
    of_the_hub = [name for name in files if OF_THE_HUB.match(name)]
    return Contents(folder, *(tuple(sorted(found)) for found in (own, of_the_hub, links, others)))


def leaves(name: str) -> bool:
    """Whether a relative path leads out of its folder, on any operating system."""
    path = PurePosixPath(name.replace("\\", "/"))
    return path.is_absolute() or ".." in path.parts or bool(PureWindowsPath(name).drive) or not path.parts
