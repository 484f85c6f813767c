"""How far apart encoders attend on the same clips: the Bhattacharyya distance between rows of their maps.

The paper on emotion recovery draws "the distance between rows of self-attention maps" of each layer and head, and
leaves open which rows. Its other analyses all compare a second fine-tuning with a single one on the same clips, and so
does this: row t of a head of the first encoder is compared with row t of the same head of the second. Both say how much
frame t attends to each of the S frames, so each is a distribution over these, and their distance is

    -ln sum over frames j of sqrt(p[t, j] q[t, j])        (Bhattacharyya, 1943), in nats: 0 where p = q, no upper bound.

It is averaged over the rows of a clip, then over clips, which count alike. How the paper's figure is normalised is open
too: see ``AttentionSettings.normalise``.

Heads are compared by number, which means something where both encoders began from the same weights. Whether it does is
measured: of the pairing of a layer's heads with the least sum of distances, how many pairs are of one number.

Shapes: L layers, H heads, S frames.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Self

import numpy as np

from nonverbal.data.index import ShardFolder, open_shards
from nonverbal.data.manifest import Clip
from nonverbal.data.progress import progress
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.attention_rows import ClipDistances, clip_distances
from nonverbal.evaluation.analyses.base import Analysis, AnalysisSettings
from nonverbal.evaluation.analyses.distances import why_held_out
from nonverbal.evaluation.analyses.held_out import Space, load_space, paired_spaces
from nonverbal.evaluation.analyses.measured import Measured
from nonverbal.evaluation.encoders.attending import Attending
from nonverbal.evaluation.tables import Table, short
from nonverbal.paths import PathOrName
from nonverbal.seeding import Stream, generator
from nonverbal.tasks.groups import units
from nonverbal.tasks.statistics.intervals import rate_t

Normalise = Literal["length", "largest", "none"]

UNITS: dict[str, str] = {
    "length": "1: a row on one frame against an even one",
    "largest": "1: the largest cell",
    "none": "nats",
}
"""What distances are in, by how they are normalised."""


@dataclass(kw_only=True)
class AttentionSettings(AnalysisSettings):
    """Which encoders attend to what."""

    data: Path
    """Folder of shards."""
    encoders: list[PathOrName]
    """Two or more of one architecture, as `nonverbal probe` takes them: the first is compared with each of the others.
    Of `finetuned:RUN` each clip's maps are those of the fold that tests it."""
    corpora: list[str] | None = None
    """Names of those whose clips count. Unset: all of the shards."""
    clips: int | None = None
    """At most so many, drawn by --seed. Unset: all."""
    normalise: Normalise = "length"
    """`length` divides by half the logarithm of a clip's frames: 1 is the distance of a row that is all on one frame
    from one that is even, whatever the clip's length, so pairs, clips and corpora can be compared. `largest` divides
    by the largest cell of all maps, which is then 1; `none` leaves nats. The paper does not say what it did."""
    fold: str | None = None
    """Of `finetuned:RUN`: this one alone."""
    seed: int = 0
    """Of the folds, of which clips are drawn, and of the weights of `initialised:`."""


@dataclass(frozen=True)
class Layer:
    """A layer of two encoders; distances as they are normalised."""

    distances: list[float]
    """Of each head, ``(H,)``: mean over rows and clips."""
    elsewhere: list[float]
    """The same of rows of frames half a clip apart: what unlike rows of these heads give."""
    mean: Measured
    """Over heads, with its interval over units."""
    paired: float
    """Share of heads that are of one number in the pairing of both encoders' heads with the least sum of distances."""


@dataclass(frozen=True)
class Attended:
    """An encoder that is compared with the first."""

    encoder: str
    layers: list[Layer]
    """From the first block's."""

    @property
    def mean(self) -> float:
        """Over layers and heads."""
        return float(np.mean([layer.mean.value for layer in self.layers]))

    @property
    def paired(self) -> float:
        """Share of the heads of all layers that pair by number."""
        return float(np.mean([layer.paired for layer in self.layers]))


