"""Finds recipes, programs and templates: beside the package in a checkout, inside it in a wheel."""

import difflib
import os
from pathlib import Path

from nonverbal.errors import UserError


def find_shipped(name: str) -> Path:
    """Return the path of a program or template of this package, in the installed wheel or the checkout only."""
    return _root() / name


def find_file(name: str, folder: Path = Path()) -> Path:
    """Find a recipe: by its path, or else among the shipped ones.

    Args:
        name: a path, or the name of a shipped recipe (``recipes/demo.yaml``).
        folder: to which a relative path is relative; by default the current folder.

    Raises:
        UserError: there is no such file.
    """
    for place in (folder / name, find_shipped(name)):
        # pathlib raises an error for a name that is too long.
        if os.path.isfile(place):
            return place
    where = "here" if folder == Path() else f"in {folder}"
    raise UserError(f"there is no file {name!r} {where} or among the shipped ones; {_hint(folder / name)}")


def _hint(missing: Path) -> str:
    """Suggest the recipe with the nearest name, in the same folder or shipped, or else list all shipped recipes."""
    shipped = sorted(path.relative_to(_root()) for path in _root().glob("recipes/**/*.yaml"))
    # Not by pathlib, as above.
    beside = missing.parent.glob("*.yaml") if os.path.isdir(missing.parent) else ()
    by_name = {path.name: path for path in [*shipped, *sorted(beside)]}
    near = difflib.get_close_matches(missing.name, by_name, 1, 0.8)
    return f"did you mean {by_name[near[0]]}?" if near else f"shipped recipes: {', '.join(map(str, shipped))}"


def _root() -> Path:
    """Return the folder of programs, recipes and templates."""
    package = Path(__file__).parent
    return package / "programs" if (package / "programs").is_dir() else package.parent
