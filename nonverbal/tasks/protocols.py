"""Protocols: how clips are divided, on which clips choices are made, and so what may leak into a number.

Protocols are plain data: every field may be set in a recipe or on the command line
(``nonverbal.tasks.protocol_settings``), and the protocols of papers are values of the same type.
``nonverbal.tasks.divisions`` makes the folds.
"""

from dataclasses import dataclass, replace
from typing import Literal

from nonverbal.errors import UserError
from nonverbal.tasks.folds import Group

Folds = int | Literal["leave-one-out", "auto", "hold-out", "official", "transfer"]
Select = Literal["inner", "test"]
Counting = Literal["nonverbal", "voc2vec"]

FEW_GROUPS = 10
"""``auto`` leaves one group out at a time if there are fewer groups than this; otherwise it makes ``AUTO_FOLDS``."""
AUTO_FOLDS = 5


@dataclass(frozen=True)
class Protocol:
    """How clips are divided, and on which clips choices are made."""

    folds: Folds = 5
    """A number of folds; or each group in turn; or ``auto``: each group in turn with fewer than 10 groups, otherwise 5
    folds; or one division by ``shares``, by the splits of the corpora, or by corpus."""
    group: Group = "speaker"
    """What is never on both sides of a fold, nor of a fold within a training side; official splits may divide it."""
    select: Select = "inner"
    """Where layer, strength, epoch and so on are chosen: within the training side, on its validation side or on folds
    that split no group; or on the test fold itself, as in some papers."""
    refit: bool = True
    """Whether the model is fitted once more to the whole training side after all choices. Otherwise the first of the
    inner folds is the validation side, and the model that was fitted to the rest is tested."""
    stratified: bool = True
    """Whether folds and hold-outs have about the same share of each class."""
    seeds: tuple[int, ...] = (0,)
    """One division for each; if the division is not random, the seeds only affect what is fitted."""
    shares: tuple[int, int, int] = (80, 10, 10)
    """Shares of the train, validation and test sides of a hold-out, in percent."""
    train_on: tuple[str, ...] = ()
    """Corpora that a transfer is trained on."""
    test_on: tuple[str, ...] = ()
    """Corpora that a transfer is tested on."""
    counting: Counting = "nonverbal"
    """How a fold counts classes. ``nonverbal``: UAR and F1 are means over the classes on its test side, and a class
    that is not trained is refused. ``voc2vec``, as in the code of voc2vec: they are means over the classes that are
    true or predicted, a class that is only predicted counts as 0, and folds in which a class is not trained are left
    out, because they fail there."""
    per_class: int | None = None
    """Number of clips of each class to which each training side is cut; None for all."""

    def __post_init__(self) -> None:
        """Refuse settings that make no sense.

        Raises:
            UserError: the message names the setting.
        """
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise UserError(f"seeds must be one or more, each once, but are {list(self.seeds)}")
        if min(self.shares) < 1 or sum(self.shares) != 100:
            raise UserError(f"shares must be three percentages that sum to 100, but are {list(self.shares)}")
        if self.folds != "transfer" and (self.train_on or self.test_on):
            raise UserError("only a transfer takes corpora to train on and to test on: --protocol transfer")
        if both := set(self.train_on) & set(self.test_on):
            raise UserError(f"a corpus cannot be trained on and tested on: {', '.join(sorted(both))}")
        if isinstance(self.folds, int) and self.folds < 2:
            raise UserError(f"folds must be at least 2, but is {self.folds}")
        if self.per_class is not None and self.per_class < 1:
            raise UserError(f"clips per class must be at least 1, but are {self.per_class}")
        if self.counting == "voc2vec" and (self.group != "none" or not isinstance(self.folds, int)):
            raise UserError("only random folds can count classes as voc2vec's code does: --group none --folds 10")

    @property
    def name(self) -> str:
        """The name in tables. Protocols whose numbers may differ for the same clips and seed have different names."""
        parts = [self._division]
        if self.stratified and isinstance(self.folds, int):
            parts.append("stratified")
        if not self.stratified and self.folds == "hold-out":
            parts.append("not stratified")
        if self.select == "test":
            parts.append("chosen on the test fold")
        elif self.folds in ("official", "transfer"):
            parts.append("chosen in random folds" if self.group == "none" else f"chosen {self.group}-disjoint")
        if self.select == "inner" and not self.refit:
            parts.append("not refitted")
        if self.counting == "voc2vec":
            parts.append("counted as voc2vec does")
        if self.per_class is not None:
            parts.append(f"{self.per_class} training {'clip' if self.per_class == 1 else 'clips'} a class")
        return ", ".join(parts)

    @property
    def _division(self) -> str:
        apart = "random" if self.group == "none" else f"{self.group}-disjoint"
        return {
            "leave-one-out": f"leave one {'clip' if self.group == 'none' else self.group} out",
            "auto": f"{apart} {AUTO_FOLDS}-fold, or leave-one-out",
            "hold-out": f"{apart} {'/'.join(map(str, self.shares))} hold-out",
            "official": "official splits",
            "transfer": f"from {'+'.join(self.train_on)} to {'+'.join(self.test_on)}",
        }.get(str(self.folds), f"{apart} {self.folds}-fold")

    def among(self, groups: int) -> "Protocol":
        """Return the protocol for clips of ``groups`` groups, with ``auto`` decided."""
        if self.folds != "auto":
            return self
        return replace(self, folds="leave-one-out" if groups < FEW_GROUPS else AUTO_FOLDS)


GROUPED = Protocol()


@dataclass(frozen=True)
class Named:
    """A protocol that comes with the toolkit."""

    protocol: Protocol
    source: str
    """Where it comes from."""
    about: str
    """What it does."""


NAMED: dict[str, Named] = {
    "grouped": Named(
        GROUPED,
        "nonverbal",
        "5 folds that split no speaker, whatever their number; choices are made in inner folds that split none either",
    ),
    "nonverbal": Named(
        Protocol(folds="auto"),
        "nonverbal",
        "the same, but leave-one-out with fewer than 10 speakers",
    ),
    "voc2vec": Named(
        Protocol(folds=10, group="none", select="test", stratified=False, counting="voc2vec"),
        "voc2vec (ICASSP 2025), by its released code: the paper says 10-fold cross-validation",
        "10 random folds, neither grouped nor stratified; chosen on the fold that is scored",
    ),
    "reno": Named(
        Protocol(folds=5, group="none", select="test"),
        "RENO (2025), which says 5-fold cross-validation with early stopping and names no validation side; that the "
        "folds are stratified is our decision",
        "5 random folds, stratified; stopped on the fold that is scored",
    ),
    "leave-one-session-out": Named(
        Protocol(folds="leave-one-out", group="session"),
        "Emotion information recovery (2024) and the usual protocol of IEMOCAP and MSP-IMPROV; what choices are "
        "made on is our decision",
        "each session is tested in turn",
    ),
    "cross_lingual": Named(
        Protocol(folds="hold-out", refit=False),
        "Large speech models for cross-lingual emotion (CLiC-it 2024): speaker-independent, stratified 80/10/10; "
        "choices on the validation side and no refitting are our decision",
        "one division of whole speakers, 80% to train, 10% to choose, 10% to test",
    ),
    "transfer": Named(
        Protocol(folds="transfer"),
        "nonverbal",
        "trained on some corpora of the folder, tested on others (--train_on, --test_on); --labels maps their labels "
        "to common classes",
    ),
}
"""From name to protocol. What a protocol may leak depends on the clips too, and is stated for each task."""
