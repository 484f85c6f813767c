"""Reads lists of training and test files in common formats: CSV, JSON Lines or JSON, in one file or several.

Rows are read by the names of their columns. If a row does not give its side or fold, they are read from the names of
the file and its folders: EmoBox has ``fold_1/NAME_train_fold_1.jsonl``, s3prl ``Session1/test_meta_data.json``.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.files import files_below, json_lines, read_json
from nonverbal.row_files import FORMULA
from nonverbal.text import shown

TRAIN, VALIDATION, TEST = SIDES = ("train", "validation", "test")

CALLED = {
    TRAIN: ("train", "training", "trn"),
    VALIDATION: ("validation", "valid", "val", "dev", "devel", "development"),
    TEST: ("test", "testing", "tst", "eval", "evaluation"),
}
"""Names that lists use for the sides."""

ENDINGS = (".jsonl", ".csv", ".tsv", ".json")
"""Extensions in order of preference, if a list exists in several formats."""

PATHS = ("clip", "path", "file", "wav", "filename", "file_name", "audio", "key", "id")
SIDE_COLUMNS = ("side", "split", "set", "subset", "partition")
FOLDS = ("fold", "cv")
SPEAKERS = ("speaker", "spk", "speaker_id", "actor")
RECORDINGS = ("recording", "recording_id")
SHA256 = ("sha256",)
"""Names of columns; the first that a row has is used."""

NAMED_FOLD = re.compile(r"(?:fold|session|split|cv)[ _-]?(\d+)", re.IGNORECASE)
ONLY = "1"
"""The fold of lists that do not name one."""


@dataclass(frozen=True)
class Listed:
    """A file on one side of one fold. Values that the list does not give are None."""

    path: str
    """As in the list; in lists of this toolkit, the clip's id."""
    fold: str
    side: str
    speaker: str | None
    recording: str | None
    sha256: str | None


def read_lists(path: Path) -> list[Listed]:
    """Read the lists in a file, or in all files of a folder whose names contain a side.

    If a list has folds but no sides, each fold is tested in turn, and the others are trained on.

    Raises:
        UserError: there is no list, a row cannot be read, or a row has no side; names file and row.
    """
    files = _files(path)
    found = [one for file in files for one in _of_file(file, path)]
    sides = {one.side for one in found}
    if TEST not in sides or TRAIN not in sides:
        raise UserError(
            f"{path} lists nothing to {'test' if TEST not in sides else 'train'} on; give a file with a column of "
            f"sides ({', '.join(SIDE_COLUMNS)}), or a folder of lists with train and test in their names"
        )
    return found


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise UserError(f"there is no list {path}; give a file, or a folder of lists")
    by_stem: dict[Path, Path] = {}
    for ending in reversed(ENDINGS):
        for file in files_below(path, f"*{ending}"):
            if _named_side(file):
                by_stem[file.with_suffix("")] = file
    if not by_stem:
        raise UserError(
            f"{path} has no list with train or test in its name, such as fold_1/corpus_test_fold_1.jsonl; give a file, "
            "or the folder of lists of one corpus"
        )
    return sorted(by_stem.values())


def _of_file(file: Path, root: Path) -> Iterator[Listed]:
    side = _named_side(file)
    numbers = NAMED_FOLD.findall(file.relative_to(root).as_posix() if root.is_dir() else file.name)
    rows = list(_rows(file))
    keys = {key for _, row in rows for key in row}
    if side is None and not keys & set(SIDE_COLUMNS):
        if not keys & set(FOLDS):
            raise UserError(
                f"{file} does not say which side a row is on; give it a column of sides ({', '.join(SIDE_COLUMNS)}), "
                f"or of folds ({', '.join(FOLDS)}), each of which is then tested in turn"
            )
        yield from _in_turn(file, rows)
        return
    for where, row in rows:
        own = _text(row, SIDE_COLUMNS)
        # A column called set may contain something else; then the file's name gives the side.
        on = _side(own) or side
        if on is None:
            raise UserError(f"{file}, {where}: the side is {own!r}; name it {', '.join(SIDES)}")
        fold = _text(row, FOLDS) or (numbers[-1] if numbers else ONLY)
        seed = _text(row, ("seed",))
        yield _listed(file, where, row, fold if seed is None else f"seed {seed}, {fold}", on)


def _in_turn(file: Path, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> Iterator[Listed]:
    folds = list(dict.fromkeys(_text(row, FOLDS) for _, row in rows))
    for tested in folds:
        for where, row in rows:
            if tested is None or (own := _text(row, FOLDS)) is None:
                raise UserError(f"{file}, {where}: there is no fold; give every row one")
            yield _listed(file, where, row, tested, TEST if own == tested else TRAIN)


def _listed(file: Path, where: str, row: Mapping[str, Any], fold: str, side: str) -> Listed:
    path = _text(row, PATHS)
    if path is None:
        raise UserError(f"{file}, {where}: no file is named; give it in one of {', '.join(PATHS)}")
    # EmoBox has a key beside the path; the path says more.
    path = _text(row, ("clip", "path", "wav")) or path
    return Listed(path, fold, side, _text(row, SPEAKERS), _text(row, RECORDINGS), _text(row, SHA256))


def _text(row: Mapping[str, Any], names: Iterable[str]) -> str | None:
    for name in names:
        value = row.get(name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value) != "":
            text = str(value)
            # An apostrophe precedes text that a spreadsheet would evaluate.
            return text[1:] if text.startswith("'") and text[1:].startswith(FORMULA) else text
    return None


def _named_side(file: Path) -> str | None:
    found = [side for word in re.split(r"[^A-Za-z]+", file.stem) if (side := _side(word))]
    return found[0] if found else None


def _side(name: str | None) -> str | None:
    return next((side for side, names in CALLED.items() if name and name.strip().lower() in names), None)


def _rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the place of each row, and the row, with names in lower case."""
    try:
        for where, row in _READ[file.suffix.lower()](file):
            if not isinstance(row, dict):
                raise UserError(f"{file}, {where}: is not a row with names, but {shown(str(row)[:40])}")
            yield where, {str(key).strip().lower(): value for key, value in row.items() if key is not None}
    except KeyError:
        raise UserError(f"{file} must end in {', '.join(ENDINGS)}") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{file} cannot be read ({error})") from error


def _lines(file: Path) -> Iterator[tuple[str, Any]]:
    return ((f"line {number}", row) for number, row in json_lines(file))


def _table(file: Path) -> Iterator[tuple[str, Any]]:
    with open(file, encoding="utf-8-sig", newline="") as opened:
        reader = csv.DictReader(opened, delimiter="\t" if file.suffix.lower() == ".tsv" else ",")
        for row in reader:
            yield f"line {reader.line_num}", dict(row)


def _json(file: Path) -> Iterator[tuple[str, Any]]:
    """Return the rows of a list, of s3prl's list under ``meta_data``, or of EmoBox's rows by key."""
    try:
        content = read_json(file)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file} is not valid JSON ({error})") from error
    if isinstance(content, dict):
        content = content.get("meta_data", [_with_key(key, row) for key, row in content.items()])
    if not isinstance(content, list):
        raise UserError(f"{file} is not a list of rows, but {type(content).__name__}")
    return ((f"row {number}", row) for number, row in enumerate(content, 1))


def _with_key(key: str, row: Any) -> Any:
    return {"key": key} | row if isinstance(row, dict) else row


_READ = {".jsonl": _lines, ".csv": _table, ".tsv": _table, ".json": _json}
