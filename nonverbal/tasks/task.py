"""A task: clips, what is to be predicted for them, and how they are divided."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from nonverbal.data.index import ShardFolder
from nonverbal.data.manifest import Clip
from nonverbal.data.transcripts import spoken
from nonverbal.errors import UserError
from nonverbal.tasks.divisions import Division, divide
from nonverbal.tasks.folds import WITHOUT_CLASSES, Fold, Group
from nonverbal.tasks.label_maps import Labels, label_map
from nonverbal.tasks.protocols import Protocol
from nonverbal.text import slug

Kind = Literal["classes", "texts"]
"""What is predicted for a clip: one of several classes, or a text. Heads on embeddings support only ``classes``."""


@dataclass(frozen=True)
class Task:
    """Clips whose classes or texts are to be predicted, and how they are divided."""

    shards: ShardFolder
    rows: np.ndarray
    """Rows of the manifest, ``(clips,)`` int64."""
    clips: list[Clip]
    """With the labels of their corpora."""
    labels: list[str]
    """Each clip's class, after merging and dropping; ``WITHOUT_CLASSES`` for all clips in a task of texts."""
    division: Division
    """How the protocol divides the clips."""
    kind: Kind = "classes"

    @property
    def groups(self) -> list[str]:
        """Each clip's group, which no fold splits; the official splits of corpora may."""
        return self.division.groups

    @property
    def folds(self) -> dict[int, list[Fold]]:
        """Folds by seed; both sides hold positions in ``clips``."""
        return self.division.folds

    @property
    def protocol(self) -> str:
        """The name of the protocol, as in tables."""
        return self.division.protocol.name

    @property
    def classes(self) -> list[str]:
        """The classes, sorted; empty in a task of texts."""
        return sorted(set(self.labels) - {WITHOUT_CLASSES})

    @property
    def texts(self) -> list[str]:
        """The words in each clip (``nonverbal.data.transcripts.spoken``), in a task of texts."""
        assert self.kind == "texts", "only a task of texts has some"
        return [spoken(clip.text or "") for clip in self.clips]

    @property
    def merged(self) -> dict[str, str]:
        """Labels of corpora whose class has another name in this task, with that class."""
        pairs = zip(self.clips, self.labels, strict=True)
        renamed = {(str(clip.label), label) for clip, label in pairs if label not in (clip.label, WITHOUT_CLASSES)}
        return dict(sorted(renamed))

    @property
    def corpus(self) -> str:
        """Names of the clips' corpora, joined by ``+``."""
        return "+".join(sorted({clip.corpus for clip in self.clips}))

    @property
    def slug(self) -> str:
        """Corpora, protocol and classes, in a form that can be part of a file name."""
        # Different maps of labels may lead to equally many classes.
        merged = hashlib.sha256(repr(sorted(self.merged.items())).encode()).hexdigest()[:6] if self.merged else ""
        what = "texts" if self.kind == "texts" else f"{len(self.classes)}-classes{merged and f'-{merged}'}"
        return f"{slug(self.corpus)}-{slug(self.protocol)}-{what}"

    def predictions_file(self, model: str, seed: int, probe: str) -> str:
        """Return where the decisions of a model for a seed are stored, relative to the file of its scores."""
        # Names of encoders may be long paths that differ only at the beginning; the digest distinguishes them.
        merged = str(self.merged)
        measured = "|".join([model, self.shards.sha256, self.protocol, *self.classes, merged, str(seed), probe])
        digest = hashlib.sha256(measured.encode()).hexdigest()[:8]
        return f"predictions/{slug(model)[-60:]}-{slug(self.protocol)}-seed-{seed}-{digest}.jsonl"

    def prediction(self, row: int, fold: str) -> dict[str, Any]:
        """Return the columns of a row of predictions for the clip at position ``row``, without the decision."""
        clip = self.clips[row]
        answer = {"text": spoken(clip.text or "")} if self.kind == "texts" else {"label": self.labels[row]}
        return {
            "clip": clip.id,
            **answer,
            "group": self.groups[row],
            "fold": fold,
            "speaker": clip.speaker,
            "recording": clip.recording,
        }


