"""EYASE: clips from a television drama, in Egyptian Arabic; emotion in speech.

Home: ResearchGate, publication 341001383. Licence, from other people's notes: on request, no redistribution.
Expected: 579 clips, four classes, 44.1 kHz; all from memory.
Verified only on other people's loaders: folders, and the place of the label in names. How names begin is not known.

Names look like Female01/<prefix>_ang (3).wav: the folder is the speaker, and the emotion is between the last underscore
and the space that follow the prefix.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "eyase"
PATTERN = r"(?:.*/)?(?P<speaker>(?P<sex>(?i:Female|Male))\d+)/(?:.*/)?(?P<name>[^/]+)\.wav"
LABELS = {"ang": "anger", "hap": "happiness", "neu": "neutral", "sad": "sadness"}
LOOKS_LIKE = "{Female,Male}<number>/<prefix>_<emotion> (<number>).wav"


def read(folder: Path) -> Reading:
    """Label: the last part of the first word of the name."""
    return read_by_name(folder, PATTERN, _describe, "not a clip", LOOKS_LIKE)


def _describe(match: re.Match[str], path: str) -> Found:
    code = match["name"].split(" ")[0].split("_")[-1]
    speaker = match["speaker"].capitalize()
    return clip(NAME, path, {"sex": match["sex"]}, label=LABELS.get(code.lower()), speaker=speaker, language="ar")


CORPORA = (
    Corpus(
        name=NAME,
        title="EYASE: a television drama, in Egyptian Arabic",
        purposes=("emotion",),
        home="ResearchGate, publication 341001383",
        licence="on request",
        terms=Terms("other people's notes", False, redistribution=False, agreement=True, remark="on request"),
        get="Ask its authors on ResearchGate.",
        clips=579,
        hours=None,
        verified="nothing on the corpus itself: folders and names are other people's, the number of clips is from "
        "memory; other codes of emotion give clips without a label",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("ar",),
    ),
)
