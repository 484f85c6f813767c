"""VocalSound: laughter, sighs, coughs, throat clearing, sneezes and sniffs of 3365 people; part of Voc125.

Home: GitHub YuanGongND/vocalsound (ICASSP 2022, doi 10.1109/ICASSP43922.2022.9746828).
Licence: CC-BY-SA-4.0, which allows commercial use and redistribution with share-alike.
Expected: 21024 clips; train 15570, validation 1860, test 3594, from memory. Voc125 has 20985, 24.37 h; why 39 are
missing is unknown.
Verified: folders, names, counts of clips and speakers, and licence, on its documentation.

The same clips are distributed at 16 kHz and at 44 kHz. If a clip exists twice, the one at 16 kHz is read and the other
skipped, because training uses 16 kHz. The official split is in datafiles, with absolute paths on the authors' machine,
so files are found by name; it separates speakers, as others have checked. A speaker is the first field of a name (sex
and number), a session the first two (the second is the round). Ages and countries are in tables whose columns are not
known here, and are not read.
"""

import re
from functools import partial
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.names import file_name
from nonverbal.data.corpora.readers import prefer, read_by_name, read_json, tables_of
from nonverbal.errors import UserError
from nonverbal.licences import spdx

NAME = "vocalsound"
CLASSES = ("laughter", "sigh", "cough", "throatclearing", "sneeze", "sniff")
PATTERN = rf"(?:.*/)?(?P<session>(?P<speaker>(?P<sex>[fm])\d+)_\d+)_(?P<label>{'|'.join(CLASSES)})\.wav"
SPLITS = {"tr": "train", "val": "validation", "te": "test"}
LOOKS_LIKE = "audio_16k/{f,m}<number>_<round>_<class>.wav, and datafiles/{tr,val,te}.json"


def read(folder: Path) -> Reading:
    """Label: the class, as in the name."""
    clips = read_by_name(folder, PATTERN, partial(_describe, _splits(folder)), "not a clip", LOOKS_LIKE)
    return prefer(clips, "(?i)audio_44k/", "the same clips are in audio_16k")


def _splits(folder: Path) -> dict[str, str]:
    """Return the split of each clip by name.

    Raises:
        UserError: a list is not of the form ``{"data": [{"wav": PATH}]}``.
    """
    splits: dict[str, str] = {}
    for table in tables_of(folder, r"(?:.*/)?datafiles/(?:tr|val|te)\.json"):
        content = read_json(folder, table)
        try:
            names = [file_name(row["wav"]) for row in content["data"]]
        except (TypeError, KeyError) as error:
            raise UserError(
                f'{folder / table} is not of the form {{"data": [{{"wav": PATH}}]}}; download it again'
            ) from error
        splits |= dict.fromkeys(names, SPLITS[Path(table).stem.lower()])
    return splits


def _describe(splits: dict[str, str], match: re.Match[str], path: str) -> Found:
    known = {key: match[key] for key in ("session", "speaker", "label")}
    return clip(NAME, path, {"sex": match["sex"]}, **known, split=splits.get(file_name(path)))


CORPORA = (
    Corpus(
        name=NAME,
        title="VocalSound: six classes, 3365 people",
        purposes=("pretraining",),
        home="GitHub YuanGongND/vocalsound",
        licence="CC-BY-SA-4.0",
        terms=spdx("CC-BY-SA-4.0", "GitHub YuanGongND/vocalsound", True),
        get="Download vs_release_16k.zip (1.7 GB) by the links in its README. It is read as it is, or unpacked.",
        clips=21024,
        hours=None,
        verified="folders, names, counts and licence, on its documentation; not the sizes of the split",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        voc125=(20985, 24.37),
    ),
)
