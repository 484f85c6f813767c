"""What readers of corpora share: clips by names, tables or rows, and the error for a folder of something else."""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from glob import glob
from pathlib import Path
from typing import Any, TypeVar

from nonverbal.data.corpora.base import Found, Reading, Skipped
from nonverbal.data.corpora.listing import NESTED, files, passed_over
from nonverbal.data.corpora.names import file_name, is_audio, readable
from nonverbal.data.corpora.tables import decode, delimited
from nonverbal.data.reading.archives import read_bytes
from nonverbal.errors import UserError

PACKED = (".zip", ".rar", ".7z", ".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst")
"""Endings of the names of archives, including archives that are not read."""

ANYWHERE = "(?:.*/)?"
"""Beginning of patterns: what they match may be in any folder."""

ABOVE = 3
"""Largest number of steps up from a part of a corpus to the folder with its tables."""

Row = TypeVar("Row")


def read_by_name(
    folder: Path, pattern: str, describe: Callable[[re.Match[str], str], Found | Skipped], skip: str, looks_like: str
) -> Reading:
    """Read a corpus by its file names.

    Args:
        folder: the corpus.
        pattern: a regular expression that matches clips' whole relative paths in their ``readable`` form; it ends in
            ``\\.wav``, in lower case.
        describe: turns a match and its path into a clip.
        skip: reason given for all other files.
        looks_like: what is expected, for the error if nothing matches.
    """
    compiled = re.compile(pattern)
    found = list(files(folder))
    matches = [compiled.fullmatch(readable(path)) for path in found]
    if not any(matches):
        # A folder inside the corpus: the folders above it may say what names lack.
        outer = readable(f"{folder.resolve().as_posix()}/")
        matches = [compiled.fullmatch(outer + readable(path)) for path in found]
    if not any(matches):
        refuse(found, folder, looks_like)
    for path, match in zip(found, matches, strict=True):
        yield describe(match, path) if match else Skipped(path, skip)


def read_by_table(
    folder: Path,
    tables: str,
    key: str,
    describe: Callable[[dict[str, str], str, str], Found | Skipped],
    skip: str,
    looks_like: str,
) -> Reading:
    """Read a corpus whose tables describe its files. A row without a file is a clip that will be reported as missing.

    Args:
        folder: the corpus.
        tables: a regular expression that matches the tables' whole relative paths, in upper or lower case.
        key: the column that names a file, reduced as by ``read_table``; folders in it are ignored.
        describe: turns a row, the path of its file, and the path of its table into a clip.
        skip: reason given for files without a row.
        looks_like: what is expected, for the error if there is no table.

    Raises:
        UserError: there is no table, it lacks the column, or two rows contradict each other.
    """
    rows: dict[str, tuple[dict[str, str], str]] = {}
    for table in matching(folder, tables):
        for row in read_table(folder, table):
            name = re.split(r"[\\/]", row[key])[-1]
            if name in rows and rows[name][0] != row:
                raise UserError(
                    f"{rows[name][1]} and {table} in {folder} say different things about {name}; read one part of the "
                    "corpus at a time, each as a corpus of its own"
                )
            rows[name] = row, table
    yield from read_by_rows(folder, rows, lambda row, path: describe(row[0], path, row[1]), skip, looks_like, tables)


def lines_of(folder: Path, files: str, line: re.Pattern[str]) -> Iterator[re.Match[str]]:
    """Yield the matches of ``line`` in all files whose paths match ``files``."""
    for path in matching(folder, files):
        yield from line.finditer(read_text(folder, path))


def read_by_rows(
    folder: Path,
    rows: Mapping[str, Row],
    describe: Callable[[Row, str], Found | Skipped],
    skip: str,
    looks_like: str,
    tables: str,
) -> Reading:
    """Read a corpus whose files ``rows`` describe. A row without a file is a clip that will be reported as missing.

    Args:
        folder: the corpus.
        rows: descriptions by name of the file, without folders. A file that is spelt differently (``file_name``) counts
            if it cannot belong to another row.
        describe: turns a description and the path of its file into a clip.
        skip: reason given for files without a row.
        looks_like: what is expected, for the error if there are no rows.
        tables: a regular expression for the files that the rows come from, for the same error.
    """
    found = list(files(folder))
    if not rows:
        refuse(found, folder, looks_like, tables)
    spellings: dict[str, list[str]] = defaultdict(list)
    for name in rows:
        spellings[file_name(name)].append(name)
    missing = dict(rows)
    for path in found:
        name = Path(path).name
        alike = spellings[file_name(name)]
        name = alike[0] if name not in rows and len(alike) == 1 else name
        if name in rows and is_audio(path):
            missing.pop(name, None)
            yield describe(rows[name], path)
        else:
            yield Skipped(path, skip)
    for name, row in missing.items():
        yield describe(row, name)


