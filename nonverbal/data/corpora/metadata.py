"""The tables of an audiofolder: which exist, what their columns mean, and which file each row refers to."""

import posixpath
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from nonverbal.data.corpora.attributes import Attributes, attribute_name, attributes_among
from nonverbal.data.corpora.base import FIELDS
from nonverbal.data.corpora.names import is_audio
from nonverbal.data.corpora.readers import read_content
from nonverbal.data.corpora.tables import WESTERN, as_number, as_text, decode, delimited, json_rows, stripped
from nonverbal.data.reading.archives import unpacked
from nonverbal.errors import UserError
from nonverbal.grouping import grouped
from nonverbal.text import LINE_END, shown, some_of, told_apart

METADATA = "metadata.csv or metadata.jsonl"
"""Names of the tables, in words."""

TABLE = re.compile(r"(?:[^./][^/]*/)*metadata\.(?:csv|tsv|jsonl)", re.IGNORECASE)
"""Matches a table that is not in a hidden folder."""

COLUMNS: dict[str, tuple[str, ...]] = {
    "file_name": ("file_name",),
    **{field: (field,) for field in FIELDS},
    "speaker": ("speaker", "speaker_id"),
}
"""What may be known about a clip, and the columns that give it: the first that has a value counts."""

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "eval", "evaluation"), "test"),
}
"""Words in names of folders and files by which Hugging Face recognises a split, with the split."""


NAMED = 12
"""Number of unused columns that are named; the others are counted."""

Key = Callable[[str], str]


@dataclass(frozen=True)
class Row:
    """A row of a table."""

    where: str
    """The table and the row's number, for errors."""
    name: str
    """The file as the row names it, relative to the corpus's folder."""
    known: Mapping[str, str | None]
    """Values of those ``FIELDS`` that have a column."""
    folder: str
    """Folder of the table, relative to the corpus's folder; files are named relative to it."""
    attributes: Attributes
    """Values of the columns that are named like attributes."""
    more_lines: tuple[str, ...]
    """What follows the first line in values of several lines, where a quote may have been left open."""


def tables_in(paths: Iterable[str]) -> list[str]:
    """Return the tables among the files of a folder."""
    return [path for path in paths if TABLE.fullmatch(path)]


def known_columns(columns: Iterable[str]) -> dict[str, list[str]]:
    """Return what may be known about a clip, with the columns that give it. Case, blanks, ``_`` and ``-`` do not count.

    Raises:
        ValueError: two columns have the same name.
    """
    return _known_columns(tuple(columns))


@lru_cache(maxsize=64)
def _known_columns(columns: tuple[str, ...]) -> dict[str, list[str]]:
    known: dict[str, list[str]] = {}
    for field, usual in COLUMNS.items():
        known[field] = []
        for name in usual:
            same = [column for column in columns if _reduced(column) == _reduced(name)]
            _refuse_twins(same)
            known[field] += same
    _refuse_twins([column for column, count in Counter(columns).items() if column and count > 1] * 2)
    return known


def columns_said(known: Mapping[str, Iterable[str]], columns: Iterable[str]) -> str:
    """Return a text that says what columns are used as, and which are not used."""
    used = {column for field in known for column in known[field]}
    taken = []
    for field in COLUMNS:
        names = list(known.get(field, ()))
        taken += [field if names == [field] else f"{field} from {' or '.join(map(repr, names))}"] if names else []
    columns = [column for column in columns if column not in used]
    named = [repr(column) for column in columns if attribute_name(column) is not None]
    taken += [f"attributes from {', '.join(named)}"] if named else []
    rest = [repr(column) for column in columns if attribute_name(column) is None]
    return f"columns: {', '.join(taken)}" + (f"; not used: {some_of(rest, NAMED)}" if rest else "")


