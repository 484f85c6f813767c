"""Distances between encoders' vectors of the same clips, and whether systems agree on clips with small distances.

This follows Table III and Figure 3 of the paper on emotion information recovery (2024): cosine distances between the
last hidden states of two encoders, averaged over a clip's frames, as a line through a histogram of 10 bins; the share
of clips within a threshold, and the share of these on which both systems agree; the same beyond a distance of 1.

What the paper does not specify was decided here: bins go from the smallest to the largest distance of any pair, rounded
outwards to tenths, so that all pairs have the same bins; the threshold is the smallest multiple of .05 within which
each pair has 70% of the clips, which may be how the paper's own (.6 and .65) were found.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np

from nonverbal.data.index import open_shards
from nonverbal.data.manifest import Clip
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import Analysis, AnalysisSettings
from nonverbal.evaluation.analyses.cosine import (
    cosine_distances,
    edges_of,
    mean_cka,
    median_of_others,
    smallest_holding,
)
from nonverbal.evaluation.analyses.measured import Measured, cells_of, share, words_of
from nonverbal.evaluation.tables import Table, short, short_or
from nonverbal.paths import PathOrName
from nonverbal.tasks.groups import units

if TYPE_CHECKING:
    from nonverbal.evaluation.analyses.decided import Decided


@dataclass(kw_only=True)
class DistancesSettings(AnalysisSettings):
    """Which encoders are compared, on which clips, and with which decisions."""

    data: Path
    """Folder of shards."""
    encoders: list[PathOrName]
    """Two or more encoders, as for `nonverbal probe`: the first is compared with each of the others. For
    `finetuned:RUN`, the vector of a clip is that of the fold that tests it."""
    corpora: list[str] | None = None
    """Use only the clips of these corpora. Unset: all corpora of the shards."""
    layer: int = -1
    """Index into the hidden states of every encoder: 0 is the input to the first block, -1 the output of the last."""
    fold: str | None = None
    """For `finetuned:RUN`: use only this fold."""
    seed: int = 0
    """Seed of the folds, and of the random weights of `initialised:`."""
    threshold: float | None = None
    """Cosine distance within which agreement is counted. Unset: the smallest multiple of .05 that contains --hold of
    the clips of each pair."""
    hold: float = 0.7
    """Share of the clips that the threshold must contain if --threshold is not given (the paper: 70%)."""
    scores: list[Path] = field(default_factory=list)
    """Score files with decisions of the systems, as for `nonverbal analyze decisions`. Unset: if all encoders are
    fine-tuned runs, their own decisions; otherwise agreement is not counted."""
    systems: list[str] = field(default_factory=list)
    """With --scores: the system for each encoder, in the order of --encoders."""
    protocol: str | None = None
    """With --scores under several protocols: a part of the name of the one to use."""
    embeddings: Path = Path("runs/embeddings")
    """Folder of embeddings that `nonverbal probe` and `embed` share."""


@dataclass(frozen=True)
class Distance:
    """Distances of one encoder from the first."""

    encoder: str
    shares: list[float]
    """Share of the clips in each bin."""
    agreement: list[float | None]
    """Share of a bin's clips on which decisions agree; None if the bin is empty, or without decisions."""
    inside: float
    """Share of the clips within the threshold."""
    agree_inside: Measured | None
    """Share of these on which decisions agree."""
    beyond: float
    """Share of the clips beyond a distance of 1, which is an angle of more than 90 degrees."""
    agree_beyond: Measured | None
    agree: Measured | None
    """Share of all clips on which decisions agree."""
    median: float
    median_of_others: float | None
    """Median distance between the first encoder's vector of a clip and this one's of another clip. If it is not larger
    than ``median``, distances say nothing about the clips. None if each fold has one clip."""
    cka: float | None
    """Debiased linear CKA of the two spaces, as a mean over folds weighted by clips; None if each fold has fewer than 4
    clips, or if a space has all clips at the same point. Unlike the cosine, it does not change if a space is
    rotated."""


