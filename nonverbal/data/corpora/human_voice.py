"""HumanVoiceDataset: sung notes and vowels of one singer; one of the ten corpora of Voc125.

Home: GitHub vocobox/human-voice-dataset. Licence: MIT, which allows commercial use and redistribution.
Expected: 179 clips, 0.06 h, 44.1 kHz; 75 notes, each in mono and in stereo, and 29 vowels.
Verified on the repository.

The mono and stereo exports are the same takes, in part under other names, so all clips are one recording session of one
speaker; clips that are the same after downmixing are kept once, like any duplicates. The suffixes -ko, -instable and
-bended mark failed, unstable and bent notes; they are sounds of a voice and are kept, as in Voc125. The singer is a man
aged 34; names give the pitch and the take.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import spdx

NAME = "human-voice"
PATTERN = r"(?:.*/)?(?P<kind>(?i:notes|voyels))/(?i:exports/(?:mono|stereo))/(?P<name>[^/]+)\.wav"
LOOKS_LIKE = "data/voices/martin/{notes,voyels}/exports/{mono,stereo}/*.wav"


def read(folder: Path) -> Reading:
    """Label: the vowel, or ``note``."""
    return read_by_name(folder, PATTERN, _describe, "not an exported note or vowel", LOOKS_LIKE)


def _describe(match: re.Match[str], path: str) -> Found:
    # Vowels are named {consonant}-{vowel}-{note}[-take], with _ if there is no consonant.
    vowel = re.match(r"[^-]+-([^-]+)-", match["name"])
    label = "note" if match["kind"].lower() == "notes" else vowel and vowel[1]
    note = re.search(r"(?:^|-)(?P<pitch>[A-Ga-g]#?\d)(?:-(?P<take>\d+))?(?=-|$)", match["name"])
    said = {"sex": "male", "age": 34, **(note.groupdict() if note else {})}
    return clip(NAME, path, said, label=label, speaker="martin", recording="martin")


CORPORA = (
    Corpus(
        name=NAME,
        title="HumanVoiceDataset: sung notes and vowels",
        purposes=("pretraining",),
        home="GitHub vocobox/human-voice-dataset",
        licence="MIT",
        terms=spdx("MIT", "GitHub vocobox/human-voice-dataset", True),
        get="git clone https://github.com/vocobox/human-voice-dataset",
        clips=179,
        hours=0.06,
        verified="all of it, on the repository",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        voc125=(179, 0.06),
    ),
)
