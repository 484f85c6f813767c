"""The cells of papers' tables in ``published.csv``, by their rows and columns."""

from dataclasses import dataclass, field

from nonverbal.evaluation.published import METRICS, published_rows
from nonverbal.evaluation.tables import short

COUNTS = ("clips", "classes", "emotions", "hours", "mean_seconds")
"""Metrics of corpora; all others are shares."""


@dataclass(frozen=True)
class Value:
    """A number in a table."""

    value: float
    std: float | None = None
    """Standard deviation over folds, or over corpora."""

    def text(self, metric: str) -> str:
        """Return it as shown in tables."""
        if metric in ("hours", "mean_seconds"):
            return f"{self.value:.2f}"
        if metric in COUNTS:
            return f"{self.value:.0f}"
        return short(self.value) if self.std is None else f"{short(self.value)}±{short(self.std)}"


Key = tuple[str, str, str]
"""Model, corpus and head, in the spelling of ``spelled``; empty if a table does not have it."""


@dataclass(frozen=True)
class PrintedTable:
    """What a paper printed in one place, such as a table."""

    models: list[str]
    """As printed, in order, each once."""
    corpora: list[str]
    heads: list[str]
    metrics: list[str]
    cells: dict[tuple[Key, str], Value]
    """By key and metric; shares are in [0, 1]."""
    spellings: dict[str, str] = field(default_factory=dict)
    """From the uniform spelling of a model to how it is printed."""

    def spelling(self, name: str) -> str:
        """Return a model's name as it is printed; unchanged if the paper does not have it."""
        return self.spellings.get(spelled(name), name)

    def head_of(self, model: str, corpus: str) -> str:
        """Return the head of a model's cell in a table with one head per model; empty if the table has no heads."""
        wanted = spelled(model), spelled(corpus)
        return next((head for (one, other, head), _ in self.cells if (one, other) == wanted), "")

    def value(self, model: str, corpus: str, head: str, metric: str) -> Value | None:
        """Return a cell; if the paper names no heads there, the cell is that of any head."""
        names = spelled(model), spelled(corpus)
        return self.cells.get(((*names, head), metric)) or self.cells.get(((*names, ""), metric))


def spelled(name: str) -> str:
    """Return a name in a uniform spelling, which ignores case, blanks, and the order of a pair."""
    return "+".join(sorted("".join(name.lower().split()).split("+")))


def printed_table(paper: str | None, place: str, heads: dict[str, str]) -> PrintedTable:
    """Return what a paper printed in a place; without cells if there is nothing.

    Args:
        paper: its name in ``published.csv``.
        place: such as ``Table I``.
        heads: names of heads, by the names with which notes of cells begin.
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
    """Return the name in results of a table's metric: F1 is the one over true and predicted classes."""
    name = METRICS.get(metric, metric)
    return "f1_seen" if name == "f1" else name
