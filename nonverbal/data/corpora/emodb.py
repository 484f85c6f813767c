"""EmoDB: ten speakers, in German; emotion in speech.

Home: emodb.bilderbar.info; release 2.0, DOI 10.5281/zenodo.17651657. Licence, from other people's notes: CC-BY-4.0
according to one index, and none stated on older pages.
Expected of the old release: 535 clips, 16 kHz: anger 127, boredom 81, neutral 79, happiness 71, fear 69, sadness 62,
disgust 46. The number of clips in 2.0 is not confirmed.
Verified: names and counts of the old release. From other people's notes: the tables of 2.0.

Names look like 03a01Wa.wav: speaker, text, emotion, version. The letters are German: W anger (Wut), L boredom, E
disgust, A fear (Angst), F happiness, T sadness (Trauer), N neutral. In 2.0, the label is that of db.emotion.csv, spelt
as there; tables named gold_standard say which clips are for training and which for testing. Folds in use elsewhere have
every speaker in each fold; holding out a speaker is stricter.
"""

import re
from functools import partial
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.names import file_name
from nonverbal.data.corpora.readers import above, matching, read_by_name, read_by_table, read_table
from nonverbal.licences import Terms

NAME = "emodb"
PATTERN = r"(?:.*/)?(?P<speaker>\d\d)(?P<sentence>[ab]\d\d)(?P<label>[WLEAFTN])(?P<take>[a-z])\.wav"
LABELS = {
    "W": "anger",
    "L": "boredom",
    "E": "disgust",
    "A": "fear",
    "F": "happiness",
    "T": "sadness",
    "N": "neutral",
}
MEN = {"03", "10", "11", "12", "15"}
WOMEN = {"08", "09", "13", "14", "16"}
TABLE = r"(?:.*/)?db\.emotion\.csv"
FILES = r"(?:.*/)?db\.files\.csv"
SPLIT = r"(?:.*/)?db\.emotion\.categories\.{}\.gold_standard\.csv"
LOOKS_LIKE = "wav/<speaker><text><letter><version>.wav, or db.emotion.csv of release 2.0"


def read(folder: Path) -> Reading:
    """Label: the table's in release 2.0, or else the letter of the name."""
    if not matching(folder, TABLE) and not above(folder, TABLE):
        return read_by_name(folder, PATTERN, _describe_old, "not a clip", LOOKS_LIKE)
    speakers = {file_name(row["file"]): row.get("speaker") for row in _rows(folder, FILES)}
    splits = {
        file_name(row["file"]): split for split in ("train", "test") for row in _rows(folder, SPLIT.format(split))
    }
    describe = partial(_describe, speakers, splits)
    return read_by_table(folder, TABLE, "file", describe, "not in db.emotion.csv", LOOKS_LIKE)


def _rows(folder: Path, tables: str) -> list[dict[str, str]]:
    return [row for table in matching(folder, tables) for row in read_table(folder, table) if "file" in row]


def _describe_old(match: re.Match[str], path: str) -> Found:
    speaker = match["speaker"]
    return clip(NAME, path, _attributes(match), label=LABELS[match["label"]], speaker=speaker, language="de")


def _attributes(match: re.Match[str]) -> dict[str, str]:
    sex = "male" if match["speaker"] in MEN else "female" if match["speaker"] in WOMEN else ""
    return {"sex": sex, "sentence": match["sentence"], "take": match["take"]}


def _describe(
    speakers: dict[str, str | None], splits: dict[str, str], row: dict[str, str], path: str, table: str
) -> Found:
    name = file_name(path)
    old = re.fullmatch(PATTERN, name)
    # The names of speakers in the table are not confirmed; files are named like those of the old release.
    speaker = old["speaker"] if old else speakers.get(name)
    said = _attributes(old) if old else {}
    return clip(NAME, path, said, label=row.get("emotion"), speaker=speaker, language="de", split=splits.get(name))


CORPORA = (
    Corpus(
        name=NAME,
        title="EmoDB: ten speakers, in German",
        purposes=("emotion",),
        home="emodb.bilderbar.info",
        doi="10.5281/zenodo.17651657",
        licence="CC-BY-4.0, disputed: none stated",
        terms=Terms("other people's notes: one index has CC-BY-4.0, older pages state none", False, disputed=True),
        get="Download the old release from its page, or emodb_2.0.zip from Zenodo. Read as it is, or unpacked.",
        clips=535,
        hours=None,
        verified="names and counts of the old release; not the licence, nor 2.0: its tables are other people's word, "
        "its number of clips is not known",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("de",),
        classes={
            "anger": 127,
            "boredom": 81,
            "neutral": 79,
            "happiness": 71,
            "fear": 69,
            "sadness": 62,
            "disgust": 46,
        },
    ),
)
