"""CNVVE: vocal expressions without words, for controlling a computer; one of voc2vec's six test sets.

Home: DOI 10.18419/darus-3898 (cleaned) and 10.18419/darus-3897 (raw), GitHub hedeshy/CNVVE (Interspeech 2023, doi
10.21437/Interspeech.2023-201). Licence of the data: unknown.
Expected: 921 clips, 0.2 h, 6 classes in voc2vec, probably the cleaned set; 950 clips of 42 speakers in the paper.
Verified: DOIs, classes and folders, on the authors' programs; names, on other people's loaders; not the raw sample
rate.

Cleaned clips, which are trimmed and resampled, are in a folder per class; raw ones are in folders within it, of unknown
meaning, or under raw. If a take exists in both, the cleaned one is read and the raw one skipped; the cleaned name may
end in _1, _2 for the segments into which the take was cut. Names are {class}_{speaker}_...; in other names, the speaker
is unknown. There is no official split; the authors' five folds do not separate speakers.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import prefer, read_by_name
from nonverbal.licences import Terms

NAME = "cnvve"
CLASSES = ("confirm", "decline", "continuous", "hush", "psst", "ahem")
PATTERN = rf"(?:.*/)?(?P<label>(?i:{'|'.join(CLASSES)}))/(?:[^/]+/)?(?P<name>[^/]+)\.wav"
RAW = rf"(?i)(?:^|/)(?:raw/|(?:{'|'.join(CLASSES)})/[^/]+/)"
SEGMENT = r"_\d+"
LOOKS_LIKE = f"{{{','.join(CLASSES)}}}/<class>_<speaker>_<more>.wav"


def read(folder: Path) -> Reading:
    """Label: the class's folder."""
    clips = read_by_name(folder, PATTERN, _describe, "not in a class's folder", LOOKS_LIKE)
    return prefer(clips, RAW, "raw; the cleaned clips are read", part=SEGMENT)


def _describe(match: re.Match[str], path: str) -> Found:
    label = match["label"].lower()
    speaker = re.match(rf"{label}_([^_]+)(?:_|$)", match["name"], re.IGNORECASE)
    return clip(NAME, path, label=label, speaker=speaker and speaker[1])


CORPORA = (
    Corpus(
        name=NAME,
        title="CNVVE: expressions to control a computer",
        purposes=("evaluation",),
        home="doi.org/10.18419/darus-3898",
        doi="10.18419/darus-3898",
        licence="unknown",
        terms=Terms("nobody states it", False),
        get="Download the cleaned set from DaRUS, or the raw one (10.18419/darus-3897).",
        clips=(921, 950),
        hours=0.2,
        verified="classes and folders, on the authors' programs; names from others' loaders; the counts are voc2vec's "
        "and the paper's",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
    ),
)
