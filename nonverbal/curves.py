"""The plots of a run: ``curves.json`` in its folder, written by the trainer and read for figures."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

from nonverbal.errors import UserError
from nonverbal.files import read_json, write_atomically

NAME = "curves.json"
"""Name of the file, beside ``metrics.jsonl``."""


@dataclass(frozen=True)
class Panel:
    """One metric over the steps of a run, in training and in validation."""

    metric: str
    label: str
    """Label of the vertical axis."""
    baseline: str | None = None
    """A training metric that is drawn for comparison, such as chance."""
    caption: str = ""
    """Label of the baseline."""
    from_zero: bool = True
    """Whether the vertical axis begins at 0."""


def write_panels(folder: Path, panels: Sequence[Panel]) -> None:
    """Write ``folder/curves.json``."""
    write_atomically(folder / NAME, json.dumps([asdict(panel) for panel in panels], indent=1))


def read_panels(folder: Path) -> list[Panel] | None:
    """Return the panels of a run folder; None if it has no ``curves.json``.

    Raises:
        UserError: the file cannot be read, or contains something else.
    """
    path = folder / NAME
    if not path.exists():
        return None
    try:
        return _panels(read_json(path))
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise UserError(
            f"{path} cannot be read ({' '.join(str(error).split())}); expected the panels that the run wrote; restore "
            "the file, or delete it to draw every metric under its own name"
        ) from error


def _panels(content: object) -> list[Panel]:
    if not isinstance(content, list) or not all(isinstance(panel, dict) for panel in content):
        raise TypeError("it is not a list of objects")
    panels = [Panel(**panel) for panel in content]
    for panel in panels:
        for name, kind in get_type_hints(Panel).items():
            if not isinstance(value := getattr(panel, name), kind):
                raise TypeError(f"{name} is {type(value).__name__}")
    return panels
