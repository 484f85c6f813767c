"""The catalog: corpora that can be read as they are distributed, and readers for the user's own folders."""

import difflib
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from nonverbal.data.corpora import (
    aesdd,
    asvp_esd,
    audioset,
    cafe,
    cnvve,
    demos,
    donateacry,
    emodb,
    emomatch,
    emovo,
    eyase,
    freesound_babies,
    human_voice,
    iemocap,
    jnv,
    librispeech,
    msp_improv,
    nnime,
    nonspeech7k,
    nonverbal_vocalization,
    oreau,
    recanvo,
    shemo,
    singing_database,
    tut_babies,
    vivae,
    vocalsketch,
    vocalsound,
)
from nonverbal.data.corpora.base import Corpus, Found, Reading, Skipped
from nonverbal.data.corpora.folders import read_audiofolder, read_folder
from nonverbal.data.corpora.listing import HIDDEN, LEAVES, UNREADABLE, files, leaves, passed_over, there
from nonverbal.data.corpora.metadata import METADATA, tables_in
from nonverbal.data.corpora.names import hidden
from nonverbal.data.corpora.webdataset import holds_tars, read_webdataset
from nonverbal.errors import UserError

MODULES = (
    audioset, freesound_babies, human_voice, nnime, nonspeech7k, recanvo, singing_database, tut_babies,
    vocalsketch, vocalsound,
    asvp_esd, cnvve, donateacry, nonverbal_vocalization, vivae, jnv,
    iemocap, msp_improv, aesdd, cafe, demos, emodb, emomatch, emovo, eyase, oreau, shemo,
    librispeech,
)  # fmt: skip
"""Modules in the order of the catalog: Voc125, non-verbal sounds, emotional speech, speech recognition."""

CATALOG: dict[str, Corpus] = {corpus.name: corpus for module in MODULES for corpus in module.CORPORA}
"""Corpora by name."""

VOC125 = {name: corpus.voc125 for name, corpus in CATALOG.items() if corpus.voc125}
"""The corpora of Voc125, with the clips and hours in voc2vec's Table I."""

OWN = ("folder", "audiofolder", "webdataset")
"""Readers for folders that are not a corpus of the catalog."""


def choose_reader(name: str, folder: Path, reader: str | None) -> str:
    """Return the reader of a folder: the requested one, the corpus's own, or the one that suits the folder's content.

    Raises:
        UserError: the folder or reader does not exist.
    """
    if not there(folder):
        found = "that is a file, and not a zip archive" if folder.exists() else "there is no such folder"
        raise UserError(f"the corpus {name!r} should be in {folder}, but {found}")
    if reader is None:
        if name in CATALOG:
            return name
        if tables_in(files(folder)):
            return "audiofolder"
        return "webdataset" if holds_tars(folder) else "folder"
    if reader not in (*CATALOG, *OWN):
        near = difflib.get_close_matches(reader, (*CATALOG, *OWN), 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(OWN)} and what nonverbal corpora lists"
        raise UserError(f"unknown reader {reader!r} for {name}; {hint}")
    if reader == "audiofolder" and not tables_in(files(folder)):
        raise UserError(f"{folder} is not an audiofolder: expected {METADATA} in it")
    return reader


def read(
    name: str,
    folder: Path,
    reader: str,
    pattern: str | None,
    say: Callable[[str], None] = lambda _: None,
    columns: Mapping[str, str] | None = None,
) -> Reading:
    """Yield every file under ``folder`` with what is known about it, by a reader that ``choose_reader`` named.

    ``say`` is called with messages for the user: what columns are used as, and which are not used. ``columns`` are for
    the reader webdataset.

    Hidden files, files outside ``folder`` that links lead to, and files whose names are not UTF-8 are skipped.
    """
    if pattern is not None and reader not in ("folder", "webdataset"):
        raise UserError(f"{name}: the reader {reader} takes no pattern; give pattern with reader: folder")
    if columns and reader != "webdataset":
        raise UserError(f"{name}: the reader {reader} takes no columns, which are for datasets and WebDataset tars")
    if reader in CATALOG:
        reading = CATALOG[reader].read(folder)
    elif reader == "folder":
        reading = read_folder(folder, name, pattern, say)
    elif reader == "webdataset":
        reading = read_webdataset(folder, name, pattern, columns or {}, say)
    else:
        reading = read_audiofolder(folder, name, say)
    return _complete(reading, folder)


def _complete(reading: Reading, folder: Path) -> Reading:
    """Add the files that no reader sees."""
    said = set()
    for file in reading:
        said.add(file.path)
        yield _usable(file, folder)
    for path, reason in passed_over(folder):
        if path not in said:
            # The number of clips in a damaged archive is unknown, so it counts as one that cannot be read.
            yield _usable(Found(path) if reason == UNREADABLE else Skipped(path, reason), folder)


def _usable(file: Found | Skipped, folder: Path) -> Found | Skipped:
    printable = file.path.encode("utf-8", "backslashreplace").decode()
    if printable != file.path:
        return Skipped(printable, "its name is not valid UTF-8")
    if "\0" in file.path:
        return Skipped(file.path, "its name contains a null character, which no file's does")
    if isinstance(file, Found) and hidden(file.path):
        return Skipped(file.path, HIDDEN)
    # pathlib raises an error for a name that is too long, which may occur in an archive or a table.
    if os.path.isdir(folder / file.path):
        return Skipped(file.path, "a link to a folder, which is not followed")
    if isinstance(file, Found) and leaves(folder, file.path):
        return Skipped(file.path, LEAVES)
    return file
