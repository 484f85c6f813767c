"""How useful and how similar layers are: learned weights over corpora, UAR by layer, CKA between encoders.

Weights are those of heads that sum layers, as in the figure of the cross-lingual paper: one row per model, averaged
over corpora. UAR by layer is what heads that use a single layer chose it by, on the training sides. Both are read from
scores. The CKA of each layer of one encoder with each layer of another is computed from embeddings.

Layer 0 is the input of the first block. Shapes: L layers.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np

from nonverbal.data.index import open_shards
from nonverbal.errors import UserError
from nonverbal.evaluation.analyses.base import Analysis, AnalysisSettings
from nonverbal.evaluation.analyses.layer_parts import (
    Curve,
    Likeness,
    Weights,
    by_task,
    curves_of,
    curves_said,
    curves_table,
    likeness_said,
    likeness_table,
    weights_of,
    weights_said,
    weights_table,
)
from nonverbal.evaluation.tables import Table
from nonverbal.paths import PathOrName
from nonverbal.tasks.measurements import ScoredFolds, read_measurements, read_text_measurements

LAST = 1000
"""An upper limit on layers, above that of any encoder: a map of weights has a column for each."""


@dataclass(kw_only=True)
class LayersSettings(AnalysisSettings):
    """Scores, for weights and UAR by layer; two encoders and clips, for CKA; or both."""

    scores: list[Path] = field(default_factory=list)
    """Score files, or folders, which stand for every scores.jsonl in them."""
    protocol: str | None = None
    """Use only scores under protocols whose name contains this. Unset: all."""
    encoders: list[PathOrName] = field(default_factory=list)
    """Two encoders, as for `nonverbal probe`, whose layers are compared. `finetuned:RUN` is compared fold by fold, on
    the test clips of each fold; folds with 4 test clips or more are averaged, weighted by their clips."""
    data: Path | None = None
    """Folder of shards with the clips that --encoders embed."""
    corpora: list[str] | None = None
    """Embed only the clips of these corpora. Unset: all corpora of the shards."""
    fold: str | None = None
    """For `finetuned:RUN`: use only this fold. Unset: all folds."""
    seed: int = 0
    """Seed of the folds, and of the random weights of `initialised:`."""
    embeddings: Path = Path("runs/embeddings")
    """Folder of embeddings that `nonverbal probe` and `embed` share."""


@dataclass(frozen=True)
class Layers(Analysis[LayersSettings]):
    """Layers of encoders: learned weights over corpora, UAR by layer, and CKA between two encoders.

    Weights and UAR are read from scores (--scores), CKA is computed from two encoders' embeddings of the same held-out
    clips (--data, --encoders), their means over frames. It is debiased: about 0 for unrelated layers, 1 for layers that
    differ by rotation and scale.
    """

    NAME: ClassVar[str] = "layers"
    ABOUT: ClassVar[str] = "Learned layer weights over corpora, UAR by layer, CKA between layers of two encoders."
    SETTINGS: ClassVar[type[AnalysisSettings]] = LayersSettings

    weights: list[Weights]
    curves: list[Curve]
    likeness: Likeness | None

    @classmethod
    def make(cls, settings: LayersSettings) -> Self:
        """Read scores, and compare encoders."""
        if not settings.scores and not settings.encoders:
            raise UserError("give --scores, for weights and UAR by layer, or --data and --encoders, for CKA; or both")
        if bool(settings.encoders) != (settings.data is not None):
            raise UserError("CKA needs both --data and --encoders")
        folds = _scored(settings) if settings.scores else []
        weights, curves = weights_of(folds), curves_of(folds)
        if settings.scores and not weights and not curves:
            raise UserError(
                f"{', '.join(map(str, settings.scores))}: no head there sums layers (multilayer; fine-tuned with "
                "--head.layers weighted) or chooses one (logistic, svm)"
            )
        return cls(weights, curves, _likeness(settings) if settings.encoders else None)

    @property
    def heading(self) -> str:
        """What is shown: from which corpora, or for which encoders."""
        weighed = [corpus for row in self.weights for corpus in row.corpora]
        corpora = dict.fromkeys([*weighed, *(curve.corpus for curve in self.curves)])
        two = [] if self.likeness is None else [f"{self.likeness.encoders[0]} and {self.likeness.encoders[1]}"]
        return f"Layers: {'; '.join([*([', '.join(corpora)] if corpora else []), *two])}"

    def summary(self) -> str:
        """Say which layers have the largest weights, which are best, and how similar two encoders' layers are."""
        said = [weights_said(self.weights)] if self.weights else []
        said += [curves_said(self.curves)] if self.curves else []
        said += [likeness_said(self.likeness)] if self.likeness is not None else []
        return "\n".join(said)

    def tables(self) -> list[Table]:
        """Return weights, UAR by layer for each corpus and protocol, and CKA."""
        tables = [weights_table(self.weights)] if self.weights else []
        tables += [curves_table(own) for own in by_task(self.curves)]
        return [*tables, likeness_table(self.likeness)] if self.likeness is not None else tables

    def check(self) -> None:
        """Refuse columns of different lengths, and values that cannot be weights or UARs."""
        if not self.weights and not self.curves and self.likeness is None:
            raise ValueError("it holds nothing")
        for row in self.weights:
            columns = [row.mean, row.std, *row.corpora.values()]
            if len({len(column) for column in columns}) != 1 or not row.mean or min(map(min, columns)) < 0:
                raise ValueError("weights are not of one length, or negative")
            if not 0 <= row.first_layer <= LAST or not row.corpora:
                raise ValueError("weights are of no layer, or of no corpus")
        for curve in self.curves:
            if not len(curve.mean) == len(curve.std) == len(curve.chosen) > 1 or curve.classes < 2:
                raise ValueError("UARs are not of one length")
            if min(curve.mean) < 0 or max(curve.mean) > 1 or min(curve.std) < 0 or min(curve.chosen) < 0:
                raise ValueError("a UAR is not in [0, 1], or a count is negative")
        if self.likeness is not None:
            widths = {len(row) for row in self.likeness.cka}
            if len(self.likeness.encoders) != 2 or len(widths) != 1 or 0 in widths:
                raise ValueError("CKA is not of two encoders, or its rows are not of one length")


