"""How differently encoders attend on the same clips: the Bhattacharyya distance between rows of their maps.

The paper on emotion recovery draws "the distance between rows of self-attention maps" of each layer and head, without
saying which rows. Its other analyses all compare a second fine-tuning with a single one on the same clips, and so does
this one: row t of a head of the first encoder is compared with row t of the same head of the second. Both say how much
frame t attends to each of the S frames, so each is a distribution over these, and their distance is

    -ln sum over frames j of sqrt(p[t, j] q[t, j])        (Bhattacharyya, 1943), in nats: 0 where p = q, no upper bound.

It is averaged over the rows of a clip, then over clips, which all have the same weight. The paper does not say how its
figure is normalised either: see ``AttentionSettings.normalise``.

Heads are compared by number, which is meaningful if both encoders started from the same weights. Whether heads
correspond is measured: the heads of a layer are paired so that the sum of distances is smallest, and the pairs whose
heads have the same number are counted.

Shapes: L layers, H heads, S frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Self

import numpy as np

from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import Analysis, AnalysisSettings
from nonverbal.evaluation.analyses.measured import Measured
from nonverbal.evaluation.tables import Table, short
from nonverbal.paths import PathOrName
from nonverbal.tasks.groups import units
from nonverbal.tasks.statistics.intervals import rate_t

if TYPE_CHECKING:
    from nonverbal.evaluation.analyses.attention_rows import Distances

Normalise = Literal["length", "largest", "none"]

UNITS: dict[str, str] = {
    "length": "1: a row on one frame against a uniform row",
    "largest": "1: the largest cell",
    "none": "nats",
}
"""The unit of distances, by how they are normalised."""


@dataclass(kw_only=True)
class AttentionSettings(AnalysisSettings):
    """Which encoders are compared, and on which clips."""

    data: Path
    """Folder of shards."""
    encoders: list[PathOrName]
    """Two or more encoders of one architecture, as for `nonverbal probe`: the first is compared with each of the
    others. For `finetuned:RUN`, the maps of a clip are those of the fold that tests it."""
    corpora: list[str] | None = None
    """Use only the clips of these corpora. Unset: all corpora of the shards."""
    clips: int | None = None
    """Maximum number of clips, drawn by --seed. Unset: all."""
    normalise: Normalise = "length"
    """`length` divides by half the logarithm of the number of frames of the clip, so that 1 is the distance between a
    row that is all on one frame and a uniform row. Pairs, clips and corpora can then be compared. `largest` divides by
    the largest cell of all maps, which is then 1; `none` leaves nats. The paper does not say what it did."""
    fold: str | None = None
    """For `finetuned:RUN`: use only this fold."""
    seed: int = 0
    """Seed of the folds, of the draw of clips, and of the random weights of `initialised:`."""


@dataclass(frozen=True)
class Layer:
    """A layer of two encoders, with normalised distances."""

    distances: list[float]
    """For each head, ``(H,)``: mean over rows and clips."""
    elsewhere: list[float]
    """The same for rows of frames half a clip apart: the distance of unrelated rows of these heads."""
    mean: Measured
    """Mean over heads, with its interval over units."""
    paired: float
    """Share of pairs of heads with the same number, in the pairing of heads with the smallest sum of distances."""


@dataclass(frozen=True)
class Attended:
    """An encoder that is compared with the first."""

    encoder: str
    layers: list[Layer]
    """From that of the first block on."""

    @property
    def mean(self) -> float:
        """Mean over layers and heads."""
        return float(np.mean([layer.mean.value for layer in self.layers]))

    @property
    def paired(self) -> float:
        """Share of the pairs in all layers whose heads have the same number."""
        return float(np.mean([layer.paired for layer in self.layers]))


@dataclass(frozen=True)
class Attention(Analysis[AttentionSettings]):
    """Bhattacharyya distance between rows of the self-attention maps of encoders, by layer and head.

    On the same held-out clips, row t of a head of the first encoder is compared with row t of the same head of another.
    Distances are averaged over the rows of a clip, then over clips. Frames and heads are compared by number, so
    encoders must have the same architecture; whether their heads correspond is measured.
    """

    NAME: ClassVar[str] = "attention"
    ABOUT: ClassVar[str] = "How differently encoders attend: Bhattacharyya distance by layer and head."
    SETTINGS: ClassVar[type[AnalysisSettings]] = AttentionSettings

    first: str
    others: list[Attended]
    corpus: str
    keys: list[list[str]]
    """For each encoder, in their order, the keys of the weights of its folds."""
    held_out: str
    """Why the clips are held out."""
    data_sha256: str
    """Hash of the shards' index."""
    clips: int
    short: int
    """Number of clips with one frame, whose rows have a single value; they are not counted in ``clips``."""
    rows: int
    """Number of frames of all clips, each of which has a row in every head."""
    units: int
    unit: str
    """What intervals are over: speakers, recordings, clips, or groups of them."""
    normalise: str
    """See ``AttentionSettings``."""

    @classmethod
    def make(cls, settings: AttentionSettings) -> Self:
        """Compare maps, clip by clip and layer by layer."""
        if len(settings.encoders) < 2:
            raise UserError(f"--encoders must name two or more, but names {', '.join(settings.encoders)}")
        if settings.clips is not None and settings.clips < 1:
            raise UserError(f"--clips must be at least 1, but is {settings.clips}")
        # Code that reads encoders is imported only where it is needed, because a report does not need it.
        from nonverbal.evaluation.analyses.attention_rows import attention_distances
        from nonverbal.evaluation.analyses.held_out import paired_spaces, why_held_out

        shards = open_shards(settings.data)
        names = [str(name) for name in settings.encoders]
        folds = paired_spaces(names, shards, settings.corpora, settings.seed, settings.fold)
        found = attention_distances(folds, shards, settings.clips, settings.normalise == "length", settings.seed)
        clips = [shards.clips()[row] for row in found.clips]
        numbers, unit = units([c.id for c in clips], [c.speaker for c in clips], [c.recording for c in clips])
        return cls(
            names[0],
            _attended(names[1:], found, numbers, settings.normalise == "largest"),
            "+".join(dict.fromkeys(clip.corpus for clip in clips)),
            found.keys,
            why_held_out(folds),
            shards.sha256,
            len(clips),
            found.short,
            found.rows,
            int(numbers.max()) + 1,
            unit,
            settings.normalise,
        )

    @property
    def heading(self) -> str:
        """The corpus, and the encoder with which others are compared."""
        return f"Attention on {self.corpus}, against {self.first}"

    def summary(self) -> str:
        """Say how differently the encoders attend, and whether heads keep their numbers."""
        limit = (
            f"Intervals are over {self.units} {self.unit}. Where encoders attend does not show why they decide as "
            "they do."
        )
        return "\n".join([*map(self._sentence, self.others), limit])

    def _sentence(self, one: Attended) -> str:
        means = [layer.mean.value for layer in one.layers]
        most, least = int(np.argmax(means)), int(np.argmin(means))
        heads = len(one.layers[0].distances)
        apart = float(np.mean([layer.elsewhere for layer in one.layers]))
        told = ", so heads with the same number need not correspond: read layers, not cells"
        doubt = "" if one.paired > 0.5 else told
        far, near = one.layers[most].mean.text, one.layers[least].mean.text
        return (
            f"{one.encoder} attends at a mean distance of {short(one.mean)} from {self.first} "
            f"({UNITS[self.normalise]}; rows half a clip apart {short(apart)}), most in layer {most + 1}: {far}, least "
            f"in layer {least + 1}: {near}. In the closest pairing of heads, {one.paired:.0%} of the pairs have "
            f"the same number ({1 / heads:.0%} by chance){doubt}."
        )

    def tables(self) -> list[Table]:
        """Return distances by layer, one table per encoder."""
        left = f"; {self.short} of one frame left out" if self.short else ""
        notes = [
            f"Bhattacharyya distance between rows of self-attention maps ({UNITS[self.normalise]})",
            f"{self.clips} clips with {self.rows} rows per head{left}; {self.held_out}",
            f"intervals of .95 over {self.unit}",
        ]
        columns = ["layer", "mean of heads", "interval", "least", "most", "half a clip apart", "paired by number"]
        rows = [[_row(*layer) for layer in enumerate(one.layers, 1)] for one in self.others]
        names = [f"{self.first} and {one.encoder}" for one in self.others]
        return [Table(name, columns, own, notes) for name, own in zip(names, rows, strict=True)]

    def check(self) -> None:
        """Refuse layers with different numbers of heads, and shares out of range."""
        layers = [layer for one in self.others for layer in one.layers]
        heads = {len(column) for layer in layers for column in (layer.distances, layer.elsewhere)}
        if len(heads) != 1 or 0 in heads or len({len(one.layers) for one in self.others}) != 1:
            raise ValueError("its encoders do not have the same layers and heads")
        if self.normalise not in UNITS:
            raise ValueError(f"normalise is {self.normalise!r:.60}, but must be one of {', '.join(UNITS)}")
        for layer in layers:
            if min(*layer.distances, *layer.elsewhere, layer.mean.value) < 0 or not 0 <= layer.paired <= 1:
                raise ValueError("a distance is negative, or a share is not in [0, 1]")


