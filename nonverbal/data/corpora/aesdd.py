"""AESDD, the Acted Emotional Speech Dynamic Database, in Greek; emotion in speech.

Home: m3c.web.auth.gr/research/aesdd-speech-emotion-recognition. Licence: not stated, according to other people's notes.
Expected: 604 clips, 44.1 kHz: disgust 122, sadness 122, anger 121, fear 120, happiness 119.
Verified: layout, names and counts, on a complete list of its files.

Names look like a03 (3).wav: emotion, sentence, speaker. The speaker is a number, written (01) in some names; a letter
after it marks further takes. There are six speakers, although five actors are often quoted; odd numbers are men,
according to other people's notes. s05 (3).wav, the 605th file, has no samples and is skipped.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.attributes import by_parity
from nonverbal.data.corpora.base import Corpus, Found, Reading, Skipped, clip
from nonverbal.data.corpora.names import file_name
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "aesdd"
PATTERN = r"(?:.*/)?(?P<label>[adfhs])(?P<sentence>\d\d) *\((?P<speaker>\d+)\) *(?P<take>[a-z])?\.wav"
LABELS = {"a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "s": "sadness"}
BROKEN = "s05 (3).wav"
LOOKS_LIKE = "<emotion>/<letter><sentence> (<speaker>).wav"


def read(folder: Path) -> Reading:
    """Label: the letter of the name."""
    return read_by_name(folder, PATTERN, _describe, "not a clip", LOOKS_LIKE)


def _describe(match: re.Match[str], path: str) -> Found | Skipped:
    if file_name(path) == BROKEN:
        return Skipped(path, "without samples as distributed")
    speaker = int(match["speaker"])
    said = {"sex": by_parity(speaker, even="female", odd="male"), "sentence": match["sentence"], "take": match["take"]}
    return clip(NAME, path, said, label=LABELS[match["label"]], speaker=speaker, language="el")


CORPORA = (
    Corpus(
        name=NAME,
        title="AESDD: acted emotional speech, in Greek",
        purposes=("emotion",),
        home="m3c.web.auth.gr/research/aesdd-speech-emotion-recognition",
        licence="unknown",
        terms=Terms("nobody states it", False),
        get="Download Acted Emotional Speech Dynamic Database.zip from its page. It is read as it is, or unpacked.",
        clips=604,
        hours=None,
        verified="layout, names and counts, on a complete list of its files; not the licence",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("el",),
        classes={"disgust": 122, "sadness": 122, "anger": 121, "fear": 120, "happiness": 119},
    ),
)