@dataclass(frozen=True)
class Attention(Analysis[AttentionSettings]):
    """Bhattacharyya distance between rows of the self-attention maps of encoders, by layer and head.

    Of the same held-out clips: row t of a head of the first encoder against row t of the same head of another. Rows are
    averaged within a clip, and clips count alike. Frames and heads are compared by number, so encoders must be of one
    architecture; whether their heads correspond is measured.
    """

    NAME: ClassVar[str] = "attention"
    ABOUT: ClassVar[str] = "How far apart encoders attend: Bhattacharyya distance by layer and head."
    SETTINGS: ClassVar[type[AnalysisSettings]] = AttentionSettings

    first: str
    others: list[Attended]
    keys: list[list[str]]
    """Of each encoder, in their order, those of its folds' weights."""
    held_out: str
    """Why the clips are held out."""
    data_sha256: str
    """Of the shards' index."""
    clips: int
    short: int
    """Clips of one frame, whose rows have one value: they are left out of ``clips``."""
    rows: int
    """Frames of all clips, each of which has a row in every head."""
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
        shards = open_shards(settings.data)
        names = [str(name) for name in settings.encoders]
        folds = paired_spaces(names, shards, settings.corpora, settings.seed, settings.fold)
        keys: list[list[str]] = [[] for _ in names]
        found = list(_of_folds(folds, shards, settings, keys))
        kept = [one for one in found if one.rows]
        if not kept:
            raise UserError("no clip has two frames, so no row has anything to differ in")
        numbers, unit = _units([shards.clips()[one.clip] for one in kept])
        return cls(
            names[0],
            _attended(names[1:], kept, numbers, settings.normalise == "largest"),
            keys,
            why_held_out(folds),
            shards.sha256,
            len(kept),
            len(found) - len(kept),
            sum(one.rows for one in kept),
            int(numbers.max()) + 1,
            unit,
            settings.normalise,
        )

    @property
    def heading(self) -> str:
        """The encoders."""
        return f"Attention of {self.first} and {', '.join(one.encoder for one in self.others)}"

    def summary(self) -> str:
        """Say how far apart they attend, and whether heads keep their numbers."""
        limit = f"Intervals are over {self.units} {self.unit}. Where encoders attend does not show why they decide so."
        return " ".join([*map(self._sentence, self.others), limit])

    def _sentence(self, one: Attended) -> str:
        means = [layer.mean.value for layer in one.layers]
        most, least = int(np.argmax(means)), int(np.argmin(means))
        heads = len(one.layers[0].distances)
        apart = float(np.mean([layer.elsewhere for layer in one.layers]))
        doubt = "" if one.paired > 0.5 else ", so heads of one number need not correspond: read layers and not cells"
        return (
            f"{one.encoder} attends at a mean distance of {short(one.mean)} from {self.first} ({UNITS[self.normalise]}; "
            f"rows half a clip apart {short(apart)}), most in layer {most + 1}: {one.layers[most].mean.text}, least in "
            f"layer {least + 1}: {one.layers[least].mean.text}. In the nearest pairing of heads {one.paired:.0%} are of "
            f"one number ({1 / heads:.0%} by chance){doubt}."
        )

    def tables(self) -> list[Table]:
        """Return distances by layer, a table an encoder."""
        left = f"; {self.short} of one frame left out" if self.short else ""
        notes = [
            f"Bhattacharyya distance between rows of self-attention maps ({UNITS[self.normalise]})",
            f"{self.clips} clips with {self.rows} rows a head{left}; {self.held_out}; intervals of .95 over {self.unit}",
        ]
        columns = ["layer", "mean of heads", "interval", "least", "most", "half a clip apart", "paired by number"]
        return [
            Table(
                f"{self.first} and {one.encoder}", columns, [_row(*layer) for layer in enumerate(one.layers, 1)], notes
            )
            for one in self.others
        ]

    def check(self) -> None:
        """Refuse layers of different heads, and shares that are none."""
        layers = [layer for one in self.others for layer in one.layers]
        heads = {len(column) for layer in layers for column in (layer.distances, layer.elsewhere)}
        if len(heads) != 1 or 0 in heads or len({len(one.layers) for one in self.others}) != 1:
            raise ValueError("its encoders have not the same layers and heads")
        if self.normalise not in UNITS:
            raise ValueError(f"normalise is {self.normalise!r:.60}, but must be one of {', '.join(UNITS)}")
        for layer in layers:
            if min(*layer.distances, *layer.elsewhere, layer.mean.value) < 0 or not 0 <= layer.paired <= 1:
                raise ValueError("a distance is negative, or a share is not in [0, 1]")