def read_tables(folder: Path, found: Sequence[str], say: Callable[[str], None]) -> dict[str, Row]:
    """Return the rows of all tables under ``folder`` by the files that they refer to, which may be missing.

    Args:
        folder: the corpus.
        found: its files.
        say: is called with messages: what columns are used as, which are not used, and what was read in another
            encoding.

    Raises:
        UserError: a table cannot be read, lacks ``file_name``, or has a value that no clip can have; two rows refer to
            one file, or one row may refer to two.
    """
    rows: list[Row] = []
    said: dict[str, list[str]] = {}
    for table in tables_in(found):
        of_table, text = _read_table(folder, table)
        rows += of_table
        said.setdefault(text, []).append(table)
    for text, tables in said.items():
        say(f"{some_of(tables, 1)}: {text}")
    return _by_file(rows, found, folder)


def _read_table(folder: Path, table: str) -> tuple[list[Row], str]:
    """Return the rows of a table, and a message about it."""
    where = folder / table
    try:
        text, encoding = decode(read_content(folder, table))
    except UnicodeDecodeError as error:
        raise UserError(f"{where} cannot be read as text ({error}); save it as UTF-8") from error
    parse = _json if table.lower().endswith(".jsonl") else _delimited
    rows = []
    taken: dict[str, dict[str, None]] = {}
    columns: dict[str, None] = {}
    for number, values in parse(text, where, folder):
        of_row = f"{where}, row {number}"
        try:
            known = known_columns(values)
        except ValueError as error:
            raise UserError(f"{of_row}: {error}") from error
        columns.update(dict.fromkeys(values))
        for field, names in known.items():
            taken.setdefault(field, {}).update(dict.fromkeys(names))
        rows.append(_row(of_row, table, values, known, folder))
    unlike = "; read as Windows-1252, since it is not UTF-8" if encoding == WESTERN else ""
    return rows, columns_said(taken, columns) + unlike


def _delimited(text: str, where: Path, folder: Path) -> Iterable[tuple[int, dict[str, object]]]:
    header, rows = delimited(text, where, lambda names: any(_reduced(name) == "filename" for name in names))
    try:
        known = known_columns(header)
    except ValueError as error:
        raise UserError(f"{where}: {error}") from error
    if not known["file_name"]:
        raise UserError(
            f"{where}: no column file_name; its columns are {', '.join(map(repr, header)) or 'none'}; call the one "
            "that names the files file_name, and separate columns by a comma, a semicolon or a tab"
        )
    for number, cells in rows.items():
        row = dict(zip(header, cells, strict=True))
        name = known["file_name"][0]
        yield number, {column: cell if column == name else as_number(cell) for column, cell in row.items()}


def _json(text: str, where: Path, folder: Path) -> Iterable[tuple[int, dict[str, object]]]:
    for number, row in json_rows(text, where):
        if not isinstance(row, dict):
            raise UserError(f"{where}, row {number}: {_LACKS.format(folder)}, but this one is {shown(repr(row)[:60])}")
        yield number, row


_LACKS = "no file_name; each row names a file, relative to {}"


def _row(where: str, table: str, values: dict[str, object], known: dict[str, list[str]], folder: Path) -> Row:
    base = posixpath.dirname(table)
    said: dict[str, str | None] = {}
    for field, columns in known.items():
        for column in columns:
            try:
                text = as_text(values[column])
            except ValueError as error:
                raise UserError(f"{where}: {column} {error}") from error
            said[field] = text if said.get(field) is None else said[field]
    if said.get("file_name") is None:
        found = ", ".join(map(repr, values)) or "nothing"
        raise UserError(f"{where}: {_LACKS.format(folder / base)}, but this one has {found}")
    # Unchanged, because a name on the disk may be composed in another way, or begin with a blank.
    given = values[known["file_name"][0]]
    name = _inside(given if isinstance(given, str) else str(said["file_name"]), base, where, folder)
    del said["file_name"]
    if "split" not in said:
        said["split"] = next((SPLITS[part] for part in name.lower().split("/")[:-1] if part in SPLITS), None)
    texts = [] if table.lower().endswith(".jsonl") else [value for value in values.values() if isinstance(value, str)]
    return Row(
        where,
        name,
        said,
        base,
        attributes_among(values),
        tuple(line for text in texts for line in LINE_END.split(text)[1:]),
    )


