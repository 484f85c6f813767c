"""ShEMO: 87 speakers, in Persian; emotion in speech.

Home: GitHub mansourehk/ShEMO (doi 10.1007/s10579-018-9427-x). Licence: free for academic use, nothing formal.
Expected: 3000 clips: anger 1059, neutral 1028, sadness 449, surprise 225, happiness 201, fear 38; 1263 of 31 women and
1737 of 56 men. 44.1 kHz, but 121 of 2838 files that were examined have 22.05 kHz.
Verified: licence, layout, names, counts and rates, on the repository and complete lists of its files.

Names look like F03S02.wav: speaker (sex and number), emotion, index. F is female at the beginning and fear after the
number. A clone without Git LFS has pointers of 134 bytes in place of female.zip and male.zip. Fear is often dropped.
Audio and transcripts do not always agree: 162 of the 3000 names have no transcript of the same name (one study's list
keeps the other 2838), and 163 clips have a transcript with another label. Here all clips are read, the label is that of
the audio's name, and transcripts are not used.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Reading, from_names
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "shemo"
PATTERN = r"(?:.*/)?(?P<speaker>(?P<sex>[FM])\d\d)(?P<label>[ANSWHF])\d+\.wav"
LABELS = {
    "A": "anger",
    "N": "neutral",
    "S": "sadness",
    "W": "surprise",
    "H": "happiness",
    "F": "fear",
}
LOOKS_LIKE = "{female,male}/<sex><speaker><letter><index>.wav"


def read(folder: Path) -> Reading:
    """Label: the fourth character of the name."""
    return read_by_name(folder, PATTERN, from_names(NAME, LABELS, language="fa"), "not a clip", LOOKS_LIKE)


CORPORA = (
    Corpus(
        name=NAME,
        title="ShEMO: 87 speakers, in Persian",
        purposes=("emotion",),
        home="GitHub mansourehk/ShEMO",
        licence="free for academic use",
        terms=Terms("GitHub mansourehk/ShEMO", True, remark="free for academic use; nothing formal"),
        get="git clone https://github.com/mansourehk/ShEMO with Git LFS. Its archives are read as they are, or "
        "unpacked.",
        clips=3000,
        hours=None,
        verified="licence, layout, names and counts; not the labels, which for 163 clips are others than their "
        "transcripts'",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("fa",),
        classes={"anger": 1059, "neutral": 1028, "sadness": 449, "surprise": 225, "happiness": 201, "fear": 38},
    ),
)
