"""TUT Rare Sound Events 2017, babies: baby cries mixed into scenes, and the cries themselves; part of Voc125.

Home: DOI 10.5281/zenodo.401395 (development); the evaluation set is record 1160455 of Zenodo, from memory.
Licence: for mixtures an EULA, academic and non-commercial from memory; for each source event its own, CC0, CC BY 3.0,
CC BY-NC 3.0 or Sampling+ 1.0.
Expected: 1500 mixtures of 30 s (12.5 h), 44.1 kHz, 24 bit, and the source events. Voc125 has 1540 clips, 13.17 h,
probably the mixtures and some source events.
Verified: folders, names, event lists, licences of the events and counts of the mixtures, on both READMEs.

Half of the mixtures contain no cry. The event list shows which: their label is ``background``, that of the others
babycry; without a list, there is no label. All mixtures are read, as Voc125's count suggests.
The same cries are in many mixtures and in the source events, and names do not show which, so everything is one
recording: a validation set gets none of it. The official subsets, divided by Freesound user, are kept as the split of
the mixtures.
"""

import re
from functools import partial
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.names import file_name
from nonverbal.data.corpora.readers import read_by_name, read_text, tables_of
from nonverbal.licences import Terms
from nonverbal.text import LINE_END

NAME = "tut-babies"
CRY = "babycry"
PATTERN = (
    r"(?:.*/)?(?:mixture_(?P<split>devtrain|devtest|evaltest)_babycry_\d+_[0-9a-f]{32}|(?i:events/babycry)/[^/.]+)\.wav"
)
LOOKS_LIKE = "mixture_{devtrain,devtest,evaltest}_babycry_<number>_<md5>.wav, and source_data/events/babycry/*.wav"


def read(folder: Path) -> Reading:
    """Label: babycry or background."""
    skip = "another class, a background, or no audio"
    return read_by_name(folder, PATTERN, partial(_describe, _events(folder)), skip, LOOKS_LIKE)


def _events(folder: Path) -> dict[str, str]:
    """Return the labels of the mixtures by name."""
    events = {}
    for table in tables_of(folder, r"(?:.*/)?(?:meta/)?event_list_\w+_babycry\.csv"):
        for line in LINE_END.split(read_text(folder, table)):
            # file, onset, offset and class; only the file for a mixture without an event.
            file, *event = line.split("\t")
            events[file_name(file.strip())] = CRY if any(map(str.strip, event)) else "background"
    return events


def _describe(events: dict[str, str], match: re.Match[str], path: str) -> Found:
    label = events.get(file_name(path)) if match["split"] else CRY
    return clip(NAME, path, label=label, recording=CRY, split=match["split"])


CORPORA = (
    Corpus(
        name=NAME,
        title="TUT Rare Sound Events 2017: babies",
        purposes=("pretraining",),
        home="zenodo.org/records/401395",
        doi="10.5281/zenodo.401395",
        licence="EULA; source events per clip: CC0, CC BY 3.0, CC BY-NC 3.0 or Sampling+ 1.0",
        terms=Terms(
            "memory, of the EULA; both READMEs, of the source events",
            False,
            remark="mixtures: academic use, not commercial; of source events it depends on the clip",
        ),
        get="Download the development and the evaluation set from Zenodo. Zip archives are read as they are.",
        clips=None,
        hours=None,
        verified="folders, names, event lists and counts of the mixtures, on both READMEs; not the EULA's terms, nor "
        "which source events are in Voc125",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        voc125=(1540, 13.17),
    ),
)
