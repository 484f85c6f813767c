"""Where recipes, programs and templates lie: beside the package in a checkout, inside it in a wheel."""

import difflib
import os
from pathlib import Path

from nonverbal.errors import UserError


def find_shipped(name: str) -> Path:
    """Return a program or template of this package: inside an installed wheel or a checkout, and nowhere else."""
    return _root() / name


def find_file(name: str, folder: Path = Path()) -> Path:
    """Find a recipe: a path as given, else one that is shipped.

    Args:
        name: a path, or the name of a shipped recipe (``recipes/demo.yaml``).
        folder: what a relative path is relative to; the current folder where it is left out.

    Raises:
        UserError: there is no such file.
    """
    for place in (folder / name, find_shipped(name)):
        # pathlib raises at a name that is too long.
        if os.path.isfile(place):
            return place
    where = "here" if folder == Path() else f"in {folder}"
    raise UserError(f"no file {name!r} {where} or among the shipped ones; {_hint(folder / name)}")


def _hint(missing: Path) -> str:
    """The recipe whose name is nearest, beside what is missing or shipped; else all that are shipped."""
    shipped = sorted(path.relative_to(_root()) for path in _root().glob("recipes/**/*.yaml"))
    beside = missing.parent.glob("*.yaml") if missing.parent.is_dir() else ()
    by_name = {path.name: path for path in [*shipped, *sorted(beside)]}
    near = difflib.get_close_matches(missing.name, by_name, 1, 0.8)
    return f"did you mean {by_name[near[0]]}?" if near else f"shipped recipes: {', '.join(map(str, shipped))}"


def _root() -> Path:
    """The folder of programs, recipes and templates."""
    package = Path(__file__).parent
    return package / "programs" if (package / "programs").is_dir() else package.parent
