"""VIVAE: wordless bursts of emotion, by eleven women; one of voc2vec's six test sets.

Home: DOI 10.5281/zenodo.4066235 (Holz et al., Emotion 2022, doi 10.1037/emo0001048).
Licence: CC-BY-NC-4.0 according to a copy of its README, CC-BY-NC-SA-4.0 with restricted access according to an index:
no commercial use.
Expected: 1085 clips, 0.27 h, 44.1 kHz: pleasure 202, surprise 187, pain 185, fear 176, anger 174, achievement 161.
Verified: names, classes and counts of the full set; not the layout, which is flat in some copies and has a folder per
class in others.

core_set contains 480 of the same files under the same names. A file that is also in the full set is skipped there.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Reading, from_names
from nonverbal.data.corpora.readers import prefer, read_by_name
from nonverbal.licences import Terms, spdx, strictest

NAME = "vivae"
CLASSES = {"pleasure": 202, "surprise": 187, "pain": 185, "fear": 176, "anger": 174, "achievement": 161}
PATTERN = rf"(?:.*/)?(?P<speaker>S\d\d)_(?P<label>{'|'.join(CLASSES)})_(?P<intensity>low|moderate|strong|peak)_\d+\.wav"
LOOKS_LIKE = "full_set/S<speaker>_<emotion>_<intensity>_<number>.wav"


def read(folder: Path) -> Reading:
    """Label: the emotion."""
    clips = read_by_name(folder, PATTERN, from_names(NAME), "not a clip of the full set", LOOKS_LIKE)
    return prefer(clips, "(?i)core_set/", "in the full set too")


CORPORA = (
    Corpus(
        name=NAME,
        title="VIVAE: bursts of emotion",
        purposes=("evaluation",),
        home="zenodo.org/records/4066235",
        doi="10.5281/zenodo.4066235",
        licence="CC-BY-NC-4.0, disputed: CC-BY-NC-SA-4.0",
        terms=strictest(
            spdx("CC-BY-NC-4.0", "other people's notes, of a copy of its README", False),
            spdx("CC-BY-NC-SA-4.0", "other people's notes, of an index", False),
            # According to the index, access is restricted.
            Terms("other people's notes, of an index", False, False, agreement=True),
            disputed=True,
        ),
        get="Download VIVAE.zip from Zenodo; access may have to be asked for. It is read as it is, or unpacked.",
        clips=1085,
        hours=0.27,
        verified="names, classes and counts; not the tree: any folders are accepted",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        classes=CLASSES,
    ),
)
