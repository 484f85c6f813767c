"""How far apart two encoders attend on the same clips: the Bhattacharyya distance between rows of their maps.

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

from collections.abc import Iterable, Sequence
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
from nonverbal.evaluation.analyses.held_out import load_space, paired_spaces
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
    """Which two encoders attend to what."""

    data: Path
    """Folder of shards."""
    encoders: list[PathOrName]
    """Two, as `nonverbal probe` takes them, of one architecture; of `finetuned:RUN` each fold on the clips it tests."""
    corpora: list[str] | None = None
    """Names of those whose clips count. Unset: all of the shards."""
    clips: int | None = None
    """At most so many, drawn by --seed. Unset: all."""
    normalise: Normalise = "length"
    """`length` divides by half the logarithm of a clip's frames: 1 is the distance of a row that is all on one frame
    from one that is even, whatever the clip's length, so pairs, clips and corpora can be compared. `largest` divides
    the map by its largest cell, which is then 1; `none` leaves nats. The paper does not say what it did."""
    fold: str | None = None
    """Of `finetuned:RUN`: this fold alone. Unset: all of them."""
    seed: int = 0
    """Of the folds, of which clips are drawn, and of the weights of `initialised:`."""


@dataclass(frozen=True)
class Layer:
    """A layer of both encoders; distances as they are normalised."""

    distances: list[float]
    """Of each head, ``(H,)``: mean over rows and clips."""
    elsewhere: list[float]
    """The same of rows of frames half a clip apart: what unlike rows of these heads give."""
    mean: float
    """Over heads."""
    low: float | None
    """Of its .95 interval over units; None where there is one unit."""
    high: float | None
    paired: float
    """Share of heads that are of one number in the pairing of both encoders' heads with the least sum of distances."""


@dataclass(frozen=True)
class Attention(Analysis[AttentionSettings]):
    """Bhattacharyya distance between rows of two encoders' self-attention maps, by layer and head.

    Of the same held-out clips; rows are averaged within a clip, and clips count alike. Frames and heads are compared by
    number, so both encoders are of one architecture.
    """

    NAME: ClassVar[str] = "attention"
    ABOUT: ClassVar[str] = "How far apart two encoders attend: Bhattacharyya distance by layer and head."
    SETTINGS: ClassVar[type[AnalysisSettings]] = AttentionSettings

    encoders: list[str]
    """Two."""
    keys: list[list[str]]
    """Of either, those of its folds' weights."""
    held_out: list[str]
    """Why the clips are held out: of each fold and encoder, said once."""
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
    layers: list[Layer]
    """From the first block's."""

    @classmethod
    def make(cls, settings: AttentionSettings) -> Self:
        """Compare the maps of two encoders, clip by clip and layer by layer."""
        if len(settings.encoders) != 2:
            raise UserError(f"--encoders must name two, but names {len(settings.encoders)}")
        if settings.clips is not None and settings.clips < 1:
            raise UserError(f"--clips must be at least 1, but is {settings.clips}")
        shards = open_shards(settings.data)
        pairs = paired_spaces(settings.encoders, shards, settings.corpora, settings.seed, settings.fold)
        every = [row for first, _ in pairs for row in first.rows.tolist()]
        wanted = _drawn(every, settings.clips, settings.seed)
        found: list[ClipDistances] = []
        keys: list[list[str]] = [[], []]
        with progress("attention", sum(row in wanted for row in every), "clips") as advance:
            for pair in pairs:
                both = [Attending(load_space(space, settings.seed)) for space in pair]
                for own, attending in zip(keys, both, strict=True):
                    own.append(attending.encoder.key)
                rows = [row for row in pair[0].rows.tolist() if row in wanted]
                for one in _of_clips(both, shards, rows, settings.normalise == "length"):
                    found.append(one)
                    advance(1)
        kept = [one for one in found if one.rows]
        if not kept:
            raise UserError("no clip has two frames, so no row has anything to differ in")
        manifest = shards.clips()
        numbers, unit = _units([manifest[one.clip] for one in kept])
        return cls(
            list(settings.encoders),
            keys,
            list(dict.fromkeys(space.why for pair in pairs for space in pair)),
            shards.sha256,
            len(kept),
            len(found) - len(kept),
            sum(one.rows for one in kept),
            int(numbers.max()) + 1,
            unit,
            settings.normalise,
            _layers(kept, numbers, settings.normalise == "largest"),
        )

    @property
    def heading(self) -> str:
        """The encoders."""
        return f"Attention: {self.encoders[0]} and {self.encoders[1]}"

    def summary(self) -> str:
        """Say how far apart they attend, and whether heads keep their numbers."""
        means = [layer.mean for layer in self.layers]
        most, least = int(np.argmax(means)), int(np.argmin(means))
        heads = len(self.layers[0].distances)
        own = float(np.mean([layer.paired for layer in self.layers]))
        apart = float(np.mean([layer.elsewhere for layer in self.layers]))
        numbered = f"In the nearest pairing of heads {own:.0%} are of one number ({1 / heads:.0%} by chance)"
        doubt = "" if own > 0.5 else ": heads of one number need not correspond, so read layers and not cells"
        return (
            f"Mean distance {short(float(np.mean(means)))} ({UNITS[self.normalise]}); rows half a clip apart: "
            f"{short(apart)}. It is largest in layer {most + 1}: {_told(self.layers[most])}, smallest in layer "
            f"{least + 1}: {_told(self.layers[least])}; intervals are over {self.units} {self.unit}. "
            f"{numbered}{doubt}. Where encoders attend does not show why they decide as they do."
        )

    def tables(self) -> list[Table]:
        """Return distances by layer."""
        columns = ["layer", "mean of heads", ".95 interval", "least", "most", "half a clip apart", "paired by number"]
        rows = [
            [
                str(number),
                short(layer.mean),
                _interval(layer),
                short(min(layer.distances)),
                short(max(layer.distances)),
                short(float(np.mean(layer.elsewhere))),
                f"{layer.paired:.0%}",
            ]
            for number, layer in enumerate(self.layers, 1)
        ]
        left = f"; {self.short} of one frame left out" if self.short else ""
        notes = [
            f"Bhattacharyya distance between rows of self-attention maps ({UNITS[self.normalise]})",
            f"{self.clips} clips with {self.rows} rows a head{left}; {'; '.join(self.held_out)}",
        ]
        return [Table(self.heading, columns, rows, notes)]

    def check(self) -> None:
        """Refuse layers of different heads, and shares that are none."""
        heads = {len(column) for layer in self.layers for column in (layer.distances, layer.elsewhere)}
        if len(self.encoders) != 2 or len(self.keys) != 2 or len(heads) != 1 or 0 in heads:
            raise ValueError("its encoders are not two, or its layers have not the same heads")
        if self.normalise not in UNITS:
            raise ValueError(f"normalise is {self.normalise!r:.60}, but must be one of {', '.join(UNITS)}")
        for layer in self.layers:
            if min(*layer.distances, *layer.elsewhere, layer.mean) < 0 or not 0 <= layer.paired <= 1:
                raise ValueError("a distance is negative, or a share is not in [0, 1]")


