"""ReCANVo: sounds of eight people who speak few or no words, labelled by their families; part of Voc125.

Home: DOI 10.5281/zenodo.5786860 (Johnson et al., Scientific Data 2023, doi 10.1038/s41597-023-02405-7).
Licence: CC-BY-4.0 from memory, which allows commercial use and redistribution with attribution.
Expected: 7077 clips, 2.46 h, 44.1 kHz from memory; 22 labels, of which the six largest are usually evaluated.
Verified on a copy of its table: columns, names, labels and their counts, participants.

Labels are those of the table, spelt as there: laugh and laughter are separate, and so are dysregulated and
dysregulation-sick. A session is the date and time at the beginning of a name; in some names, more follows without a
separator (200306_2047SelfTalk). Its background reveals its labels, so it is the recording.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_table
from nonverbal.licences import spdx

NAME = "recanvo"
TABLE = r"(?:.*/)?dataset_file_directory\.csv"
SESSION = re.compile(r"\d{6}_\d{4}")
CLASSES = {
    "selftalk": 1885, "frustrated": 1536, "delighted": 1272, "dysregulated": 704, "social": 634, "request": 419,
    "affectionate": 129, "yes": 123, "laughter": 93, "dysregulation-sick": 74, "happy": 61, "help": 24, "more": 22,
    "protest": 21, "bathroom": 20, "dysregulation-bathroom": 18, "no": 12, "glee": 8, "laugh": 8, "tablet": 7,
    "hunger": 4, "greeting": 3,
}  # fmt: skip
LOOKS_LIKE = "dataset_file_directory.csv, and <date>_<time>_<start>--<end>.wav"


def read(folder: Path) -> Reading:
    """Label: the table's."""
    return read_by_table(folder, TABLE, "filename", _describe, "not in dataset_file_directory.csv", LOOKS_LIKE)


def _describe(row: dict[str, str], path: str, table: str) -> Found:
    found = SESSION.match(Path(path).name)
    session = found and found[0]
    return clip(NAME, path, label=row["label"], speaker=row["participant"], session=session, recording=session)


CORPORA = (
    Corpus(
        name=NAME,
        title="ReCANVo: people who speak few or no words",
        purposes=("pretraining", "evaluation"),
        home="zenodo.org/records/5786860",
        doi="10.5281/zenodo.5786860",
        licence="CC-BY-4.0",
        terms=spdx("CC-BY-4.0", "memory", False),
        get="Download the archive from Zenodo. It is read as it is, or unpacked.",
        clips=7077,
        hours=2.46,
        verified="columns, names, labels and counts, on a copy of the table; not the licence, nor the sample rate",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        classes=CLASSES,
        voc125=(7077, 2.46),
    ),
)
