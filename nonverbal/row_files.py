"""Files of rows, CSV or JSON Lines, that are written row by row, and exist only when they are complete."""

import contextlib
import csv
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import whole

ENDINGS = (".csv", ".jsonl")

FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""First characters of cells that spreadsheets would evaluate as formulas."""

Row = Mapping[str, Any]
"""Names with strings, numbers, None, or nested mappings as values."""


def check_ending(path: Path, name: str) -> None:
    """Refuse a file of another kind, by its ending.

    Args:
        path: to be written.
        name: of the setting, for the error.

    Raises:
        UserError: it is neither CSV nor JSON Lines, or it is a folder.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UserError(f"{name} must end in .csv or .jsonl (JSON Lines), but is {path}")
    if path.is_dir():
        raise UserError(f"{name} is a file, but {path} is a folder; give it another name")


@contextlib.contextmanager
def row_file(path: Path, columns: Sequence[str]) -> Iterator[Callable[[Row], None]]:
    """Yield a function that writes a row. The file appears when the block ends without an error.

    JSON Lines contain rows unchanged. In CSV, each value of a nested mapping has a column of its own, with both names
    joined by a dot; None is empty; and a string that a spreadsheet would evaluate gets an apostrophe in front, which
    marks it as text.

    Args:
        path: ends in .csv or .jsonl.
        columns: of a CSV file, in order: all names that occur in any row.
    """
    with whole(path) as new, open(new, "w", encoding="utf-8", newline="") as file:
        if path.suffix.lower() == ".jsonl":
            yield lambda row: _write_line(file.write, row)
            return
        writer = csv.DictWriter(file, columns, restval="", lineterminator="\n")
        writer.writerow({name: _as_text(name) for name in columns})
        yield lambda row: _write_cells(writer, row)


def _write_line(write: Callable[[str], int], row: Row) -> None:
    write(json.dumps(row, ensure_ascii=False) + "\n")


def _write_cells(writer: "csv.DictWriter[str]", row: Row) -> None:
    writer.writerow({name: _as_text(value) for name, value in _flat(row).items()})


def _flat(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in row.items():
        inner = {f"{name}.{key}": own for key, own in _flat(value).items()} if isinstance(value, Mapping) else None
        found |= {name: value} if inner is None else inner
    return found


def _as_text(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value
