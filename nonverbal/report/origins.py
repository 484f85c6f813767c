"""Where numbers come from: files with their hashes, commands, versions."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import read_json, sha256_of
from nonverbal.launches import FILE, launch_key
from nonverbal.recipes import yaml_of
from nonverbal.tasks.measurements import ScoredFolds
from nonverbal.tasks.scores import Score


@dataclass(frozen=True)
class Launch:
    """One start of a run, or of a command that writes scores, as recorded in ``environment.json``."""

    time: str
    command: str
    versions: str
    """Versions of Python and packages."""
    machine: str
    settings: str
    """Resolved settings as YAML; empty if they are not recorded there, as for a run, whose recipe has them."""
    key: str
    """Hash of its content; see ``nonverbal.launches``."""


@dataclass(frozen=True)
class Origin:
    """The origin of one row of a table."""

    model: str
    head: str
    seed: int
    model_key: str
    """Hash of configuration and weights, and how the model was read."""
    data_sha256: str
    files: list[tuple[str, str]]
    """Paths of scores and predictions, with their SHA-256."""
    launches: list[Launch]
    """Launches of the first fold's run, or of the command that wrote the scores; empty if none is recorded."""
    shared: bool
    """Whether the command wrote other rows too; see ``shared_launches``."""


def origins(measurements: Sequence[ScoredFolds]) -> list[Origin]:
    """Return the origin of each measurement."""
    found = []
    for measurement in measurements:
        score, file = measurement.scores[0], measurement.file
        row = (score.model, score.probe, score.seed, score.model_key, score.data_sha256)
        hashes = [(str(path), sha256_of(path)) for path in (file, file.parent / score.predictions)]
        found.append(Origin(*row, hashes, _launches(score, file.parent), bool(score.launch)))
    return found


def _launches(score: Score, folder: Path) -> list[Launch]:
    """Return the launches of a row whose scores are in a folder.

    For a command that was repeated without changes, only the last launch is returned.
    """
    run = score.details.get("run")
    if isinstance(run, str):
        return read_launches(folder / run)
    found = [one for one in read_launches(folder) if score.launch == one.key] if score.launch else []
    return found[-1:]


def shared_launches(origins: Sequence[Origin]) -> list[Launch]:
    """Return the commands that wrote several rows, each once."""
    return list({one.key: one for origin in origins if origin.shared for one in origin.launches}.values())


def read_launches(folder: Path) -> list[Launch]:
    """Return the launches in a run folder's ``environment.json``; none if there is no such file."""
    path = folder / FILE
    rows = read_file(path, list) if os.path.isfile(path) else []
    return [_launch(row) for row in rows if isinstance(row, dict)]


def read_file(path: Path, kind: type) -> Any:
    """Return the content of a JSON or YAML file.

    Raises:
        UserError: it cannot be read, or contains something else.
    """
    try:
        content = read_json(path) if path.suffix == ".json" else yaml_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({' '.join(str(error).split())}); restore the file that the run wrote, or leave "
            "this folder out of the report"
        ) from error
    if not isinstance(content, kind):
        raise UserError(f"{path} contains {type(content).__name__}; expected {kind.__name__}; leave its folder out")
    return content


def _launch(row: dict[str, Any]) -> Launch:
    command, packages = row.get("command"), row.get("packages")
    versions = {"python": row.get("python")} | (packages if isinstance(packages, dict) else {})
    machine = [row.get("platform"), row.get("processor"), row.get("gpu"), *_plural(row.get("processes"), "process")]
    return Launch(
        str(row.get("time", "")),
        shlex.join(map(str, command)) if isinstance(command, list) else "",
        ", ".join(f"{name} {version}" for name, version in versions.items() if version),
        ", ".join(str(part) for part in machine if part),
        str(row.get("settings", "")),
        launch_key(row),
    )


def _plural(count: object, what: str) -> list[str]:
    return [f"{count} {what}{'' if count == 1 else 'es'}"] if isinstance(count, int) else []
