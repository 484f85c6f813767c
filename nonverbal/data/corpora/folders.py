"""Corpora without a reader of their own: a folder a class, and Hugging Face's audiofolder."""

import csv
import io
import json
import posixpath
import re
from pathlib import Path
from typing import Any

from nonverbal.data.archives import is_file, read_bytes, unpacked
from nonverbal.data.corpora.base import FIELDS, Reading, Skipped, clip, files, is_audio, readable
from nonverbal.errors import UserError

METADATA = ("metadata.csv", "metadata.jsonl")


def read_folder(folder: Path, name: str, pattern: str | None) -> Reading:
    """Read a folder a class: the label is the name of the folder that a file is in, None at the top.

    Args:
        folder: where the files are.
        name: the corpus's name, which qualifies speakers, sessions and recordings.
        pattern: a regular expression searched in each relative path, then in it as ``readable``; its named groups
            among ``FIELDS`` replace what the folders say. A file that it does not match is skipped.
    """
    compiled = _compiled(pattern)
    found = list(files(folder))
    if not any(map(is_audio, found)):
        raise UserError(f"{folder} holds no audio: expected files such as <class>/<clip>.wav, found {len(found)} files")
    for path in found:
        match = (compiled.search(path) or compiled.search(readable(path))) if compiled else None
        if not is_audio(path):
            yield Skipped(path, "not audio")
        elif compiled and not match:
            yield Skipped(path, "does not match the pattern")
        else:
            parent = Path(unpacked(path)).parent.name
            yield clip(name, path, **{"label": parent, **(match.groupdict() if match else {})})


def read_audiofolder(folder: Path, name: str) -> Reading:
    """Read Hugging Face's audiofolder: ``metadata.csv`` or ``metadata.jsonl`` with ``file_name`` and ``FIELDS``."""
    table = _metadata(folder)
    for path in files(folder):
        row = table.pop(path, None)
        if row is not None:
            yield clip(name, path, **{key: row.get(key) for key in FIELDS})
        else:
            yield Skipped(path, "not in the metadata" if is_audio(path) else "not audio")
    # A file that is not there is found missing when it is to be decoded.
    for path, row in table.items():
        yield clip(name, path, **{key: row.get(key) for key in FIELDS})


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    try:
        compiled = re.compile(pattern)
    except re.error as error:
        raise UserError(f"the pattern {pattern!r} is not a regular expression: {error}") from error
    unknown = sorted(set(compiled.groupindex) - set(FIELDS))
    if unknown:
        raise UserError(f"the pattern {pattern!r} names {', '.join(unknown)}; groups may be {', '.join(FIELDS)}")
    return compiled


def _metadata(folder: Path) -> dict[str, dict[str, Any]]:
    path = next(folder / name for name in METADATA if is_file(folder / name))
    try:
        text = read_bytes(path).decode("utf-8-sig")
        if path.suffix == ".csv":
            rows = list(csv.DictReader(io.StringIO(text, newline="")))
        else:
            rows = [json.loads(line) for line in text.split("\n") if line.strip()]
        # JSON can escape what is no character.
        json.dumps(rows, ensure_ascii=False).encode()
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    table: dict[str, dict[str, Any]] = {}
    for number, row in enumerate(rows, 1):
        if not isinstance(row, dict) or not row.get("file_name"):
            raise UserError(f"{path}, row {number}: no file_name; each row names a file, relative to {folder}")
        name = posixpath.normpath(str(row["file_name"]))
        if name.startswith(("/", "../")) or name in (".", "..") or "\0" in name:
            raise UserError(f"{path}, row {number}: file_name {row['file_name']!r} is not in {folder}")
        if name in table:
            raise UserError(f"{path}, row {number}: {name} has a row before; each file has one")
        table[name] = {**row, "speaker": row.get("speaker") or row.get("speaker_id")}
    return table
