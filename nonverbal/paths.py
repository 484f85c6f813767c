"""Expands ``~`` and environment variables in paths, as in a shell."""

import os
import re
from pathlib import Path

from nonverbal.errors import UserError

VARIABLE = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)
HOME = re.compile(r"\A(\w+:)?(~[^/]*)")
"""A home folder at the start of a path or, as in ``initialised:~/encoder``, after a word and a colon."""


class PathOrName(str):
    """A path, or the name of something else, such as an id on the Hugging Face Hub."""


def check_folder_of(path: Path | None, key: str) -> None:
    """Refuse a file to write, given as ``--KEY``, if its folder does not exist; None means no file.

    Raises:
        UserError: names the folder.
    """
    if path is not None and not path.parent.is_dir():
        raise UserError(f"--{key}: there is no folder {path.parent}; make it first")


def expanded(text: str, where: str) -> str:
    """Return a path with ``~``, ``~user``, ``$NAME`` and ``${NAME}`` replaced.

    A variable that is not set is kept if a file or folder of that name exists, because a name may contain a ``$``.

    Args:
        text: the path.
        where: the setting that it was given for, for errors.

    Raises:
        UserError: there is no such user or variable.
    """
    if home := HOME.match(text):
        found = os.path.expanduser(home[2])
        if found == home[2]:
            raise UserError(f"{where}: {text!r} names the home folder of {found[1:]!r}, but there is no such user")
        text = (home[1] or "") + found + text[home.end() :]
    return VARIABLE.sub(lambda match: _variable(match, where), text)


def _variable(match: re.Match[str], where: str) -> str:
    name = match[1] or match[2]
    if name in os.environ:
        return os.environ[name]
    up_to = match.string[: match.end()] + match.string[match.end() :].partition("/")[0]
    if os.path.lexists(up_to):
        return match[0]
    raise UserError(f"{where}: {match.string!r} names the variable {name}, which is not set; set it, or write the path")
