"""Tables of scores, with intervals and comparisons: ``nonverbal scores PATHS``.

By path: ``python evaluate/scores.py PATHS``. PATHS are score files, or folders that hold some; the predictions beside
them are read too. There are tables for each task and protocol.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

from nonverbal import cli
from nonverbal.config import load, with_paths
from nonverbal.evaluation import score_tables
from nonverbal.evaluation.published import published_table
from nonverbal.evaluation.results import check_against, comparisons, rankings, results
from nonverbal.evaluation.score_rows import as_dict, csv_rows
from nonverbal.evaluation.tables import Table, latex, show
from nonverbal.evaluation.text_results import text_results, text_rows, text_table
from nonverbal.files import write_atomically
from nonverbal.paths import check_folder_of
from nonverbal.tasks.measurements import read_measurements, read_text_measurements


@dataclass
class ScoresConfig:
    """Which scores are shown, and how."""

    paths: list[Path]
    """Files of scores, or folders, which stand for every scores.jsonl in them. They may come first, without
    `--paths`."""
    classes: bool = False
    """Show the recall of each class, with its interval."""
    bootstrap: bool = False
    """Use the percentile bootstrap for the intervals of models instead of the jackknife, which contains the true value
    more often."""
    against: str | None = None
    """Model with which all others are compared. Unset: all pairs, which makes it harder for each comparison to be
    significant."""
    published: bool = False
    """Show the numbers that papers printed for the same model, corpus, number of classes and protocol, in columns of
    their own."""
    latex: Path | None = None
    """File for the tables in LaTeX."""
    csv: Path | None = None
    """File with one row per model, task and protocol, without rounding."""
    json: Path | None = None
    """File for all results, including comparisons and recalls, without rounding."""


def main(argv: list[str]) -> None:
    """Read, show, and write."""
    settings = load(ScoresConfig, with_paths(argv), prog="nonverbal scores", description=__doc__)
    for name in ("latex", "csv", "json"):
        check_folder_of(getattr(settings, name), name)
    tasks = results(read_measurements(settings.paths), settings.bootstrap)
    texts = text_results(read_text_measurements(settings.paths))
    check_against(settings.against, tasks)
    families = [comparisons(task, settings.against) for task in tasks]
    tables: list[Table] = []
    for task, family in zip(tasks, families, strict=True):
        tables.append(score_tables.scores_table(task, settings.bootstrap))
        tables += [score_tables.classes_table(task, settings.bootstrap)] if settings.classes else []
        tables += [table] if (table := score_tables.probabilities_table(task)) else []
        tables += [table] if settings.published and (table := published_table(task)) else []
        tables += [score_tables.comparisons_table(task, family)] if family else []
    tables += map(text_table, texts)
    ranked = rankings(tasks)
    tables += map(score_tables.ranking_table, ranked)
    show(tables)
    if settings.latex is not None:
        write(settings.latex, latex(tables))
    if settings.csv is not None:
        text = io.StringIO()
        rows = csv_rows(tasks, text_rows(texts))
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write(settings.csv, text.getvalue())
    if settings.json is not None:
        everything = as_dict(tasks, families, ranked, settings.bootstrap) | {"texts": text_rows(texts)}
        write(settings.json, json.dumps(everything, indent=1, ensure_ascii=False) + "\n")


def write(path: Path, text: str) -> None:
    """Write a file, and print its path."""
    write_atomically(path, text)
    print(f"wrote {path}")


if __name__ == "__main__":
    cli.run(main)
