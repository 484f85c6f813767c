"""The run folder: the recipe of a run, its data, its state and its metrics."""

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nonverbal.config import differences, dump
from nonverbal.errors import UserError
from nonverbal.files import locked, read_json, sync, whole, write_atomically
from nonverbal.launches import add_launch, launch_of
from nonverbal.recipes import yaml_of
from nonverbal.training.hardware import hardware

PACKAGES = (
    "nonverbal",
    "torch",
    "triton",
    "transformers",
    "accelerate",
    "numpy",
    "soundfile",
    "deepspeed",
    "mamba-ssm",
)


REMEDY = "put back what the run wrote there, or start with another --out"


class RunFolder:
    """Paths and small files of a run. ``nonverbal.training.checkpoint`` reads and writes its checkpoints."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.checkpoints = self.folder / "checkpoints"
        self.encoder = self.folder / "encoder"
        self.metrics = self.folder / "metrics.jsonl"
        self.marker = self.folder / "interrupted.json"

    @property
    def best(self) -> str:
        """Name of the best checkpoint."""
        return (self.folder / "best").read_text(encoding="utf-8").strip()

    def has_encoder_of(self, checkpoint: str) -> bool:
        """Whether ``encoder/`` holds the weights of the checkpoint of this name."""
        return self.encoder.exists() and (self.folder / "best").exists() and self.best == checkpoint

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the folder for this process.

        Raises:
            UserError: another process has locked it.
        """
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        with locked(self.folder):
            yield

    def check_recipe(self, config: Any, free: set[str]) -> None:
        """Write ``recipe.yaml``; if it exists, compare with it first. Keys in ``free`` may differ.

        Raises:
            UserError: the run was started with another recipe; names the keys that differ.
        """
        path = self.folder / "recipe.yaml"
        if path.exists():
            changes = differences(dump(_read(path, dict)), config, free)
            if changes:
                raise UserError(
                    f"{self.folder} holds a run of another recipe ({changes}); "
                    "give the same settings to continue it, or another --out to start a new one"
                )
        write_atomically(path, dump(config))

    def precision(self) -> str | None:
        """Return the precision with which the run began, from its recipe; None for a new run."""
        path = self.folder / "recipe.yaml"
        trainer = _read(path, dict).get("trainer") if path.exists() else None
        return trainer.get("precision") if isinstance(trainer, dict) else None

    def open_choices(self) -> set[str]:
        """Return the settings that the run's recipe leaves open, as a recipe written by hand may."""
        return {"trainer.precision"} if self.precision() in (None, "auto") else set()

    def data(self) -> dict[str, str] | None:
        """Return the content of ``data.json``, the data with which the run began; None for a new run.

        The first process writes it after all have connected, so all that read it before that see the same.
        """
        path = self.folder / "data.json"
        return _read(path, dict) if path.exists() else None

    def check_data(self, sha256: dict[str, str]) -> None:
        """Write ``data.json``, which maps each folder to the SHA-256 of its index; if it exists, compare with it first.

        Raises:
            UserError: the run was started on other data.
        """
        before = self.data()
        if before is not None and list(before.values()) != list(sha256.values()):
            raise UserError(
                f"{self.folder} holds a run on other data (before: {_named(before)}; now: {_named(sha256)}); "
                "give the same shards (and units), unchanged, to continue it, or another --out to start a new one"
            )
        write_atomically(self.folder / "data.json", json.dumps(sha256, indent=1))

    def write_environment(self, **facts: Any) -> None:
        """Add this launch's versions, the first process's machine and ``facts`` to ``environment.json``."""
        add_launch(self.folder, launch_of(sys.argv, PACKAGES, **hardware(), **facts))

    def cut_metrics(self, step: int) -> None:
        """Remove rows after ``step``, which the continued run measures again, and a row that was not fully written."""
        if self.metrics.exists():
            rows = [row for row in self.metrics.read_bytes().split(b"\n") if _step(row) <= step]
            write_atomically(self.metrics, "".join(row.decode() + "\n" for row in rows))

    def add_metrics(self, row: dict[str, Any]) -> None:
        """Append a row to ``metrics.jsonl``."""
        with open(self.metrics, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def sync_metrics(self) -> None:
        """Return when all rows of metrics are on the disk."""
        if self.metrics.exists():
            sync(self.metrics)

    def mark_interrupted(self, cause: str, step: int) -> None:
        """Write ``interrupted.json``, which tells a scheduler that the run can be continued."""
        write_atomically(self.marker, json.dumps({"cause": cause, "step": step}))

    def replace_encoder(self, export: Any) -> None:
        """Replace ``encoder/`` with what ``export(folder)`` writes, either completely or not at all."""
        with whole(self.encoder) as unfinished:
            export(unfinished)
            for path in (*unfinished.iterdir(), unfinished):
                sync(path)
        sync(self.folder)


def _read(path: Path, kind: type) -> Any:
    """Return the content of a JSON or YAML file.

    Raises:
        UserError: it is damaged.
    """
    try:
        content = read_json(path) if path.suffix == ".json" else yaml_of(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); {REMEDY}") from error
    if not isinstance(content, kind):
        raise UserError(f"{path} is damaged: it holds {str(content)[:80]!r}; {REMEDY}")
    return content


def _named(sha256: dict[str, str]) -> str:
    """Name data by its paths, which may be the same for other data, and the beginnings of its hashes."""
    return ", ".join(f"{path}, sha256 {str(digest)[:8]}" for path, digest in sha256.items())


def _step(row: bytes) -> float:
    try:
        return float(json.loads(row.decode())["step"])
    except (ValueError, KeyError, TypeError, RecursionError, OverflowError):
        return float("inf")
