"""Write folds to a file for others: ``nonverbal folds --data SHARDS --protocol NAME --out FILE``.

By path: ``python evaluate/folds.py --data SHARDS --out FILE``. FILE has a row for each clip on a side of a fold, with
its path and the SHA-256 of its samples, so that others test on the same clips; FILE.about.json describes the folds.
"""

from dataclasses import dataclass, field
from pathlib import Path

from nonverbal import cli, config
from nonverbal.data.index import open_shards
from nonverbal.evaluation.views import print_division
from nonverbal.paths import check_folder_of
from nonverbal.row_files import check_ending
from nonverbal.tasks.frozen_folds import write_folds
from nonverbal.tasks.protocol_settings import ProtocolSettings
from nonverbal.tasks.task import Kind, task_of


@dataclass(kw_only=True)
class FoldsConfig(ProtocolSettings):
    """Which clips are divided, how, and where the folds are written."""

    data: Path
    """Folder of shards with the clips. The clips of its training and validation split are divided into folds."""
    out: Path
    """File for the folds, which ends in .csv or .jsonl (JSON Lines)."""
    labels: list[str] | dict[str, str | None] | str = field(default_factory=list)
    """Classes, all labels if empty; or a map of labels to classes, as for `nonverbal probe`."""
    task: Kind = "classes"
    """What is predicted for a clip: its class, or its text. Clips with texts are divided by groups only."""


def main(argv: list[str]) -> None:
    """Divide, show, and write."""
    settings = config.load(FoldsConfig, argv, prog="nonverbal folds", description=__doc__)
    check_ending(settings.out, "--out")
    check_folder_of(settings.out, "out")
    task = task_of(open_shards(settings.data), settings.labels, settings.resolved(), settings.task)
    print_division(task)
    about = write_folds(settings.out, task)
    print(f"folds: {settings.out}\nabout: {about}")
    print(f"check them with: nonverbal audit {settings.data} --folds {settings.out}")


if __name__ == "__main__":
    cli.run(main)
