"""A table in a paper's shape: what stands in its rows and columns, ours and what is printed.

Each group of steps has columns of its own, and each protocol too where a group has several in one column; what the
paper printed stands behind them. A number that is not there is ``-``; several that belong in one cell, such as those of
two layers, all stand there.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from nonverbal.evaluation.printed_cells import PrintedTable, Value, own_metric, spelled
from nonverbal.evaluation.study_cells import OwnCell

NONE = "-"

BETWEEN = " / "
"""What stands between the numbers of a cell that has several."""

At = dict[str, str]
"""Where a number stands: model, corpus, head, as far as a row and a column say."""


@dataclass(frozen=True)
class Column:
    """A column of numbers."""

    at: At
    metric: str
    group: str | None
    """Of steps; None: what the paper printed."""
    protocol: str | None
    """Where the group has several here; None: of its only one."""

    def header(self, with_metric: bool) -> str:
        """Return what stands above it."""
        group = "printed" if self.group is None else self.group
        said = f"{group} ({self.protocol})" if self.protocol else group
        return ", ".join([*self.at.values(), *([self.metric] if with_metric else []), said])


@dataclass(frozen=True)
class Grid:
    """What a table has to show."""

    rows: list[str]
    """What a row is: some of model, corpus, head."""
    columns: list[str]
    cells: dict[str, list[OwnCell]]
    """Ours, by group of steps."""
    printed: PrintedTable
    models: list[str]
    """What rows or columns of models are called, in their order."""
    corpora: list[str]
    heads: list[str]
    """In their order, as the table names them; empty where those that there are count."""
    printed_names: dict[str, str]
    """Of models, to how the paper calls them."""

    def found(self, at: At, group: str) -> list[OwnCell]:
        """Return our cells of a group that stand somewhere."""
        return [cell for cell in self.cells[group] if self._fits(cell, at)]

    def _fits(self, cell: OwnCell, at: At) -> bool:
        if at.get("model", cell.label) != cell.label or at.get("corpus", cell.corpus) != cell.corpus:
            return False
        said = at.get("head") or self.printed.head_of(cell.printed, cell.corpus)
        return said in ("", cell.head) and (not self.heads or cell.head in self.heads)

    def printed_value(self, at: At, metric: str) -> Value | None:
        """Return what the paper printed somewhere."""
        model = at.get("model", "")
        corpus = at.get("corpus", self.corpora[0] if len(self.corpora) == 1 else "")
        head = at.get("head", "")
        model = self.printed_names.get(model, model)
        return self.printed.value(model, corpus, head or self.printed.head_of(model, corpus), metric)

    def row_keys(self) -> list[At]:
        """Return what the rows are; of free heads those that a model has, or one row without any."""
        return [at for at in self._keys(self.rows) if self._shows(at)]

    def _keys(self, kinds: Sequence[str]) -> Iterator[At]:
        names = {"model": self.models, "corpus": self.corpora, "head": self.heads or self._own_heads()}
        for values in product(*(names[kind] for kind in kinds)):
            yield dict(zip(kinds, values, strict=True))

    def _own_heads(self) -> list[str]:
        return [*dict.fromkeys(cell.head for cells in self.cells.values() for cell in cells), NONE]

    def _shows(self, at: At) -> bool:
        """Whether a row has a number, or stands for a model that has none; with free heads, once."""
        if self.heads or "head" not in at:
            return True
        if at["head"] != NONE:
            return any(self.found(at, group) for group in self.cells)
        without = {kind: name for kind, name in at.items() if kind != "head"}
        return not any(self.found(without, group) for group in self.cells)

    def column_keys(self, metrics: Iterable[str]) -> list[Column]:
        """Return the columns of some metrics, printed ones behind ours of the same place."""
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
        """Return what stands in a row and a column: all that is measured there, in the order of the steps."""
        if column.group is None:
            printed = self.printed_value(row | column.at, column.metric)
            values = [] if printed is None else [printed]
        else:
            values = [cell.values[own_metric(column.metric)] for cell in self.measured(row, column)]
        return BETWEEN.join(value.text(column.metric) for value in values) or NONE

    def measured(self, row: At, column: Column) -> list[OwnCell]:
        """Return our cells of a row and a column that have its metric."""
        if column.group is None:
            return []
        own = [cell for cell in self.found(row | column.at, column.group) if column.protocol in (None, cell.protocol)]
        return [cell for cell in own if own_metric(column.metric) in cell.values]

    def several(self, metrics: Iterable[str]) -> dict[str, list[str]]:
        """Return the steps of each place that has several numbers of one metric, by model and corpus."""
        found: dict[str, list[str]] = {}
        for row, column in product(self.row_keys(), self.column_keys(metrics)):
            own = self.measured(row, column)
            if len(own) > 1:
                found[place_of(own[0])] = list(dict.fromkeys(cell.step for cell in own))
        return found


def place_of(cell: OwnCell) -> str:
    """Return what notes call the place of a cell."""
    return f"{cell.label} ({cell.corpus})"


def ambiguous(grid: Grid) -> bool:
    """Whether several heads of one model would stand in one cell, so that rows have to tell them apart."""
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
    """Steps by place, where a model has several numbers on one corpus, and so no mean."""


def means(cells: Sequence[OwnCell], name: str, corpora: Sequence[str]) -> Means:
    """Return means over corpora, of those that were divided by one protocol.

    Args:
        cells: of one group of steps.
        name: of the mean, as the paper has it.
        corpora: all that the paper's mean is over.

    A model that lacks one of them, or has several numbers on one, has no mean. Where corpora have several protocols,
    the one that most have counts. The deviation is the population's, over corpora.
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
    """Return what rows are called: for each that is printed ours of that name, or itself; all ours where none is.

    Args:
        printed: by the paper, in its order.
        own: what is called so here, and what the paper calls it.
    """
    pairs = list(dict.fromkeys(own))
    if not printed:
        return list(dict.fromkeys(label for label, _ in pairs))
    rows = []
    for name in printed:
        labels = [label for label, other in pairs if spelled(other) == spelled(name)]
        rows += labels or [name]
    return list(dict.fromkeys(rows))
