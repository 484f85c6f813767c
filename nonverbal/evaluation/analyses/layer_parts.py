"""Parts of the analysis of layers: weights and UAR by layer from scores, and CKA, each as a table and in words.

Layer 0 is the input of the first block. Shapes: L layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from nonverbal.evaluation.layer_weights import first_layer, layer_weights
from nonverbal.evaluation.tables import Table, short, short_or
from nonverbal.grouping import grouped
from nonverbal.tasks.measurements import ScoredFolds

MOST_TOLD = 6
"""Number of rows that are described in words; the tables have all."""

INNER = "inside the training sides, where layers are chosen by it"


@dataclass(frozen=True)
class Weights:
    """The weights of layers that one model's heads learned."""

    model: str
    head: str
    first_layer: int
    """Layer of the first weight."""
    mean: list[float]
    """``(L,)``: mean over corpora, with equal weights, of means over folds."""
    std: list[float]
    """``(L,)``: population standard deviation over the folds of all corpora."""
    corpora: dict[str, list[float]]
    """For each corpus, the means over folds."""
    folds: int

    @property
    def name(self) -> str:
        """The model and its head."""
        return f"{self.model}, {self.head}"

    @property
    def last_layer(self) -> int:
        """Layer of the last weight."""
        return self.first_layer + len(self.mean) - 1

    def of(self, layer: int) -> float | None:
        """Return the mean weight of a layer; None if it has none."""
        return self.mean[layer - self.first_layer] if self.first_layer <= layer <= self.last_layer else None


@dataclass(frozen=True)
class Curve:
    """UAR by layer on the training sides, for a model on a corpus under a protocol."""

    corpus: str
    protocol: str
    classes: int
    model: str
    head: str
    mean: list[float]
    """``(L,)``: mean over folds, from layer 0."""
    std: list[float]
    """``(L,)``: population standard deviation over folds."""
    chosen: list[int]
    """``(L,)``: number of folds that chose the layer."""

    @property
    def name(self) -> str:
        """The model and its head."""
        return f"{self.model}, {self.head}"


@dataclass(frozen=True)
class Likeness:
    """The CKA of each layer of one encoder with each of another."""

    encoders: list[str]
    """The two encoders."""
    corpus: str
    keys: list[list[str]]
    """For each encoder, the keys of the weights of its folds."""
    held_out: str
    """Why the clips are held out."""
    data_sha256: str
    """Hash of the shards' index."""
    clips: int
    """Number of clips of all folds."""
    cka: list[list[float | None]]
    """``(L, L)``: layers of the first by layers of the second, debiased, mean over folds; None if a layer gives all
    clips of a fold the same vector."""


def weights_of(measured: Sequence[ScoredFolds]) -> list[Weights]:
    """Return the weights of each model and head that learned some, averaged over corpora with equal weights."""
    found: dict[tuple[str, str, int, int], dict[str, list[np.ndarray]]] = {}
    for one in measured:
        weights = layer_weights(one.scores)
        if weights is not None:
            key = (*one.row, first_layer(one.scores), weights.shape[1])
            found.setdefault(key, {}).setdefault(one.scores[0].corpus, []).append(weights)
    rows = []
    for (model, head, first, _), corpora in found.items():
        joined = {corpus: np.concatenate(own) for corpus, own in corpora.items()}
        every = np.concatenate(list(joined.values()))
        means = {corpus: own.mean(0).tolist() for corpus, own in joined.items()}
        mean = np.mean(list(means.values()), axis=0).tolist()
        rows.append(Weights(model, head, first, mean, every.std(0).tolist(), means, len(every)))
    return rows


def curves_of(measured: Sequence[ScoredFolds]) -> list[Curve]:
    """Return UAR by layer of each model whose head chose a layer, over all seeds."""
    curves = []
    for own in grouped(measured, lambda one: (one.table, one.row)).values():
        scores = [score for one in own for score in one.scores if len(score.inner_uar) > 1 and "layer" in score.chosen]
        if scores and len({len(score.inner_uar) for score in scores}) == 1:
            inner = np.array([score.inner_uar for score in scores], dtype=np.float64)
            chosen = np.bincount([int(score.chosen["layer"]) for score in scores], minlength=inner.shape[1])
            first, spread = scores[0], inner.std(0).tolist()
            task = (first.corpus, first.protocol, len(first.classes), first.model, first.probe)
            curves.append(Curve(*task, inner.mean(0).tolist(), spread, chosen.tolist()))
    return curves


def by_task(curves: Sequence[Curve]) -> list[list[Curve]]:
    """Return groups of comparable curves: of one corpus, with the same number of classes, under one protocol."""
    return list(grouped(curves, lambda curve: (curve.corpus, curve.protocol, curve.classes)).values())


