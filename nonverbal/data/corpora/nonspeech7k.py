"""NonSpeech7K: breath, cough, crying, laugh, screaming, sneeze and yawn, cut from the web; part of Voc125.

Home: DOI 10.5281/zenodo.6967442 (paper: doi 10.1049/sil2.12233). Licence: CC-BY-4.0 according to the record's metadata,
CC-BY-NC-SA-4.0 according to its description; assume the latter: no commercial use, share-alike.
Expected: 7014 clips (train 6289, test 725) of 0.5 to 4 s, 32 kHz. Voc125 has 6983, 6.72 h; why 31 are missing is
unknown.
Verified: the DOIs. Files, columns, classes and counts are known only from other people's loaders and notes.

The labels are only in the two tables, whose columns are spelt differently (File ID, File_ID), as is one class: ``yawm``
is yawn. No speakers are known; clips cut from one file of one source are one recording. The split is the corpus's own,
and it leaks: four of these recordings are on both sides. Freesound is one of the sources, as for other corpora.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_table
from nonverbal.licences import spdx, strictest

NAME = "nonspeech7k"
TABLES = r"(?:.*/)?metadata of (?:train|test) set *\.csv"
LOOKS_LIKE = "'metadata of train set .csv' or 'metadata of test set.csv', and train/*.wav, test/*.wav"


def read(folder: Path) -> Reading:
    """Label: the table's, with ``yawm`` corrected."""
    return read_by_table(folder, TABLES, "filename", _describe, "not in the tables", LOOKS_LIKE)


def _describe(row: dict[str, str], path: str, table: str) -> Found:
    label = row.get("classname", "").lower()
    source, file = row.get("source", "").lower(), row.get("fileid", "")
    return clip(
        NAME,
        path,
        {"source": source},
        label="yawn" if label == "yawm" else label,
        recording=f"{source} {file}" if source and file else None,
        split="train" if "train" in Path(table).name.lower() else "test",
    )


CORPORA = (
    Corpus(
        name=NAME,
        title="NonSpeech7K: seven classes, from the web",
        purposes=("pretraining",),
        home="zenodo.org/records/6967442",
        doi="10.5281/zenodo.6967442",
        licence="CC-BY-NC-SA-4.0, disputed: CC-BY-4.0",
        terms=strictest(
            spdx("CC-BY-4.0", "other people's notes, of the record's metadata", False),
            spdx("CC-BY-NC-SA-4.0", "other people's notes, of its description", False),
            disputed=True,
        ),
        get="Download train.zip, test.zip and the two tables from Zenodo. Archives are read as they are, or unpacked.",
        clips=7014,
        hours=None,
        verified="the DOI; files, columns, classes and counts only from others' loaders; any folders are accepted",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        voc125=(6983, 6.72),
    ),
)
