"""Facts about every encoder with a name: kinds that need no checkpoint, and the checkpoints of papers."""

from collections.abc import Iterator
from dataclasses import dataclass

from nonverbal.evaluation.encoders import KINDS
from nonverbal.evaluation.encoders.base import Kind, Size
from nonverbal.licences import Terms, spdx
from nonverbal.public_checkpoints import CHECKPOINTS, VOC125, Checkpoint

OURS = spdx("Apache-2.0", "this toolkit")


@dataclass(frozen=True)
class Entry:
    """An encoder by name."""

    name: str
    """The name for ``--encoders``."""
    kind: Kind
    size: Size
    checkpoint: Checkpoint | None
    """What is known about its checkpoint; None if it has none."""

    @property
    def terms(self) -> Terms:
        """Terms of the checkpoint, or of the software that computes the encoder."""
        return self.checkpoint.terms if self.checkpoint else self.kind.terms or OURS

    @property
    def heard(self) -> str:
        """The corpora that it was trained on, with or without labels."""
        return heard_by(self.checkpoint) if self.checkpoint else "nothing"

    @property
    def tried(self) -> str:
        """Released weights on which it was tested in this toolkit, if any."""
        return (self.kind.tried or "never") if self.kind.learned else ""


def entries() -> Iterator[Entry]:
    """Yield all entries, in the order of ``KINDS``."""
    for kind in KINDS.values():
        if kind.size is not None:
            yield Entry(kind.name, kind, kind.size, None)
        for name, size in kind.published.items():
            yield Entry(name, kind, size, CHECKPOINTS[name])


def heard_by(checkpoint: Checkpoint) -> str:
    """Say what a checkpoint was trained on, in words."""
    labelled = checkpoint.supervised
    parts = [
        "without labels: not known" if checkpoint.pretraining is None else _named(checkpoint.pretraining),
        "with labels: not known" if labelled is None else f"with labels: {_named(labelled)}" if labelled else "",
        "" if checkpoint.complete else "and others",
    ]
    return "; ".join(part for part in parts if part)


def _named(corpora: tuple[str, ...]) -> str:
    """Join names of corpora, with the ten corpora of Voc125 under this name."""
    if not set(VOC125) <= set(corpora):
        return ", ".join(corpora)
    others = list(corpora)
    for name in VOC125:
        others.remove(name)
    return ", ".join(["Voc125", *others])