def make_task(
    shards: ShardFolder,
    labels: Labels,
    group: Group,
    folds: int | None,
    seeds: Sequence[int],
    kind: Kind = "classes",
) -> Task:
    """Return ``task_of`` the grouped and nested protocol with ``folds``; None leaves one group out at a time."""
    return task_of(
        shards, labels, Protocol("leave-one-out" if folds is None else folds, group, seeds=tuple(seeds)), kind
    )


def task_of(shards: ShardFolder, labels: Labels, protocol: Protocol, kind: Kind = "classes") -> Task:
    """Select the labelled clips of a folder of shards, or those with text, from both of its splits, and divide them.

    Args:
        shards: holds the clips.
        labels: which labels are kept, merged and dropped. Clips without a label are not part of a task of classes.
        protocol: how they are divided. A transfer uses only the clips of its corpora.
        kind: ``classes``; or ``texts``, whose clips are divided only by groups: there is nothing to stratify, and no
            class to count. Clips without text are not part of such a task, which its notes say.

    Raises:
        UserError: no clip has one of the labels, or there is no such division (see ``divide``).
    """
    manifest = shards.clips()
    wanted = {*protocol.train_on, *protocol.test_on}
    if unknown := sorted(wanted - {clip.corpus for clip in manifest}):
        raise UserError(
            f"no clip in {shards.folder} is of the corpus {unknown[0]!r}; "
            f"there are: {', '.join(sorted({clip.corpus for clip in manifest}))}"
        )
    there = [(row, clip) for row, clip in enumerate(manifest) if not wanted or clip.corpus in wanted]
    if kind == "texts":
        return _of_texts(shards, labels, protocol, there)
    labelled = [(row, clip, clip.label) for row, clip in there if clip.label is not None]
    if not labelled:
        raise UserError(f"no clip in {shards.folder} has a label, so there are no classes")
    becomes = label_map(labels, list(Counter(label for _, _, label in labelled)), str(shards.folder))
    chosen = [(row, clip, name) for row, clip, label in labelled if (name := becomes[label]) is not None]
    if not chosen:
        raise UserError(f"no clip in {shards.folder} is left: all labels are dropped; drop fewer (--labels)")
    rows, clips, names = map(list, zip(*chosen, strict=True))
    return Task(shards, np.array(rows), clips, names, divide(protocol, names, clips), kind)


def _of_texts(shards: ShardFolder, labels: Labels, protocol: Protocol, there: Sequence[tuple[int, Clip]]) -> Task:
    if labels:
        raise UserError("labels apply only to tasks with classes; leave out --labels, or choose such a task")
    said = [(row, clip) for row, clip in there if spoken(clip.text or "")]
    if not said:
        raise UserError(
            f"no clip in {shards.folder} has a text with words, so there is nothing to recognise; prepare the corpus "
            "with a column, a group or a map of texts (docs/prepare.md)"
        )
    rows, clips = map(list, zip(*said, strict=True))
    names = [WITHOUT_CLASSES] * len(clips)
    division = divide(replace(protocol, stratified=False, counting="nonverbal"), names, clips)
    if silent := [clip.id for _, clip in there if not spoken(clip.text or "")]:
        note = (
            f"{len(silent)} of {len(there)} clips have no text with words, and are left out; the first is {silent[0]}"
        )
        division = replace(division, notes=[note, *division.notes])
    return Task(shards, np.array(rows), clips, names, division, "texts")


def divided_again(task: Task, protocol: Protocol) -> Task:
    """Return the same clips divided by another protocol, which must not be a transfer.

    Raises:
        UserError: there is no such division.
    """
    return replace(task, division=divide(protocol, task.labels, task.clips))