def _of_clips(
    both: Sequence[Attending], shards: ShardFolder, clips: Sequence[int], by_length: bool
) -> Iterable[ClipDistances]:
    parts = shards.parts(np.array(clips, dtype=np.int64))
    for clip, own in zip(clips, parts, strict=True):
        waveform = np.concatenate([shards.read(int(row)) for row in own])
        yield clip_distances(both, clip, waveform, by_length)


def _layers(found: Sequence[ClipDistances], numbers: np.ndarray, by_largest: bool) -> list[Layer]:
    """Return means over clips; ``numbers`` are those of their units, ``(clips,)``."""
    from scipy.optimize import linear_sum_assignment

    heads = np.mean([one.heads for one in found], axis=0)
    elsewhere = np.mean([one.elsewhere for one in found], axis=0)
    own = np.array([np.diagonal(one.heads, axis1=1, axis2=2) for one in found])  # (clips, L, H)
    scale = max(float(own.mean(0).max()), np.finfo(float).tiny) if by_largest else 1.0
    layers = []
    for layer, matrix in enumerate(heads):
        mean, low, high = _bounded(own[:, layer].mean(1) / scale, numbers)
        paired = float(np.mean(np.equal(*linear_sum_assignment(matrix))))
        distances = (np.diagonal(matrix) / scale).tolist()
        layers.append(Layer(distances, (elsewhere[layer] / scale).tolist(), mean, low, high, paired))
    return layers


def _bounded(values: np.ndarray, numbers: np.ndarray) -> tuple[float, float | None, float | None]:
    """Return the mean of values of clips with its interval over units."""
    totals = np.bincount(numbers)
    if len(totals) < 2 or not values.any():
        return float(values.mean()), None, None
    found = rate_t(np.bincount(numbers, values), totals)
    return found.value, found.low, found.high


def _units(clips: Sequence[Clip]) -> tuple[np.ndarray, str]:
    return units([clip.id for clip in clips], [clip.speaker for clip in clips], [clip.recording for clip in clips])


def _drawn(rows: list[int], most: int | None, seed: int) -> set[int]:
    """Return at most so many of the rows, drawn without replacement."""
    if most is None or most >= len(rows):
        return set(rows)
    return set(generator(seed, Stream.PROBE).choice(np.sort(rows), most, replace=False).tolist())


def _told(layer: Layer) -> str:
    return f"{short(layer.mean)} {_interval(layer)}".strip()


def _interval(layer: Layer) -> str:
    return "" if layer.low is None or layer.high is None else f"[{short(layer.low)}, {short(layer.high)}]"