@dataclass(frozen=True)
class Distances(Analysis[DistancesSettings]):
    """How far apart the embeddings of the same held-out clips by several encoders are.

    Cosine distances between the first encoder's vector of a clip and each other encoder's: 0 if they point the same
    way, 1 at a right angle, 2 if they are opposite. A vector is a layer's mean over the clip's frames. The cosine
    compares value by value, so it depends on a common initialisation; CKA, which is shown too, does not. With
    decisions, the table also shows how often systems agree on clips within a threshold, and beyond 1.
    """

    NAME: ClassVar[str] = "distances"
    ABOUT: ClassVar[str] = "Cosine distances between encoders' vectors of the same clips, with agreement and CKA."
    SETTINGS: ClassVar[type[AnalysisSettings]] = DistancesSettings

    first: str
    others: list[Distance]
    corpus: str
    layers: list[int]
    """The layer of each encoder, in their order."""
    held_out: str
    """Why the clips are held out."""
    data_sha256: str
    clips: int
    without_decision: int
    """Number of clips that were left out because there are no decisions on them."""
    units: int
    unit: str
    """What intervals are over."""
    edges: list[float]
    """Edges of the bins, one more than there are bins; each bin includes its lower edge, and the last one both."""
    threshold: float
    hold: float | None
    """Share for which the threshold was chosen; None if it was given."""
    decisions: str
    """Whose decisions are used; empty if there are none."""

    @classmethod
    def make(cls, settings: DistancesSettings) -> Self:
        """Embed, measure, and count agreement."""
        # Code that needs torch is imported only where it is needed, because reading stored distances does not need it.
        from nonverbal.evaluation.analyses.decided import decided_by, with_decisions
        from nonverbal.evaluation.analyses.held_out import paired_spaces, vectors_of, why_held_out

        check_settings(settings)
        shards = open_shards(settings.data)
        names = [str(name) for name in settings.encoders]
        spaces = paired_spaces(names, shards, settings.corpora, settings.seed, settings.fold)
        decided = decided_by(names, settings.scores, settings.systems, settings.protocol, settings.seed, shards)
        folds = [own for one in spaces if len((own := with_decisions(one, shards, decided))[0].rows)]
        if not folds:
            raise UserError(f"no clip of {settings.data} can be compared: none has a decision by every system")
        vectors, layers = vectors_of(folds, names, shards, settings.layer, settings.seed, settings.embeddings)
        clips = [shards.clips()[row] for one in folds for row in one[0].rows]
        numbers, unit = units([c.id for c in clips], [c.speaker for c in clips], [c.recording for c in clips])
        others, edges, threshold = compared(names, vectors, decided, clips, numbers, settings)
        return cls(
            names[0],
            others,
            "+".join(dict.fromkeys(clip.corpus for clip in clips)),
            layers,
            why_held_out(folds),
            shards.sha256,
            len(clips),
            sum(len(one[0].rows) for one in spaces) - len(clips),
            int(numbers.max()) + 1,
            unit,
            edges.tolist(),
            threshold,
            settings.hold if settings.threshold is None else None,
            "" if decided is None else decided.what,
        )

    @property
    def heading(self) -> str:
        """The corpus, and the encoder from which distances are measured."""
        return f"Distances on {self.corpus}, from {self.first}"

    def summary(self) -> str:
        """Say how far apart the encoders' vectors are, where systems agree, and what the cosine depends on."""
        limits = (
            "The cosine compares value by value, so it depends on a common initialisation as well as on what the "
            "encoders have learned; CKA does not change if a space is rotated, and is about 0 for unrelated spaces."
        )
        return "\n".join([*map(self._sentence, self.others), limits])

    def _sentence(self, one: Distance) -> str:
        agree = (
            ""
            if one.agree is None
            else (
                f" Decisions agree on {words_of(one.agree_inside)} of these, on {words_of(one.agree_beyond)} of the "
                f"clips beyond 1, and on {words_of(one.agree)} of all."
            )
        )
        return (
            f"{one.encoder} has {one.inside:.1%} of {self.clips} clips within a cosine distance of {self.threshold:g} "
            f"of {self.first}, and {one.beyond:.1%} beyond 1 (median {short(one.median)}; between vectors of different "
            f"clips {short_or(one.median_of_others, 'unknown')}; CKA {short_or(one.cka, 'unknown')}).{agree}"
        )

    def tables(self) -> list[Table]:
        """Return a table with a row per encoder, and one with a row per bin."""
        title = f"{self.corpus}: cosine distances from {self.first}"
        held = f"the smallest multiple of .05 that holds {self.hold or 0:.0%} of the clips of each pair"
        how = "given" if self.hold is None else held
        notes = [
            f"{self.clips} clips, {self.units} {self.unit}; {self.held_out}; layers {', '.join(map(str, self.layers))}",
            f"threshold {self.threshold:g}: {how}",
            "others: the median distance between vectors of different clips; CKA: linear, debiased",
        ]
        if self.without_decision:
            notes.append(f"{self.without_decision} clips without decisions were left out")
        columns = ["encoder", "inside", "beyond 1", "median", "others", "CKA"]
        rows = [
            [
                one.encoder,
                *map(short, (one.inside, one.beyond, one.median)),
                short_or(one.median_of_others),
                short_or(one.cka),
            ]
            for one in self.others
        ]
        return [Table(title, columns, rows, notes), *self._agreement_tables(title), self._histogram(title)]

    def _agreement_tables(self, title: str) -> list[Table]:
        if not self.decisions:
            return []
        columns = ["encoder", "inside", "interval", "beyond 1", "interval", "all", "interval"]
        rows = [
            [one.encoder, *cells_of(one.agree_inside), *cells_of(one.agree_beyond), *cells_of(one.agree)]
            for one in self.others
        ]
        notes = [f"decisions: {self.decisions}; intervals of .95 over {self.units} {self.unit}"]
        return [Table(f"{title}: share on which decisions agree", columns, rows, notes)]

    def _histogram(self, title: str) -> Table:
        bins = [f"{low:g} to {high:g}" for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)]
        of_bins = [
            [one.encoder, name, short(one.shares[n]), short_or(one.agreement[n])]
            for one in self.others
            for n, name in enumerate(bins)
        ]
        return Table(f"{title}: histogram", ["encoder", "distance", "share", "agree"], of_bins, texts=2)

    def check(self) -> None:
        """Refuse histograms with other bins, and shares out of range."""
        size = len(self.edges) - 1
        if size < 1 or any(high <= low for low, high in zip(self.edges[:-1], self.edges[1:], strict=True)):
            raise ValueError("its edges do not rise")
        if not self.others or any(len(one.shares) != size or len(one.agreement) != size for one in self.others):
            raise ValueError("a histogram is not of its bins")
        for one in self.others:
            if not all(value is None or 0 <= value <= 1 for value in (*one.shares, *one.agreement)):
                raise ValueError("a share is not in [0, 1]")


