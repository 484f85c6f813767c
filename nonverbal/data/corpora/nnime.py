"""NNIME: spontaneous dialogues of pairs of actors, in Mandarin, in six target atmospheres; part of Voc125.

Home: nnime.ee.nthu.edu.tw. Licence: a signed agreement, requested from biiclab@ee.nthu.edu.tw; no redistribution.
Expected: 5596 clips from memory, which is also the count in Voc125, with 3.55 h; 44 speakers in 100 dialogues.
Verified: subjects and atmospheres, on its site. Names are known only from other people's lists of files; the folders
and the sample rate are unknown, so any folders are accepted.

Names are {atmosphere}_{session}_{A or B}_{utterance}. The atmosphere is the aim of the scene, not what the utterance
expresses; the form of the annotations that say the latter is unknown, so clips have no label, and the atmosphere is the
attribute ``elicited``. A speaker is a session's A or B; a dialogue, of one atmosphere in one session, is the recording.
This is mostly speech; whether Voc125 kept only what is without words is unknown.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "nnime"
ATMOSPHERES = "angry|frustration|happy|neutral|sad|surprise"
PATTERN = rf"(?:.*/)?(?P<dialogue>(?P<elicited>{ATMOSPHERES})_(?P<session>\d\d))_(?P<partner>[AB])_\d+\.wav"
LOOKS_LIKE = "<atmosphere>_<session>_{A,B}_<utterance>.wav"


def read(folder: Path) -> Reading:
    """Label: none."""
    return read_by_name(folder, PATTERN, _describe, "not named as an utterance", LOOKS_LIKE)


def _describe(match: re.Match[str], path: str) -> Found:
    speaker, session = match["session"] + match["partner"], match["session"]
    said = {"elicited": match["elicited"]}
    return clip(NAME, path, said, speaker=speaker, session=session, recording=match["dialogue"], language="zh")


CORPORA = (
    Corpus(
        name=NAME,
        title="NNIME: dialogues in Mandarin",
        purposes=("pretraining",),
        home="nnime.ee.nthu.edu.tw",
        licence="signed agreement",
        terms=Terms("other people's notes, of its agreement", False, redistribution=False, agreement=True),
        get="Sign the agreement; requests go to biiclab@ee.nthu.edu.tw.",
        clips=5596,
        hours=None,
        verified="subjects and atmospheres, on its site; names from others' lists; the count from memory; not the "
        "folders: any are accepted",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("zh",),
        voc125=(5596, 3.55),
    ),
)
