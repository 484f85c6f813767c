"""EMOVO: fourteen sentences by six speakers, in Italian; emotion in speech.

Home: voice.fub.it/activities/corpora/emovo (LREC 2014, L14-1478). Licence, from other people's notes: CC-BY-NC-SA-4.0
according to one index, none according to another; treated as no commercial use.
Expected: 588 clips, 48 kHz: 84 of each of seven emotions, 98 of each speaker. Stereo, from memory.
Verified: layout, names and counts, on a complete list of its files.

Names look like gio-f2-b2.wav: emotion, speaker, sentence.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Reading, from_names
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms, spdx, strictest

NAME = "emovo"
PATTERN = r"(?:.*/)?(?P<label>[a-z]{3})-(?P<speaker>(?P<sex>[fm])\d)-(?P<sentence>[blnd]\d)\.wav"
LABELS = {
    "neu": "neutral",
    "dis": "disgust",
    "gio": "joy",
    "pau": "fear",
    "rab": "anger",
    "sor": "surprise",
    "tri": "sadness",
}
LOOKS_LIKE = "EMOVO/<speaker>/<emotion>-<speaker>-<sentence>.wav"


def read(folder: Path) -> Reading:
    """Label: the first field of the name."""
    return read_by_name(folder, PATTERN, from_names(NAME, LABELS, language="it"), "not a clip", LOOKS_LIKE)


CORPORA = (
    Corpus(
        name=NAME,
        title="EMOVO: six speakers, in Italian",
        purposes=("emotion",),
        home="voice.fub.it/activities/corpora/emovo",
        licence="CC-BY-NC-SA-4.0, disputed: none stated",
        terms=strictest(
            spdx("CC-BY-NC-SA-4.0", "other people's notes, of one index", False),
            Terms("other people's notes: another index states none", False),
            disputed=True,
        ),
        get="Download it from its page.",
        clips=588,
        hours=None,
        verified="layout, names and counts, on a complete list of its files; not the licence",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("it",),
        classes=dict.fromkeys(LABELS.values(), 84),
    ),
)
