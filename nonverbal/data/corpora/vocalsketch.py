"""VocalSketch: everyday and synthetic sounds, imitated by voice; part of Voc125.

Home: DOI 10.5281/zenodo.1251982 (1.1.2), GitHub interactiveaudiolab/VocalSketchDataSet (CHI 2015, doi
10.1145/2702123.2702387). Licence: not stated in the README; CC-BY-4.0 on Zenodo, from memory.
Expected: 10705 clips, 10.53 h in Voc125, 48 kHz; probably only the first set, with drafts and excluded takes.
Verified: names, tables and folders (in part only from other people's loaders); not the count.

Both sets are read, including drafts and excluded takes, as in Voc125's count; the tables tell them apart (``included``,
``draft``, ``satisfaction``). The label is the sound that was imitated, up to the last `` - `` of a name. The originals
of the imitated sounds are in sound_recordings; they are not voices, and are skipped.
Participants are in the tables. In the table of the second set, whose name is misspelt, ids are rounded (5.54E+15), so
its speakers are unknown; a rounded id is the recording: it may be several people, but splits none.
"""

import re
from functools import partial
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.names import file_name
from nonverbal.data.corpora.readers import read_by_name, read_table, tables_of
from nonverbal.licences import Terms

NAME = "vocalsketch"
PATTERN = (
    # In older versions, excluded takes have a folder excluded_vocal_imitations.
    r"(?:.*/)?(?i:(?:excluded_)?vocal_imitations(?:_set2)?)/(?:.*/)?(?P<label>[^/]+) - \d+\.wav"
)
# vocal_imitations.csv and vocal_imitaitons_set2.csv, or the latter with the spelling corrected.
TABLES = r"(?:.*/)?vocal_im\w+\.csv"
ROUNDED = r"\d(?:\.\d+)?E\+\d+"
LOOKS_LIKE = "vocal_imitations.csv, and vocal_imitations/{included,excluded}/<sound> - <id>.wav"


def read(folder: Path) -> Reading:
    """Label: the sound that was imitated."""
    skip = "not an imitation: a table, or what was imitated"
    return read_by_name(folder, PATTERN, partial(_describe, _rows(folder)), skip, LOOKS_LIKE)


def _rows(folder: Path) -> dict[str, dict[str, str]]:
    rows = (row for table in tables_of(folder, TABLES) for row in read_table(folder, table))
    return {file_name(row.get("filename", "")): row for row in rows}


def _describe(rows: dict[str, dict[str, str]], match: re.Match[str], path: str) -> Found:
    row = rows.get(file_name(path), {})
    # True and False in the first table, TRUE and FALSE in the second.
    said = {name: row.get(name, "").lower() for name in ("included", "draft", "satisfaction")}
    participant = row.get("participantid", "")
    if re.fullmatch(ROUNDED, participant):
        return clip(NAME, path, said, label=match["label"], recording=participant)
    return clip(NAME, path, said, label=match["label"], speaker=participant)


CORPORA = (
    Corpus(
        name=NAME,
        title="VocalSketch: imitations of sounds",
        purposes=("pretraining",),
        home="zenodo.org/records/1251982",
        doi="10.5281/zenodo.1251982",
        licence="unclear: CC-BY-4.0 on Zenodo from memory, none in the README",
        terms=Terms("memory, of Zenodo; the README states none", False, disputed=True),
        get="Download the archive from Zenodo. It is read as it is, or unpacked.",
        clips=None,
        hours=None,
        verified="names and tables, folders in part from others' loaders; not the count, nor the licence; which takes "
        "are in Voc125 is inferred",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        voc125=(10705, 10.53),
    ),
)
