"""Oréau: 32 speakers, in French; emotion in speech.

Home: DOI 10.5281/zenodo.4405783. Licence: CC-BY-4.0 according to other people's notes: commercial use and
redistribution with attribution.
Expected of OréauFR_02, validated by listeners: 434 clips, 44.1 kHz: neutral 70, anger 67, disgust 67, happiness 62,
surprise 62, sadness 55, fear 51. OréauFR_01 has 502, according to other people's notes.
Verified: layout, names and counts of 02, on a complete list of its files.

Names look like 10a02Ja.wav: speaker, utterance, emotion, version; the sex is a folder. 02 is a subset of 01: if both
exist, 01 is skipped. The é of the folders is one character in some copies and two in others (e and an accent), so it is
ignored when they are told apart.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Reading, from_names
from nonverbal.data.corpora.readers import prefer, read_by_name
from nonverbal.licences import spdx

NAME = "oreau"
# The utterance is a letter and two digits; two names also have a z.
PATTERN = (
    r"(?:(?:.*/)?(?P<sex>[fm])/[^/]+/|(?:.*/)?)"
    r"(?P<speaker>\d\d)(?P<sentence>\w{3})(?P<label>[CDJNPST])(?P<take>[a-z])\.wav"
)
LABELS = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
LOOKS_LIKE = "OréauFR_02/{f,m}/sess<letter>/<speaker><utterance><letter><version>.wav"


def read(folder: Path) -> Reading:
    """Label: the letter of the name."""
    clips = read_by_name(folder, PATTERN, from_names(NAME, LABELS, language="fr"), "not a clip", LOOKS_LIKE)
    return prefer(clips, "FR_01/", "02, which listeners validated, is there too", chosen=True)


CORPORA = (
    Corpus(
        name=NAME,
        title="Oréau: 32 speakers, in French",
        purposes=("emotion",),
        home="zenodo.org/records/4405783",
        doi="10.5281/zenodo.4405783",
        licence="CC-BY-4.0",
        terms=spdx("CC-BY-4.0", "other people's notes", False),
        get="Download OréauFR_02.rar from Zenodo, and unpack it.",
        clips=434,
        hours=None,
        verified="layout, names and counts of 02, on a complete list of its files; not the licence, nor 01",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("fr",),
        classes={
            "neutral": 70,
            "anger": 67,
            "disgust": 67,
            "happiness": 62,
            "surprise": 62,
            "sadness": 55,
            "fear": 51,
        },
    ),
)
