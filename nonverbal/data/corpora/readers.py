"""What readers of corpora share: clips by names, tables or rows; and the error of a folder of something else."""

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
"""How the names of archives end, those too that are not read."""

ANYWHERE = "(?:.*/)?"
"""How patterns begin: what they match may lie in any folder."""

ABOVE = 3
"""Steps up from a part of a corpus to where its tables may be."""

Row = TypeVar("Row")


def read_by_name(
    folder: Path, pattern: str, describe: Callable[[re.Match[str], str], Found | Skipped], skip: str, looks_like: str
) -> Reading:
    """Read a corpus by its file names.

    Args:
        folder: the corpus.
        pattern: a regular expression that clips' relative paths match whole, as ``readable`` has them: it ends in
            ``\\.wav``, in lower case.
        describe: turns a match and its path into a clip.
        skip: reason given for all other files.
        looks_like: what is expected, for the error where nothing matches.
    """
    compiled = re.compile(pattern)
    found = list(files(folder))
    matches = [compiled.fullmatch(readable(path)) for path in found]
    if not any(matches):
        # A folder from within the corpus: what names lack, the folders that it is in may say.
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
    """Read a corpus whose tables say what a file is. A row without a file is a clip that will be found missing.

    Args:
        folder: the corpus.
        tables: a regular expression that the tables' relative paths match whole, in any case.
        key: the column that names a file, reduced as by ``read_table``; folders in it are ignored.
        describe: turns a row, the path of its file and that of its table into a clip.
        skip: reason given for files without a row.
        looks_like: what is expected, for the error where there is no table.

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
    """Yield the lines that match a pattern in all files whose paths match another."""
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
    """Read a corpus that says what each file is. A row without a file is a clip that will be found missing.

    Args:
        folder: the corpus.
        rows: the name of a file, without folders, to what is said of it. A file of another spelling (``file_name``)
            is meant where it can be no other row's.
        describe: turns that and the path of the file into a clip.
        skip: reason given for files without a row.
        looks_like: what is expected, for the error where there are no rows.
        tables: a regular expression of where they come from, for the same.
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
    """Read one of two releases of the same sounds, where both are there: of each take, by its name and label.

    Args:
        reading: of both.
        lesser: a regular expression searched in paths, as ``readable`` has them; a clip whose has it is of the lesser
            release, and is skipped where its take is in the other.
        reason: given for the clips that are skipped.
        part: a regular expression of what the better release may add to the name of a take that it has cut.
        chosen: whether the better release leaves takes out on purpose; then all of the lesser are skipped beside it.
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
    """Raise the error for a folder that is not of a corpus, saying what was expected and what is there."""
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
    """Return the files whose relative paths match a regular expression whole: a corpus's tables, wherever they lie."""
    compiled = re.compile(pattern, re.IGNORECASE)
    return [path for path in files(folder) if compiled.fullmatch(readable(path))]


def tables_of(folder: Path, pattern: str) -> list[str]:
    """Return tables that a corpus can be read without: as ``matching``, or where there are none, as ``above``."""
    return matching(folder, pattern) or above(folder, pattern)


def above(folder: Path, pattern: str) -> list[str]:
    """Return the tables of a corpus that ``folder`` is a part of: absolute paths, in the nearest folder above it.

    Args:
        folder: a part of a corpus.
        pattern: as of ``matching``; but the corpus's own folder is in ``ABOVE`` steps up, and no other folders than
            those that the pattern names are looked into.
    """
    compiled = re.compile(pattern.removeprefix(ANYWHERE), re.IGNORECASE)
    depth = pattern.removeprefix(ANYWHERE).count("/")
    for parent in list(folder.resolve().parents)[:ABOVE]:
        # pathlib's glob fails where a folder beside the corpus goes away meanwhile.
        names = [name for steps in range(depth + 1) for name in glob("/".join(["*"] * (steps + 1)), root_dir=parent)]
        found = [str(parent / name) for name in sorted(names) if compiled.fullmatch(name)]
        if found:
            return found
    return []


def read_content(folder: Path, path: str) -> bytes:
    """Return the content of a file or member of an archive.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return read_bytes(folder / path)
    except OSError as error:
        raise UserError(f"{folder / path} cannot be read: {error.strerror}") from error


def read_text(folder: Path, path: str) -> str:
    """Return a file as text: UTF-8 or UTF-16, by its mark, or else Windows's Western European.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return decode(read_content(folder, path), "replace")[0]
    except UnicodeDecodeError as error:
        raise UserError(f"{folder / path} cannot be read as text: {error}") from error


class TableRow(dict[str, str]):
    """A row of a table: column to value."""

    def __init__(self, table: Path, values: Iterable[tuple[str, str]]) -> None:
        """Take the row of a table."""
        super().__init__(values)
        self.table = table

    def __missing__(self, column: str) -> str:
        raise UserError(f"{self.table} has a row without {column!r}; its columns are {', '.join(self)}")


def read_table(folder: Path, path: str) -> list[TableRow]:
    """Return the rows of a table whose first line names its columns.

    Names of columns are reduced to lower-case letters and digits (``Filename``, ``File ID`` and ``File_ID`` are
    ``filename``, ``fileid`` and ``fileid``): they vary from release to release. Values are stripped.

    Raises:
        UserError: it cannot be read, or a row has more or fewer values than there are columns. A row raises it too,
            where it is asked for a column that it does not have.
    """
    columns, rows = delimited(read_text(folder, path).replace("\0", ""), folder / path)
    header = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in columns]
    return [TableRow(folder / path, zip(header, row, strict=True)) for row in rows.values()]


def read_json(folder: Path, path: str) -> Any:
    """Return what a JSON file holds.

    Raises:
        UserError: it cannot be read.
    """
    try:
        return json.loads(read_text(folder, path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{folder / path} is not valid JSON: {error}") from error
