"""A table in a paper's format: which of our numbers and of the printed ones are in which row and column.

Each group of steps has its own columns, and so has each protocol if a group has several in one column; the printed
numbers follow them. A missing number is ``-``; if several belong in one cell, such as those of two layers, all are
shown.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from nonverbal.evaluation.printed_cells import PrintedTable, Value, own_metric, spelled
from nonverbal.evaluation.study_cells import OwnCell

NONE = "-"

BETWEEN = " / "
"""Separator of the numbers in a cell with several."""

At = dict[str, str]
"""Where a number belongs: model, corpus, head, as far as a row and a column define them."""


@dataclass(frozen=True)
class Column:
    """A column of numbers."""

    at: At
    metric: str
    group: str | None
    """The group of steps; None for printed numbers."""
    protocol: str | None
    """The protocol, if the group has several in this column; None if it has only one."""

    def header(self, with_metric: bool) -> str:
        """Return its header."""
        group = "printed" if self.group is None else self.group
        said = f"{group} ({self.protocol})" if self.protocol else group
        return ", ".join([*self.at.values(), *([self.metric] if with_metric else []), said])


@dataclass(frozen=True)
class Grid:
    """The content of a table."""

    rows: list[str]
    """What a row stands for: some of model, corpus, head."""
    columns: list[str]
    cells: dict[str, list[OwnCell]]
    """Our cells, by group of steps."""
    printed: PrintedTable
    models: list[str]
    """Names of models in rows or columns, in order."""
    corpora: list[str]
    heads: list[str]
    """Names of heads in the table, in order; if empty, all heads that exist are shown."""
    printed_names: dict[str, str]
    """From a model's name here to its name in the paper."""

    def found(self, at: At, group: str) -> list[OwnCell]:
        """Return our cells of a group that belong in a place."""
        return [cell for cell in self.cells[group] if self._fits(cell, at)]

    def _fits(self, cell: OwnCell, at: At) -> bool:
        if at.get("model", cell.label) != cell.label or at.get("corpus", cell.corpus) != cell.corpus:
            return False
        said = at.get("head") or self.printed.head_of(cell.printed, cell.corpus)
        return said in ("", cell.head) and (not self.heads or cell.head in self.heads)

    def printed_value(self, at: At, metric: str) -> Value | None:
        """Return what the paper printed in a place."""
        model = at.get("model", "")
        corpus = at.get("corpus", self.corpora[0] if len(self.corpora) == 1 else "")
        head = at.get("head", "")
        model = self.printed_names.get(model, model)
        return self.printed.value(model, corpus, head or self.printed.head_of(model, corpus), metric)

    def row_keys(self) -> list[At]:
        """Return the rows; if heads are not given, those that a model has, or one row without a head."""
        return [at for at in self._keys(self.rows) if self._shows(at)]

    def _keys(self, kinds: Sequence[str]) -> Iterator[At]:
        names = {"model": self.models, "corpus": self.corpora, "head": self.heads or self._own_heads()}
        for values in product(*(names[kind] for kind in kinds)):
            yield dict(zip(kinds, values, strict=True))

    def _own_heads(self) -> list[str]:
        return [*dict.fromkeys(cell.head for cells in self.cells.values() for cell in cells), NONE]

    def _shows(self, at: At) -> bool:
        """Whether to show a row: it has a number or, with free heads, it is the only row of a model without any."""
        if self.heads or "head" not in at:
            return True
        if at["head"] != NONE:
            return any(self.found(at, group) for group in self.cells)
        without = {kind: name for kind, name in at.items() if kind != "head"}
        return not any(self.found(without, group) for group in self.cells)

    def column_keys(self, metrics: Iterable[str]) -> list[Column]:
        """Return the columns of some metrics, with printed ones after ours of the same place."""
        found: list[Column] = []
        for at, metric in product(self._keys(self.columns), metrics):
            for group in self.cells:
                protocols = list(dict.fromkeys(cell.protocol for cell in self.found(at, group)))
                names: list[str | None] = [*protocols] if len(protocols) > 1 else [None]
                found += [Column(at, metric, group, name) for name in names]
            printed = Column(at, metric, None, None)
            found += [printed] if any(self.text(row, printed) != NONE for row in self.row_keys()) else []
        return found

    def text(self, row: At, column: Column) -> str:
        """Return the text of a cell: all numbers that were measured for it, in the order of the steps."""
        if column.group is None:
            printed = self.printed_value(row | column.at, column.metric)
            values = [] if printed is None else [printed]
        else:
            values = [cell.values[own_metric(column.metric)] for cell in self.measured(row, column)]
        return BETWEEN.join(value.text(column.metric) for value in values) or NONE

    def measured(self, row: At, column: Column) -> list[OwnCell]:
        """Return our cells for a row and a column that have the column's metric."""
        if column.group is None:
            return []
        own = [cell for cell in self.found(row | column.at, column.group) if column.protocol in (None, cell.protocol)]
        return [cell for cell in own if own_metric(column.metric) in cell.values]

    def several(self, metrics: Iterable[str]) -> dict[str, list[str]]:
        """Return, for each place that has several numbers of one metric, the steps, by model and corpus."""
        found: dict[str, list[str]] = {}
        for row, column in product(self.row_keys(), self.column_keys(metrics)):
            own = self.measured(row, column)
            if len(own) > 1:
                found[place_of(own[0])] = list(dict.fromkeys(cell.step for cell in own))
        return found