def check_settings(settings: DistancesSettings) -> None:
    """Refuse settings that contradict each other, before anything is read."""
    if len(set(settings.encoders)) < 2 or len(set(settings.encoders)) < len(settings.encoders):
        raise UserError("--encoders must name at least 2, each once")
    if not 0 < settings.hold <= 1:
        raise UserError(f"--hold must be above 0 and at most 1, but is {settings.hold}")
    if settings.threshold is not None and not 0 <= settings.threshold <= 2:
        raise UserError(f"--threshold must be a cosine distance from 0 to 2, but is {settings.threshold}")


def compared(
    names: Sequence[str],
    vectors: Sequence[Sequence[np.ndarray]],
    decided: "Decided | None",
    clips: Sequence[Clip],
    numbers: np.ndarray,
    settings: DistancesSettings,
) -> tuple[list[Distance], np.ndarray, float]:
    """Return the distances of each other encoder from the first, the edges of bins, and the threshold.

    Args:
        names: of the encoders.
        vectors: ``(clips, dim)`` of each encoder in each fold.
        decided: the decisions with these encoders; None if they are not known.
        clips: clips of all folds.
        numbers: their units, ``(clips,)``.
        settings: the threshold, or the share that it must contain, and the seed.
    """
    apart = [np.concatenate(one) for one in zip(*(_to_first(fold, names) for fold in vectors), strict=True)]
    edges = edges_of(apart)
    threshold = smallest_holding(apart, settings.hold) if settings.threshold is None else settings.threshold
    others = []
    for place, (name, own) in enumerate(zip(names[1:], apart, strict=True), start=1):
        agree = None if decided is None else decided.agree(place, [clip.id for clip in clips])
        folds = [(fold[0], fold[place]) for fold in vectors]
        others.append(distance_of(name, own, agree, numbers, edges, threshold, folds, settings.seed))
    return others, edges, threshold


def distance_of(
    encoder: str,
    apart: np.ndarray,
    agree: np.ndarray | None,
    numbers: np.ndarray,
    edges: np.ndarray,
    threshold: float,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    seed: int,
) -> Distance:
    """Count a pair's distances, and the agreement of decisions by distance.

    Args:
        encoder: name of the other encoder.
        apart: ``(clips,)``.
        agree: whether decisions agree, ``(clips,)`` bool; None without decisions.
        numbers: the units of the clips, ``(clips,)``.
        edges: of the bins.
        threshold: the largest distance that counts as near.
        folds: vectors of both encoders, ``(clips, dim)``, for each fold.
        seed: seed of the draw of the other clips with which each clip is compared.
    """
    inside, beyond = apart <= threshold, apart > 1

    def of(among: np.ndarray) -> Measured | None:
        return None if agree is None else share([(agree[among], numbers[among])])

    return Distance(
        encoder,
        *by_bin(apart, agree, edges),
        float(inside.mean()),
        of(inside),
        float(beyond.mean()),
        of(beyond),
        of(np.ones_like(inside)),
        float(np.median(apart)),
        median_of_others(folds, seed),
        mean_cka(folds),
    )


def by_bin(apart: np.ndarray, agree: np.ndarray | None, edges: np.ndarray) -> tuple[list[float], list[float | None]]:
    """Return the share of clips in each bin, and the share of each bin's clips on which decisions agree."""
    # Distances that rounding puts slightly beyond the edges belong to the first or last bin.
    places = np.clip(np.searchsorted(edges, apart, side="right") - 1, 0, len(edges) - 2)
    counts = np.bincount(places, minlength=len(edges) - 1)
    agreeing = None if agree is None else np.bincount(places, agree, len(edges) - 1)
    shares = [None if agreeing is None or not n else float(agreeing[b] / n) for b, n in enumerate(counts.tolist())]
    return (counts / len(apart)).tolist(), shares


def _to_first(fold: Sequence[np.ndarray], names: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield the distances of each other encoder from the first."""
    for name, other in zip(names[1:], fold[1:], strict=True):
        yield cosine_distances(fold[0], other, (names[0], name))
