"""The cells of papers' tables, as ``published.csv`` has them, by what stands in their rows and columns."""

from dataclasses import dataclass, field

from nonverbal.evaluation.published import METRICS, published_rows
from nonverbal.evaluation.tables import short

COUNTS = ("clips", "classes", "emotions", "hours", "mean_seconds")
"""Metrics of corpora; all others are shares."""


@dataclass(frozen=True)
class Value:
    """A number of a table."""

    value: float
    std: float | None = None
    """Over folds, or over corpora."""

    def text(self, metric: str) -> str:
        """Return it as tables have it."""
        if metric in ("hours", "mean_seconds"):
            return f"{self.value:.2f}"
        if metric in COUNTS:
            return f"{self.value:.0f}"
        return short(self.value) if self.std is None else f"{short(self.value)}±{short(self.std)}"


Key = tuple[str, str, str]
"""Model, corpus and head, in one spelling (``spelled``); empty where a table has no such thing."""


@dataclass(frozen=True)
class PrintedTable:
    """What a paper printed in one place."""

    models: list[str]
    """In their order, as printed, each once."""
    corpora: list[str]
    heads: list[str]
    metrics: list[str]
    cells: dict[tuple[Key, str], Value]
    """By key and metric; shares are in [0, 1]."""
    spellings: dict[str, str] = field(default_factory=dict)
    """Of models in one spelling, to how they are printed."""

    def spelling(self, name: str) -> str:
        """Return a model's name as it is printed, or itself where none is printed so."""
        return self.spellings.get(spelled(name), name)

    def head_of(self, model: str, corpus: str) -> str:
        """Return the head of a model's cell in a table that has one head for each model; empty where it says none."""
        wanted = spelled(model), spelled(corpus)
        return next((head for (one, other, head), _ in self.cells if (one, other) == wanted), "")

    def value(self, model: str, corpus: str, head: str, metric: str) -> Value | None:
        """Return a cell; where the paper says no heads there, that of any head."""
        names = spelled(model), spelled(corpus)
        return self.cells.get(((*names, head), metric)) or self.cells.get(((*names, ""), metric))


def spelled(name: str) -> str:
    """Return a name in one spelling: case and blanks do not count, nor which of a pair stands first."""
    return "+".join(sorted("".join(name.lower().split()).split("+")))


def printed_table(paper: str | None, place: str, heads: dict[str, str]) -> PrintedTable:
    """Return what a paper printed in a place, without cells where there is nothing.

    Args:
        paper: as ``published.csv`` calls it.
        place: such as ``Table I``.
        heads: by the names that notes of cells begin with.
    """
    rows = [row for row in published_rows() if (row["paper"], row["place"]) == (paper, place)]
    cells: dict[tuple[Key, str], Value] = {}
    for row in rows:
        said = row["note"].split(";")[0].strip()
        head = said if said in heads else ""
        scale = 0.01 if "percent" in row["note"] else 1.0
        std = float(row["std"]) * scale if row["std"] else None
        key = spelled(row["model"]), spelled(row["data"]), head
        cells[key, row["metric"]] = Value(float(row["value"]) * scale, std)
    names = {column: list(dict.fromkeys(row[column] for row in rows if row[column])) for column in ("model", "data")}
    metrics = list(dict.fromkeys(row["metric"] for row in rows))
    present = [head for head in heads if any(head == key[2] for key, _ in cells)]
    spellings = {spelled(name): name for name in names["model"]}
    return PrintedTable(names["model"], names["data"], present, metrics, cells, spellings)


def own_metric(metric: str) -> str:
    """Return what results call a metric of a table: F1 is that over true and predicted classes."""
    name = METRICS.get(metric, metric)
    return "f1_seen" if name == "f1" else name