def _inside(given: str, base: str, where: str, folder: Path) -> str:
    """Return the path of a file relative to the corpus's folder; refuse one that leaves the folder on any system."""
    for written in (given.replace("\\", "/"), given):
        path = posixpath.normpath(posixpath.join(base, written))
        outside = path.startswith(("/", "../")) or path in (".", "..") or "\0" in path
        if outside or re.match(r"[A-Za-z]:/", written):
            raise UserError(f"{where}: file_name {given!r} is not in {folder}")
    return path


def _by_file(rows: list[Row], found: Sequence[str], folder: Path) -> dict[str, Row]:
    there = set(found)
    taken = {row.name for row in rows if row.name in there}
    # Names that differ in case may belong to two files, but not names that differ only in how é is written.
    alike: dict[Key, dict[str, list[str]]] = {_composed: grouped(found, _composed)}
    left = [path for path in found if path not in taken]
    alike |= {key: grouped(left, key) for key in (_folded, _unpacked, _unpacked_in_place)}
    by_file: dict[str, Row] = {}
    for row in rows:
        path = row.name if row.name in there else _meant(row, alike)
        if path in by_file:
            written = sorted({path, row.name, by_file[path].name})
            names = shown(path) if len(written) == 1 else told_apart(written)
            raise UserError(f"{row.where}: {names} has another row ({by_file[path].where}); a file may have only one")
        by_file[path] = row
    if rows:
        _refuse_swallowed(rows, set(filter(is_audio, found)) - by_file.keys())
        _refuse_strangers(by_file, found, folder)
    return by_file


def _meant(row: Row, alike: Mapping[Key, dict[str, list[str]]]) -> str:
    """Return the only file that a name, as another system writes it, can refer to; the name itself if there is none."""
    for key, paths in alike.items():
        candidates = paths.get(key(row.name), [])
        if len(candidates) > 1:
            raise UserError(
                f"{row.where}: file_name {row.name!a} may mean {told_apart(candidates)}; write the file's exact name"
            )
        if candidates:
            return candidates[0]
    return row.name


def _composed(path: str) -> str:
    path = posixpath.normpath(path.replace("\\", "/"))
    return "/".join(stripped(part) for part in unicodedata.normalize("NFC", path).split("/"))


def _folded(path: str) -> str:
    return _composed(path).casefold()


def _unpacked(path: str) -> str:
    """Return ``_folded`` of a path as if each archive had been unpacked to a folder of its name."""
    return _folded(unpacked(path))


def _unpacked_in_place(path: str) -> str:
    """Return ``_folded`` of a path as if each archive had been unpacked to the folder that it is in."""
    *folders, name = path.split("/")
    return _folded("/".join([*(part for part in folders if len(part) < 5 or not part.lower().endswith(".zip")), name]))


def _refuse_swallowed(rows: Iterable[Row], without: set[str]) -> None:
    """Refuse a value of several lines that names a file without a row: probably an open quote has swallowed its row."""
    for row in rows:
        cells = (part.strip(' "') for line in row.more_lines for part in re.split("[,;\t]", line))
        swallowed = [cell for cell in cells if posixpath.join(row.folder, cell) in without]
        if swallowed:
            raise UserError(
                f"{row.where}: a value of several lines names {shown(swallowed[0])}, which has no row: a double quote "
                "that begins a value is not closed, and takes in the rows after it"
            )


def _refuse_strangers(by_file: Mapping[str, Row], found: Iterable[str], folder: Path) -> None:
    audio = [path for path in found if is_audio(path)]
    if audio and not by_file.keys() & set(found):
        name, row = next(iter(by_file.items()))
        raise UserError(
            f"{row.where}: there is no file {name!a}, and none for any other row; {folder} holds files such as "
            f"{told_apart(audio[:2])}; file_name is relative to the folder of its table"
        )


def _reduced(column: str) -> str:
    """Return only a column's letters and digits, because names vary in case, blanks, ``_`` and ``-``."""
    return re.sub(r"[\W_]", "", column).casefold()


def _refuse_twins(columns: Sequence[str]) -> None:
    if len(columns) > 1:
        raise ValueError(f"columns {' and '.join(map(repr, columns))} have the same name: rename or remove all but one")