def place_of(cell: OwnCell) -> str:
    """Return the name of a cell's place in notes."""
    return f"{cell.label} ({cell.corpus})"


def ambiguous(grid: Grid) -> bool:
    """Whether several heads of one model would share a cell, so that rows have to distinguish them."""
    if "head" in (*grid.rows, *grid.columns):
        return False
    seen: dict[tuple[str, ...], set[str]] = {}
    for group, cells in grid.cells.items():
        for cell in cells:
            if grid._fits(cell, {}):
                seen.setdefault((group, cell.label, cell.corpus, cell.protocol), set()).add(cell.head)
    return any(len(heads) > 1 for heads in seen.values())


@dataclass(frozen=True)
class Means:
    """Means over corpora."""

    cells: list[OwnCell]
    over: list[str]
    """The corpora."""
    several: dict[str, list[str]]
    """Steps by place, if a model has several numbers on one corpus, and therefore no mean."""


def means(cells: Sequence[OwnCell], name: str, corpora: Sequence[str]) -> Means:
    """Return means over corpora that were divided by the same protocol.

    Args:
        cells: cells of one group of steps.
        name: name of the mean in the paper.
        corpora: all corpora of the paper's mean.

    A model that lacks one of them, or has several numbers on one, has no mean. If corpora have several protocols, the
    most frequent one is used. The standard deviation is that of the population, over corpora.
    """
    protocols = [cell.protocol for cell in {cell.corpus: cell for cell in cells}.values()]
    if not protocols:
        return Means([], [], {})
    protocol = max(dict.fromkeys(protocols), key=protocols.count)
    own = [cell for cell in cells if cell.protocol == protocol and cell.corpus in corpora]
    over = [corpus for corpus in corpora if any(cell.corpus == corpus for cell in own)]
    rows: dict[tuple[str, str], dict[str, list[OwnCell]]] = {}
    for cell in own:
        rows.setdefault((cell.label, cell.head), {}).setdefault(cell.corpus, []).append(cell)
    places = [place for row in rows.values() for place in row.values() if len(place) > 1]
    several = {place_of(place[0]): [cell.step for cell in place] for place in places}
    whole = [list(row.values()) for row in rows.values() if len(row) == len(over)]
    single = [[place[0] for place in row] for row in whole if all(len(place) == 1 for place in row)]
    return Means([_mean(row, name) for row in single], over, several)


def _mean(cells: Sequence[OwnCell], name: str) -> OwnCell:
    shared = set.intersection(*(set(cell.values) for cell in cells))
    values = {metric: np.array([cell.values[metric].value for cell in cells]) for metric in sorted(shared)}
    return replace(
        cells[0],
        corpus=name,
        classes=0,
        values={metric: Value(float(own.mean()), float(own.std())) for metric, own in values.items()},
    )


def in_order(printed: Sequence[str], own: Iterable[tuple[str, str]]) -> list[str]:
    """Return the names of rows: for each printed name, ours or else the printed one; all of ours if none is printed.

    Args:
        printed: names in the paper, in its order.
        own: pairs of our name and the paper's name.
    """
    pairs = list(dict.fromkeys(own))
    if not printed:
        return list(dict.fromkeys(label for label, _ in pairs))
    rows = []
    for name in printed:
        labels = [label for label, other in pairs if spelled(other) == spelled(name)]
        rows += labels or [name]
    return list(dict.fromkeys(rows))