def _row(number: int, layer: Layer) -> list[str]:
    least, most = short(min(layer.distances)), short(max(layer.distances))
    away = short(float(np.mean(layer.elsewhere)))
    return [str(number), *layer.mean.cells, least, most, away, f"{layer.paired:.0%}"]


def _attended(names: Sequence[str], found: "Distances", units: np.ndarray, by_largest: bool) -> list[Attended]:
    """Return the layers of each encoder but the first; ``units`` are numbers of the clips' units, ``(clips,)``."""
    own = np.diagonal(found.heads, axis1=2, axis2=3)  # (P, L, H)
    scale = max(float(own.max()), np.finfo(float).tiny) if by_largest else 1.0
    layers = range(found.heads.shape[1])
    return [
        Attended(name, [_layer(found, place, layer, units, scale) for layer in layers])
        for place, name in enumerate(names)
    ]


def _layer(found: "Distances", place: int, layer: int, units: np.ndarray, scale: float) -> Layer:
    from scipy.optimize import linear_sum_assignment

    heads = found.heads[place, layer]
    paired = float(np.mean(np.equal(*linear_sum_assignment(heads))))
    mean = _measured(found.by_clip[:, place, layer] / scale, units)
    return Layer((np.diagonal(heads) / scale).tolist(), (found.elsewhere[place, layer] / scale).tolist(), mean, paired)


def _measured(values: np.ndarray, units: np.ndarray) -> Measured:
    """Return the mean of the clips' values, with its interval over units."""
    totals = np.bincount(units)
    if len(totals) < 2 or not values.any():
        return Measured(float(values.mean()), None, None, len(values))
    found = rate_t(np.bincount(units, values), totals)
    return Measured(found.value, found.low, found.high, len(values))
