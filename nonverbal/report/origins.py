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
    """One start of a run, or of a command that scores, as an ``environment.json`` has it."""

    time: str
    command: str
    versions: str
    """Of Python and packages."""
    machine: str
    settings: str
    """As resolved, YAML; empty where they are not kept there, as a run's are in its recipe."""
    key: str
    """Hash of its content: see ``nonverbal.launches``."""


@dataclass(frozen=True)
class Origin:
    """What one row of a table was read from."""

    model: str
    head: str
    seed: int
    model_key: str
    """Hash of configuration and weights, and how it was read."""
    data_sha256: str
    files: list[tuple[str, str]]
    """Paths and their SHA-256: the scores, the predictions."""
    launches: list[Launch]
    """Of the first fold's run, or the command that made the scores; empty where none is kept."""
    shared: bool
    """Whether the command made other rows too: see ``shared_launches``."""


def origins(measurements: Sequence[ScoredFolds]) -> list[Origin]:
    """Return where measurements come from, one each."""
    found = []
    for measurement in measurements:
        score, file = measurement.scores[0], measurement.file
        row = (score.model, score.probe, score.seed, score.model_key, score.data_sha256)
        hashes = [(str(path), sha256_of(path)) for path in (file, file.parent / score.predictions)]
        found.append(Origin(*row, hashes, _launches(score, file.parent), bool(score.launch)))
    return found


def _launches(score: Score, folder: Path) -> list[Launch]:
    """Return the launches of a row, whose scores are in a folder.

    A command that was given again, with nothing changed, has one launch: its last.
    """
    run = score.details.get("run")
    if isinstance(run, str):
        return read_launches(folder / run)
    found = [one for one in read_launches(folder) if score.launch == one.key] if score.launch else []
    return found[-1:]


def shared_launches(origins: Sequence[Origin]) -> list[Launch]:
    """Return the commands that made several rows, each once."""
    return list({one.key: one for origin in origins if origin.shared for one in origin.launches}.values())


def read_launches(folder: Path) -> list[Launch]:
    """Return the starts that a run folder's ``environment.json`` tells of; none where it is not there."""
    path = folder / FILE
    rows = read_file(path, list) if os.path.isfile(path) else []
    return [_launch(row) for row in rows if isinstance(row, dict)]


def read_file(path: Path, kind: type) -> Any:
    """Return what a file of JSON or YAML holds.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        content = read_json(path) if path.suffix == ".json" else yaml_of(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path} cannot be read ({' '.join(str(error).split())}); put back what the run wrote, or leave this "
            "folder out of the report"
        ) from error
    if not isinstance(content, kind):
        raise UserError(f"{path} holds {type(content).__name__} where a run has {kind.__name__}; leave its folder out")
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