def _row(number: int, layer: Layer) -> list[str]:
    least, most = short(min(layer.distances)), short(max(layer.distances))
    away = short(float(np.mean(layer.elsewhere)))
    return [str(number), *layer.mean.cells, least, most, away, f"{layer.paired:.0%}"]


def _of_folds(
    folds: Sequence[Sequence[Space]], shards: ShardFolder, settings: AttentionSettings, keys: list[list[str]]
) -> Iterator[ClipDistances]:
    """Yield the distances of each clip, and add the keys of the weights to ``keys``."""
    every = [row for one in folds for row in one[0].rows.tolist()]
    wanted = _drawn(every, settings.clips, settings.seed)
    with progress("attention", sum(row in wanted for row in every), "clips") as advance:
        for spaces in folds:
            attending = [Attending(load_space(space, settings.seed)) for space in spaces]
            for own, one in zip(keys, attending, strict=True):
                own.append(one.encoder.key)
            rows = np.array([row for row in spaces[0].rows.tolist() if row in wanted], dtype=np.int64)
            for clip, parts in zip(rows.tolist(), shards.parts(rows), strict=True):
                waveform = np.concatenate([shards.read(int(part)) for part in parts])
                yield clip_distances(attending, clip, waveform, settings.normalise == "length")
                advance(1)


def _attended(
    names: Sequence[str], found: Sequence[ClipDistances], numbers: np.ndarray, by_largest: bool
) -> list[Attended]:
    """Return means over clips; ``numbers`` are those of their units, ``(clips,)``."""
    own = np.array([np.diagonal(one.heads, axis1=2, axis2=3) for one in found])  # (clips, others, L, H)
    scale = max(float(own.mean(0).max()), np.finfo(float).tiny) if by_largest else 1.0
    own /= scale
    heads = np.mean([one.heads for one in found], axis=0) / scale
    elsewhere = np.mean([one.elsewhere for one in found], axis=0) / scale
    return [
        Attended(
            name,
            [_layer(heads[place, n], elsewhere[place, n], own[:, place, n], numbers) for n in range(heads.shape[1])],
        )
        for place, name in enumerate(names)
    ]


def _layer(heads: np.ndarray, elsewhere: np.ndarray, own: np.ndarray, numbers: np.ndarray) -> Layer:
    """Return a layer of ``(H, H)`` distances of heads, ``(H,)`` of rows apart, ``(clips, H)`` of each clip."""
    from scipy.optimize import linear_sum_assignment

    paired = float(np.mean(np.equal(*linear_sum_assignment(heads))))
    return Layer(np.diagonal(heads).tolist(), elsewhere.tolist(), _measured(own.mean(1), numbers), paired)


def _measured(values: np.ndarray, numbers: np.ndarray) -> Measured:
    """Return the mean of values of clips with its interval over units."""
    totals = np.bincount(numbers)
    if len(totals) < 2 or not values.any():
        return Measured(float(values.mean()), None, None, len(values))
    found = rate_t(np.bincount(numbers, values), totals)
    return Measured(found.value, found.low, found.high, len(values))


def _units(clips: Sequence[Clip]) -> tuple[np.ndarray, str]:
    return units([clip.id for clip in clips], [clip.speaker for clip in clips], [clip.recording for clip in clips])


def _drawn(rows: list[int], most: int | None, seed: int) -> set[int]:
    """Return at most so many of the rows, drawn without replacement."""
    if most is None or most >= len(rows):
        return set(rows)
    return set(generator(seed, Stream.CLIPS).choice(np.sort(rows), most, replace=False).tolist())
