"""A task: clips, what is to be found out of them, and how they are divided."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.tasks.folds import Fold, group_folds, leave_one_group_out, protocol_name, speaker_groups
from nonverbal.tasks.label_maps import Labels, label_map
from nonverbal.text import slug

Group = Literal["speaker", "recording"]

Kind = Literal["classes", "several", "numbers"]
"""What a clip is to be given: one of several classes, any number of them at once, or numbers. Folds, heads and
metrics know ``classes``."""


@dataclass(frozen=True)
class Task:
    """Clips whose classes are to be told apart, and how they are divided."""

    shards: ShardFolder
    rows: np.ndarray
    """``(clips,)`` int64, rows of the manifest."""
    clips: list[Clip]
    """With the labels of their corpora."""
    labels: list[str]
    """Each clip's class, merged and dropped as was asked for."""
    groups: list[str]
    """Each clip's group, which no fold splits."""
    folds: dict[int, list[Fold]]
    """Seed to folds; both sides hold positions in ``clips``."""
    protocol: str
    kind: Kind = "classes"

    def __post_init__(self) -> None:
        """Refuse a kind that cannot be scored."""
        if self.kind != "classes":
            raise UserError(f"a task must be of kind classes, one label a clip, to be scored, but is {self.kind!r}")

    @property
    def classes(self) -> list[str]:
        """The classes, sorted."""
        return sorted(set(self.labels))

    @property
    def merged(self) -> dict[str, str]:
        """Labels of corpora whose class has another name here, and that class."""
        pairs = zip(self.clips, self.labels, strict=True)
        return dict(sorted({(str(clip.label), label) for clip, label in pairs if clip.label != label}))

    @property
    def corpus(self) -> str:
        """Names of the clips' corpora, joined by ``+``."""
        return "+".join(sorted({clip.corpus for clip in self.clips}))

    @property
    def slug(self) -> str:
        """Corpora, protocol and classes, as they may stand in a file's name."""
        return slug(f"{self.corpus} {self.protocol} {len(self.classes)} classes")


def make_task(
    shards: ShardFolder,
    labels: Labels,
    group: Group,
    folds: int | None,
    seeds: Sequence[int],
    kind: Kind = "classes",
) -> Task:
    """Select the labelled clips of a folder of shards, train and validation alike, and divide them.

    Args:
        shards: holds the clips.
        labels: which labels are kept, merged and dropped. Clips without a label are in no task.
        group: what is not split.
        folds: how many, or None to leave one group out at a time.
        seeds: one division for each; leaving one out draws nothing, and takes one seed.
        kind: ``classes``.

    Raises:
        UserError: a label that no clip has, another kind, or no such division (see ``group_folds``).
    """
    manifest = shards.clips()
    present = Counter(clip.label for clip in manifest if clip.label is not None)
    if not present:
        raise UserError(f"no clip in {shards.folder} has a label, so there is nothing to tell apart")
    becomes = label_map(labels, list(present), str(shards.folder))
    chosen = [
        (row, clip, name)
        for row, clip in enumerate(manifest)
        if clip.label is not None and (name := becomes[clip.label]) is not None
    ]
    if not chosen:
        raise UserError(f"no clip in {shards.folder} is left: all labels are dropped; drop fewer (--labels)")
    rows, clips, names = map(list, zip(*chosen, strict=True))
    groups = speaker_groups(clips) if group == "speaker" else [clip.recording for clip in clips]
    if folds is None and len(seeds) != 1:
        raise UserError(f"leaving one {group} out draws nothing, so it takes one seed, but was given {list(seeds)}")
    divisions = {
        seed: leave_one_group_out(names, groups) if folds is None else group_folds(names, groups, folds, seed)
        for seed in seeds
    }
    return Task(shards, np.array(rows), clips, names, groups, divisions, protocol_name(group, folds), kind)
