"""Where numbers come from: files with their hashes, commands, versions."""

import hashlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from nonverbal.errors import UserError
from nonverbal.tasks.measurements import ScoredFolds


@dataclass(frozen=True)
class Launch:
    """One start of a run, as its ``environment.json`` has it."""

    time: str
    command: str
    versions: str
    """Of Python and packages."""
    machine: str


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
    """Of the first fold's run; empty where scores keep none, as those of probes."""


def origins(measurements: Sequence[ScoredFolds], files: Sequence[Path]) -> list[Origin]:
    """Return where measurements come from, one each.

    Args:
        measurements: what was read.
        files: the score files that they were read from.
    """
    found = []
    for measurement in measurements:
        score = measurement.scores[0]
        holders = [file for file in files if (file.parent / score.predictions).is_file()]
        own = [*holders, *(file.parent / score.predictions for file in holders[:1])]
        run = score.details.get("run")
        launches = read_launches(holders[0].parent / run) if holders and isinstance(run, str) else []
        hashes = [(str(path), sha256_of(path)) for path in own]
        row = (score.model, score.probe, score.seed, score.model_key, score.data_sha256)
        found.append(Origin(*row, hashes, launches))
    return found


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_launches(folder: Path) -> list[Launch]:
    """Return the starts that a run folder's ``environment.json`` tells of; none where it is not there."""
    path = folder / "environment.json"
    rows = read_file(path, list) if path.is_file() else []
    return [_launch(row) for row in rows if isinstance(row, dict)]


def read_file(path: Path, kind: type) -> Any:
    """Return what a file of JSON or YAML holds.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
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
    )


def _plural(count: object, what: str) -> list[str]:
    return [f"{count} {what}{'' if count == 1 else 'es'}"] if isinstance(count, int) else []
