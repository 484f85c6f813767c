"""Nonverbal Vocalization (Deeply, SLR99): sixteen sounds from teeth-chattering to screaming; a test set of voc2vec.

Home: openslr.org/99, mirrored in GitHub deeplyinc/Nonverbal-Vocalization-Dataset. Licence: CC-BY-NC-ND-4.0: no
commercial use, no redistribution of modified audio.
Expected: 727 clips of 410 speakers, counted on the mirror; its README says about 800 clips of about 500 speakers, 0.6
h. 16 kHz, 16 classes.
Verified: names, codes and licence, on the mirror, whose files were counted; not the archive, which seems larger.

Names are {speaker}_{class}_{trial}_{sex}_{age}_{location}_{quality}_{noise}. The label is the class by its code, not
the folder, whose spelling is unknown. Attributes are the sex (0 is female and 1 male; one loader has reversed them),
the age, the trial (``take``), and where and how it was recorded. There is no official split.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Reading, from_names
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import spdx

NAME = "nonverbal-vocalization"
CLASSES = (
    "teeth-chattering", "teeth-grinding", "tongue-clicking", "nose-blowing", "coughing", "yawning", "throat-clearing",
    "sighing", "lip-popping", "lip-smacking", "panting", "crying", "laughing", "sneezing", "moaning", "screaming",
)  # fmt: skip
"""The classes, in the order of their codes."""
PATTERN = (
    r"(?:.*/)?(?P<speaker>[0-9A-Za-z]+)_(?P<label>\d+)_(?P<take>\d+)_(?P<sex>[^_/]+)_(?P<age>[^_/]+)_"
    r"(?P<location>[^_/]+)_(?P<quality>[^_/]+)_(?P<noise>[^_/]+)\.wav"
)
CODES = {
    "sex": {"0": "female", "1": "male"},
    "location": {"0": "indoor", "1": "outdoor"},
    "quality": {"0": "high", "1": "low"},
    "noise": {"0": "clean", "1": "noisy"},
}
LOOKS_LIKE = "<class>/<speaker>_<class>_<trial>_<sex>_<age>_<location>_<quality>_<noise>.wav"


def read(folder: Path) -> Reading:
    """Label: the class."""
    codes = {str(code): label for code, label in enumerate(CLASSES)}
    return read_by_name(folder, PATTERN, from_names(NAME, codes, CODES), "not named as a clip", LOOKS_LIKE)


CORPORA = (
    Corpus(
        name=NAME,
        title="Nonverbal Vocalization (Deeply, SLR99): sixteen sounds",
        purposes=("evaluation",),
        home="openslr.org/99",
        licence="CC-BY-NC-ND-4.0",
        terms=spdx("CC-BY-NC-ND-4.0", "GitHub deeplyinc/Nonverbal-Vocalization-Dataset", True),
        get="Download NonverbalVocalization.tgz (44 MB) from OpenSLR and unpack it.",
        clips=(727, 800),
        hours=0.6,
        verified="names, codes, licence and 727 clips, on the mirror; not the archive, whose count is said to be about "
        "800; any folders are accepted",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
    ),
)