def weights_table(rows: Sequence[Weights]) -> Table:
    """Return a row per model: the layer with the largest weight, compared with the weight if all were equal."""
    columns = ["model", "head", "corpora", "folds", "layers", "largest at", "weight", "std", "equal", "mean layer"]
    cells = []
    for row in rows:
        most, layers = int(np.argmax(row.mean)), np.arange(row.first_layer, row.last_layer + 1)
        cells.append(
            [
                *(row.model, row.head, str(len(row.corpora)), str(row.folds), f"{row.first_layer} to {row.last_layer}"),
                *(str(row.first_layer + most), short(row.mean[most]), short(row.std[most]), short(1 / len(row.mean))),
                f"{float(layers @ np.array(row.mean) / sum(row.mean)):.1f}",
            ]
        )
    notes = [
        "weights: means over corpora, with equal weights, of means over folds; std: over all folds",
        "largest at: layer with the largest weight; equal: its weight if all were equal; mean layer: layers averaged "
        "by their weights; the figure has the weight of every layer",
        *_corpora_notes(rows),
    ]
    return Table("Learned layer weights", columns, cells, notes, texts=2)


def _corpora_notes(rows: Sequence[Weights]) -> list[str]:
    """Say which corpora the weights are from: for each model, if models differ."""
    named = {row.name: ", ".join(row.corpora) for row in rows}
    if len(set(named.values())) == 1:
        return [f"corpora: {next(iter(named.values()))}"]
    return [f"corpora of {name}: {corpora}" for name, corpora in named.items()]


def weights_said(rows: Sequence[Weights]) -> str:
    """Say which layer has the largest weight, and compare it with equal weights."""
    told = []
    for row in rows:
        most = int(np.argmax(row.mean))
        told.append(
            f"{row.name} gives layer {row.first_layer + most} the largest weight: {short(row.mean[most])} ± "
            f"{short(row.std[most])} over {row.folds} folds (equal weights: {short(1 / len(row.mean))})"
        )
    return f"{_first_of(told)}. A weight is a layer’s share of a sum, and does not show what the layer encodes."


def curves_table(curves: Sequence[Curve]) -> Table:
    """Return a row per model of one task: its best layer, beside the first and the last."""
    columns = ["model", "folds", "layer 0", "best layer", "UAR", "std", "last layer", "UAR of the last", "chosen most"]
    cells = []
    for curve in curves:
        best, last = int(np.argmax(curve.mean)), len(curve.mean) - 1
        cells.append(
            [
                *(curve.name, str(sum(curve.chosen)), short(curve.mean[0])),
                *(str(best), short(curve.mean[best]), short(curve.std[best])),
                *(str(last), short(curve.mean[last]), str(int(np.argmax(curve.chosen)))),
            ]
        )
    first = curves[0]
    title = f"UAR by layer: {first.corpus}, {first.classes} classes, {first.protocol}"
    return Table(title, columns, cells, [f"{INNER}; chance {short(1 / first.classes)}"])


def curves_said(curves: Sequence[Curve]) -> str:
    """Say which layer is best."""
    told = []
    for curve in curves:
        best = int(np.argmax(curve.mean))
        told.append(
            f"{curve.name} on {curve.corpus}: layer {best}, {short(curve.mean[best])} ± {short(curve.std[best])} over "
            f"{sum(curve.chosen)} folds (chance {short(1 / curve.classes)})"
        )
    return f"Highest UAR, {INNER}: {_first_of(told)}. Test folds are in the tables of scores."


def likeness_table(likeness: Likeness) -> Table:
    """Return the CKA of each layer of the first encoder with the same and with the most similar layer of the second."""
    first, second = likeness.encoders
    rows = []
    for layer, row in enumerate(likeness.cka):
        known = {place: value for place, value in enumerate(row) if value is not None}
        best = max(known, key=lambda place: known[place], default=None)
        nearest = ["", ""] if best is None else [str(best), short(known[best])]
        rows.append([str(layer), short_or(known.get(layer)), *nearest])
    columns = [f"layer of {first}", "same layer", f"most similar in {second}", "CKA"]
    notes = [
        f"debiased linear CKA, 0: unrelated; {likeness.clips} clips of {likeness.corpus}, means over frames",
        likeness.held_out,
    ]
    return Table("CKA between layers", columns, rows, notes)


def likeness_said(likeness: Likeness) -> str:
    """Say how similar layers of the same number are."""
    same = [
        (layer, value)
        for layer, row in enumerate(likeness.cka)
        if layer < len(row) and (value := row[layer]) is not None
    ]
    told = "Layers of the same number have no CKA"
    if same:
        least, most = min(same, key=lambda one: one[1]), max(same, key=lambda one: one[1])
        told = (
            f"Layers of the same number have a CKA from {short(least[1])} (layer {least[0]}) to {short(most[1])} "
            f"(layer {most[0]})"
        )
    return (
        f"{told}, debiased, on {likeness.clips} clips of {likeness.corpus}; unrelated layers have about 0. CKA shows "
        "how similarly two spaces arrange the clips, not what the spaces encode."
    )


def _first_of(told: Sequence[str]) -> str:
    rest = [f"{len(told) - MOST_TOLD} more in the tables"] if len(told) > MOST_TOLD else []
    return "; ".join([*told[:MOST_TOLD], *rest])
