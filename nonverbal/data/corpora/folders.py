"""Readers for corpora without a reader of their own: one folder per class, and Hugging Face's audiofolder."""

import re
from collections.abc import Callable
from pathlib import Path

from nonverbal.data.corpora.attributes import PREFIX, STANDARD, attribute_name, attributes_among
from nonverbal.data.corpora.base import FIELDS, Reading, Skipped, clip
from nonverbal.data.corpora.listing import files
from nonverbal.data.corpora.metadata import METADATA, read_tables
from nonverbal.data.corpora.names import is_audio, readable
from nonverbal.data.corpora.readers import PACKED
from nonverbal.data.reading.archives import unpacked
from nonverbal.errors import UserError
from nonverbal.text import shown, some_of

TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".xls", ".xlsx", ".ods")
"""Endings of the names of tables, including tables that are not read."""


PACKED_AWAY = "an archive that is not read here: unpack it, or read a folder of tars alone"


def read_folder(folder: Path, name: str, pattern: str | None, say: Callable[[str], None]) -> Reading:
    """Read one folder per class: the label is the name of the folder that a file is in, None at the top.

    Args:
        folder: contains the files.
        name: the corpus's name, which qualifies speakers, sessions and recordings.
        pattern: a regular expression that is searched for in each relative path, then in its ``readable`` form; its
            named groups among ``FIELDS`` replace what the folders say, and those named like attributes give attributes.
            A file that it does not match is skipped.
        say: is called with a message about tables that exist but are not read.
    """
    compiled = _compiled(pattern)
    found = list(files(folder))
    if not any(map(is_audio, found)):
        raise UserError(f"{folder} holds no audio: expected files such as <class>/<clip>.wav, found {len(found)} files")
    tables = [path for path in found if path.lower().endswith(TABLES)]
    if tables:
        say(f"{some_of(list(map(shown, tables)), 1)}: not read; a table that says what files are is called {METADATA}")
    packed = [path for path in found if path.lower().endswith(PACKED)]
    if packed:
        say(f"{some_of(list(map(shown, packed)), 1)}: {PACKED_AWAY}")
    for path in found:
        match = (compiled.search(path) or compiled.search(readable(path))) if compiled else None
        if not is_audio(path):
            yield Skipped(path, PACKED_AWAY if path.lower().endswith(PACKED) else "not audio")
        elif compiled and not match:
            yield Skipped(path, "does not match the pattern")
        else:
            parent = Path(unpacked(path)).parent.name
            groups = match.groupdict() if match else {}
            known = {key: value for key, value in groups.items() if key in FIELDS}
            yield clip(name, path, attributes_among(groups), **{"label": parent, **known})


def read_audiofolder(folder: Path, name: str, say: Callable[[str], None]) -> Reading:
    """Read Hugging Face's audiofolder: tables with ``file_name``, ``FIELDS`` and attributes, in any folders.

    Args:
        folder: contains the files and tables.
        name: the corpus's name.
        say: is called with messages that say what each table's columns are used as, and which are not used.
    """
    found = list(files(folder))
    rows = read_tables(folder, found, say)
    for path in found:
        row = rows.pop(path, None)
        if row is not None:
            yield clip(name, path, row.attributes, **row.known)
        else:
            yield Skipped(path, "not in the metadata" if is_audio(path) else "not audio")
    # A file that does not exist is reported as missing when it is to be decoded.
    for path, row in rows.items():
        yield clip(name, path, row.attributes, **row.known)


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the pattern {pattern!r} is not a regular expression: {error}") from error
    unknown = sorted(group for group in compiled.groupindex if group not in FIELDS and attribute_name(group) is None)
    if unknown:
        raise UserError(
            f"the pattern {pattern!r} names {', '.join(unknown)}; groups may be {', '.join(FIELDS)}; "
            f"attributes {', '.join(STANDARD)}; or {PREFIX}NAME"
        )
    return compiled
