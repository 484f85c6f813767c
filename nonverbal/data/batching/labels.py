"""Labels as targets: the class of the one clip that a row is made of."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from nonverbal.batch import Rows, Targets, TargetSampler
from nonverbal.data.index import ShardFolder
from nonverbal.errors import UserError


@dataclass(frozen=True)
class LabelSampler(TargetSampler):
    """The class of each row. Draws nothing, and refuses joined clips."""

    classes: list[str]
    """What the numbers stand for."""
    labels: list[np.ndarray]
    """Of each shard folder: ``(parts,)`` int64, the class of each part's clip."""

    @property
    def joins(self) -> bool:
        """A row has one label, so it is made of one clip."""
        return False

    def __call__(self, rows: Rows, random: np.random.Generator) -> Targets:
        """Return ``labels``, ``(N,)`` int64. Each row counts once."""
        found = np.empty(len(rows.lengths), dtype=np.int64)
        for i, (piece,) in enumerate(rows.pieces):
            found[i] = self.labels[piece.folder][piece.part]
        return Targets(len(found), {"labels": torch.from_numpy(found)})


def open_labels(folders: Sequence[ShardFolder]) -> LabelSampler:
    """Read the labels of all clips of shard folders, train and validation; classes are in alphabetical order.

    Raises:
        UserError: a clip has no label, or all have the same.
    """
    of_clips = [[_label(folder, clip.id, clip.label) for clip in folder.clips()] for folder in folders]
    classes = sorted({label for labels in of_clips for label in labels})
    if len(classes) < 2:
        held = f"all have the label {classes[0]!r}" if classes else "there are none"
        raise UserError(
            f"{', '.join(str(folder.folder) for folder in folders)}: training needs clips of at least two classes, but "
            f"{held}; give folders whose clips have at least two labels"
        )
    numbers = {name: number for number, name in enumerate(classes)}
    labels = [
        np.array([numbers[label] for label in own], dtype=np.int64)[folder.table["clip"]]
        for folder, own in zip(folders, of_clips, strict=True)
    ]
    return LabelSampler(classes, labels)


def _label(folder: ShardFolder, clip: str, label: str | None) -> str:
    if label is None:
        raise UserError(
            f"{folder.folder / 'manifest.jsonl'}: the clip {clip} has no label, but each row needs one; prepare the "
            "folder again from a corpus whose clips all have labels"
        )
    return label
