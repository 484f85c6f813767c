"""Sections of a page for pretraining runs: curves, data, cost, launches."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from nonverbal.curves import Panel, read_panels
from nonverbal.evaluation.plots import every_metric, is_number, read_metrics
from nonverbal.evaluation.tables import Table
from nonverbal.files import sha256_of
from nonverbal.report.drawing import Drawing
from nonverbal.report.origins import Launch, read_file, read_launches
from nonverbal.report.run_charts import run_chart
from nonverbal.text import slug

LEDGER = "ledger.json"


@dataclass(frozen=True)
class RunSection:
    """A pretraining run."""

    anchor: str
    heading: str
    folder: str
    facts: list[tuple[str, str]]
    drawings: list[Drawing]
    ledgers: list[Table]
    missing: list[str]
    """Sentences about ledgers of the data that could not be read."""
    files: list[tuple[str, str]]
    """Paths with their SHA-256."""
    launches: list[Launch]
    recipe: str
    """The resolved recipe."""


def is_run(folder: Path) -> bool:
    """Whether a folder holds a pretraining run: it has metrics and a recipe that names a family."""
    recipe = folder / "recipe.yaml"
    return (folder / "metrics.jsonl").is_file() and recipe.is_file() and "family" in read_file(recipe, dict)


def run_section(number: int, folder: Path) -> RunSection:
    """Read a run folder.

    Raises:
        UserError: a file in it is damaged, or it has no metrics of training yet.
    """
    rows = read_metrics(folder / "metrics.jsonl")
    recipe = read_file(folder / "recipe.yaml", dict)
    data = read_file(folder / "data.json", dict) if (folder / "data.json").is_file() else {}
    anchor = slug(f"run-{number}-{folder.name}")
    panels = read_panels(folder) or every_metric(rows)
    charts = [run_chart(f"{anchor}-{slug(panel.metric)}", rows, panel) for panel in _present(panels, rows)]
    ledgers, missing = _ledgers(data, folder)
    kept = [folder / name for name in ("recipe.yaml", "metrics.jsonl", "data.json") if (folder / name).is_file()]
    return RunSection(
        anchor,
        folder.name,
        str(folder),
        _facts(rows, recipe, data),
        [chart for chart in charts if chart is not None],
        ledgers,
        missing,
        [(str(path), sha256_of(path)) for path in kept],
        read_launches(folder),
        (folder / "recipe.yaml").read_text(encoding="utf-8"),
    )


def _present(panels: Sequence[Panel], rows: Sequence[dict[str, Any]]) -> list[Panel]:
    return [panel for panel in panels if any(is_number(row.get(panel.metric)) for row in rows)]


def _facts(rows: Sequence[dict[str, Any]], recipe: dict[str, Any], data: dict[str, Any]) -> list[tuple[str, str]]:
    train = [row for row in rows if row.get("kind") == "train"]
    speeds, waits = (
        [row[name] for row in train if is_number(row.get(name)) and row[name] == row[name]]
        for name in ("audio_per_second", "waiting")
    )
    steps = max(row["step"] for row in train)
    facts = [("family", str(recipe.get("family", "not stated"))), ("steps measured", f"{steps:g}")]
    facts += [("seed", str(recipe["seed"]))] if "seed" in recipe else []
    heard = _seconds_a_step(recipe)
    if heard is not None:
        facts.append(("audio in training", f"{_hours(steps * heard)}, counted as full batches of {heard:g} s"))
    if speeds:
        facts.append(("speed", f"{median(speeds):.3g} s of audio per second (median of the rows)"))
    if heard is not None and speeds and median(speeds) > 0:
        facts.append(("time in training", f"about {_hours(steps * heard / median(speeds))}, from the two values above"))
    if waits:
        facts.append(("waiting for data", f"{median(waits):.1%} of the time (median)"))
    return facts + [(f"data: {path}", f"sha256 {sha256}") for path, sha256 in data.items()]


def _seconds_a_step(recipe: dict[str, Any]) -> float | None:
    batches = recipe.get("batches")
    found = [batches.get(name) for name in ("batch_seconds", "batches_per_step")] if isinstance(batches, dict) else []
    numbers = [float(value) for value in found if value is not None and is_number(value)]
    return math.prod(numbers) if len(numbers) == 2 else None


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.3g} h" if seconds >= 3600 else f"{seconds / 60:.3g} min"


def _ledgers(data: dict[str, Any], folder: Path) -> tuple[list[Table], list[str]]:
    """Return the ledgers of the run's data, and sentences about those that could not be read.

    Paths of the data are relative to the folder where the run was started: the current one, or one above the run's.
    """
    tables, missing = [], []
    for name, sha256 in data.items():
        places = [place / name for place in (Path(), *folder.resolve().parents)]
        found = next((place for place in places if _has_ledger(place)), None)
        if found is None:
            missing.append(f"{name}: the folder of shards does not exist, so its ledger is not shown")
        elif sha256_of(found / "index.json") != sha256:
            missing.append(f"{found}: the data have changed since the run was trained, so the ledger is not shown")
        else:
            tables.append(_ledger(name, read_file(found / LEDGER, dict)))
    return tables, missing


def _has_ledger(folder: Path) -> bool:
    return all(os.path.isfile(folder / name) for name in (LEDGER, "index.json"))


def _ledger(name: str, ledger: dict[str, Any]) -> Table:
    rows = []
    for corpus, row in ledger.items():
        if isinstance(row, dict):
            dropped = [*_counts(row.get("dropped")), *_counts(row.get("skipped"))]
            rows.append(
                [
                    str(corpus),
                    str(row.get("licence", "")),
                    *(f"{row.get(column, '-')}" for column in ("files", "clips", "kept", "train", "validation")),
                    f"{row['hours_kept']:.2f}" if is_number(row.get("hours_kept")) else "-",
                    "; ".join(dropped) or "nothing",
                ]
            )
    columns = ["corpus", "licence", "files", "clips", "kept", "train", "validation", "hours kept", "left out"]
    notes = ["files = clips + skipped, clips = kept + dropped; left out: dropped and skipped, by reason"]
    return Table(f"Ledger of {name}", columns, rows, notes, 2)


def _counts(reasons: object) -> list[str]:
    return [f"{reason} {count}" for reason, count in reasons.items()] if isinstance(reasons, dict) else []