def _scored(settings: LayersSettings) -> list[ScoredFolds]:
    every: list[ScoredFolds] = [*read_measurements(settings.scores), *read_text_measurements(settings.scores)]
    kept = [one for one in every if (settings.protocol or "") in one.scores[0].protocol]
    if not kept:
        names = "; ".join(dict.fromkeys(one.scores[0].protocol for one in every))
        raise UserError(f"--protocol {settings.protocol}: no scores are under it; there are: {names}")
    return kept


def _likeness(settings: LayersSettings) -> Likeness:
    """Embed clips with two encoders, and compare their layers."""
    # Code that reads encoders is imported only where it is needed, because a report does not need it.
    from nonverbal.evaluation.analyses.cka import FEWEST, cka_map
    from nonverbal.evaluation.analyses.held_out import layers_of, paired_spaces, why_held_out

    assert settings.data is not None, "checked by make"
    if len(settings.encoders) != 2:
        raise UserError(f"--encoders must name two, but names {len(settings.encoders)}")
    shards = open_shards(settings.data)
    names = [str(name) for name in settings.encoders]
    folds = paired_spaces(names, shards, settings.corpora, settings.seed, settings.fold)
    folds = [spaces for spaces in folds if len(spaces[0].rows) >= FEWEST] or folds
    keys: list[list[str]] = [[], []]
    maps = []
    for spaces in folds:
        layers = []
        for own, space in zip(keys, spaces, strict=True):
            key, means = layers_of(space, shards, settings.seed, settings.embeddings)
            own.append(key)
            layers.append(list(means.transpose(1, 0, 2)))
        maps.append(cka_map(layers[0], layers[1]))
    rows = [row for spaces in folds for row in spaces[0].rows.tolist()]
    corpus = "+".join(dict.fromkeys(shards.clips()[row].corpus for row in rows))
    mean = np.average(maps, axis=0, weights=[len(spaces[0].rows) for spaces in folds])
    values = [[None if np.isnan(value) else float(value) for value in row] for row in mean]
    return Likeness(names, corpus, keys, why_held_out(folds), shards.sha256, len(rows), values)