def prefer(reading: Reading, lesser: str, reason: str, part: str | None = None, chosen: bool = False) -> Reading:
    """Read one of two releases of the same sounds if both exist: one file for each take, by its name and label.

    Args:
        reading: of both.
        lesser: a regular expression that is searched for in paths in their ``readable`` form; a clip with a match is of
            the lesser release, and is skipped if its take is in the other.
        reason: given for the clips that are skipped.
        part: a regular expression for what the better release may add to the name of a take that it has cut.
        chosen: whether the better release leaves takes out on purpose; then all of the lesser are skipped if both
            exist.
    """
    read = list(reading)
    clips = [file for file in read if isinstance(file, Found)]
    worse = {file.path for file in clips if re.search(lesser, readable(file.path))}
    takes = {_take(file) for file in clips if file.path in worse}
    better = [_take(file) for file in clips if file.path not in worse]
    if part is not None:
        better = [take if take in takes else (re.sub(f"{part}$", "", take[0]), take[1]) for take in better]
    doubled = takes if chosen and better else set(better)
    for file in read:
        skipped = isinstance(file, Found) and file.path in worse and _take(file) in doubled
        yield Skipped(file.path, reason) if skipped else file


def _take(file: Found) -> tuple[str, str | None]:
    return Path(readable(file.path)).stem, file.label


def refuse(found: list[str], folder: Path, looks_like: str, tables: str | None = None) -> None:
    """Raise the error for a folder that is not of a corpus, which says what was expected and what exists."""
    audio = [path for path in found if is_audio(path)]
    example = f", such as {audio[0]}" if audio else ""
    nested = [path for path, reason in passed_over(folder) if reason == NESTED]
    packed = [path for path in found if path.lower().endswith(PACKED)] or nested
    remedy = f"; unpack {packed[0]} first" if packed else ""
    outer = above(folder, tables) if tables else []
    if outer:
        remedy = f"; {outer[0]} belongs to this corpus: give the folder that holds it and the clips"
    raise UserError(
        f"{folder} does not look like this corpus: expected {looks_like}; "
        f"found {len(found)} files, {len(audio)} of them audio{example}{remedy}"
    )


def matching(folder: Path, pattern: str) -> list[str]:
    """Return the files whose whole relative paths match a regular expression: a corpus's tables, wherever they are."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return [path for path in files(folder) if compiled.fullmatch(readable(path))]


def tables_of(folder: Path, pattern: str) -> list[str]:
    """Return tables that are not needed to read a corpus: as ``matching``, or as ``above`` if there are none."""
    return matching(folder, pattern) or above(folder, pattern)


def above(folder: Path, pattern: str) -> list[str]:
    """Return the tables of a corpus that ``folder`` is a part of, as absolute paths, from the nearest folder above it.

    Args:
        folder: a part of a corpus.
        pattern: as for ``matching``; but the corpus's own folder is at most ``ABOVE`` steps up, and only folders that
            the pattern names are searched.
    """
    compiled = re.compile(pattern.removeprefix(ANYWHERE), re.IGNORECASE)
    depth = pattern.removeprefix(ANYWHERE).count("/")
    for parent in list(folder.resolve().parents)[:ABOVE]:
        # pathlib's glob fails if a folder beside the corpus is removed meanwhile.
        names = [name for steps in range(depth + 1) for name in glob("/".join(["*"] * (steps + 1)), root_dir=parent)]
        found = [str(parent / name) for name in sorted(names) if compiled.fullmatch(name)]
        if found:
            return found
    return []


def read_content(folder: Path, path: str) -> bytes:
    """Return the content of a file or of a member of an archive.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return read_bytes(folder / path)
    except OSError as error:
        raise UserError(f"{folder / path} cannot be read: {error.strerror}") from error


def read_text(folder: Path, path: str) -> str:
    """Return a file as text: UTF-8 or UTF-16, according to its mark, or else Windows's Western European.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return decode(read_content(folder, path), "replace")[0]
    except UnicodeDecodeError as error:
        raise UserError(f"{folder / path} cannot be read as text: {error}") from error


class TableRow(dict[str, str]):
    """A row of a table: values by column."""

    def __init__(self, table: Path, values: Iterable[tuple[str, str]]) -> None:
        """Take the row of a table."""
        super().__init__(values)
        self.table = table

    def __missing__(self, column: str) -> str:
        raise UserError(f"{self.table} has a row without {column!r}; its columns are {', '.join(self)}")


def read_table(folder: Path, path: str) -> list[TableRow]:
    """Return the rows of a table whose first line names its columns.

    Names of columns are reduced to lower-case letters and digits (``Filename``, ``File ID`` and ``File_ID`` become
    ``filename``, ``fileid`` and ``fileid``), because they vary between releases. Values are stripped.

    Raises:
        UserError: it cannot be read, or a row has more or fewer values than there are columns. A row also raises it
            when it is asked for a column that it does not have.
    """
    columns, rows = delimited(read_text(folder, path).replace("\0", ""), folder / path)
    header = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in columns]
    return [TableRow(folder / path, zip(header, row, strict=True)) for row in rows.values()]


def read_json(folder: Path, path: str) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(read_text(folder, path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / path} is not valid JSON: {error}") from error
