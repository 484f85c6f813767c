"""AudioSet, vocalisations: ten-second cuts of YouTube videos labelled with sounds of a voice; part of Voc125.

Home: research.google.com/audioset. Licence: CC-BY-SA-4.0 for the ontology, CC-BY-4.0 from memory for the segment
tables; neither covers the audio, which belongs to YouTube videos, is not distributed, and is in part no longer
available.
Expected: 13439 clips, 36.94 h in Voc125. Which labels these have is unknown: voc2vec publishes no list.
Verified: ids and names of the labels, on the ontology and the list of classes. The form of the segment tables is known
only from other people's loaders, and the names of files only from memory: several are accepted, in any folders.

The choice made here: a clip has a label of a vocal sound (``CLASSES``), and no label of speech, singing or a crowd
(``SPEECH``, ``SINGING``, ``CROWD``); music in general does not matter. The vocal sounds exclude sounds that are not of
one voice (fart, cheering, children playing) or that are like speech (whispering). Yawn, wolf-whistling and booing are
in the ontology, but label no clips. A clip of several vocal sounds has no label here; they are its attribute
``sounds``. A video is assumed to have one segment; it is the recording, because nobody says who is heard. Segments
without a file do not count as missing, because there are far more than anyone wants. Without a segment table, every
file that is named after a video is read, without a label, whatever it contains.
"""

import csv
import io
import re
from functools import partial
from pathlib import Path

from nonverbal.data.corpora.base import AUDIO, Corpus, Found, Reading, Skipped, clip
from nonverbal.data.corpora.listing import files
from nonverbal.data.corpora.names import readable
from nonverbal.data.corpora.readers import read_by_name, read_text, tables_of
from nonverbal.licences import Terms

NAME = "audioset"
CLASSES = {
    "/m/01j3sz": "Laughter", "/t/dd00001": "Baby laughter", "/m/07r660_": "Giggle", "/m/07s04w4": "Snicker",
    "/m/07sq110": "Belly laugh", "/m/07rgt08": "Chuckle, chortle", "/m/0463cq4": "Crying, sobbing",
    "/t/dd00002": "Baby cry, infant cry", "/m/07qz6j3": "Whimper", "/m/07qw_06": "Wail, moan", "/m/07plz5l": "Sigh",
    "/m/02fxyj": "Humming", "/m/07s2xch": "Groan", "/m/07r4k75": "Grunt", "/m/01w250": "Whistling",
    "/m/07p6fty": "Shout", "/m/07q4ntr": "Bellow", "/m/07rwj3x": "Whoop", "/m/07sr1lc": "Yell",
    "/m/04gy_2": "Battle cry", "/t/dd00135": "Children shouting", "/m/0lyf6": "Breathing", "/m/07mzm6": "Wheeze",
    "/m/01d3sd": "Snoring", "/m/07s0dtb": "Gasp", "/m/07pyy8b": "Pant", "/m/07q0yl5": "Snort", "/m/01b_21": "Cough",
    "/m/0dl9sf8": "Throat clearing", "/m/01hsr_": "Sneeze", "/m/07ppn3j": "Sniff", "/m/03cczk": "Chewing, mastication",
    "/m/07pdhp0": "Biting", "/m/0939n_": "Gargling", "/m/01g90h": "Stomach rumble", "/m/03q5_w": "Burping, eructation",
    "/m/02p3nc": "Hiccup", "/m/03qc9zr": "Screaming", "/m/0261r1": "Babbling",
}  # fmt: skip
SPEECH = {"/m/09x0r", "/m/05zppz", "/m/02zsn", "/m/0ytgt", "/m/01h8n0", "/m/02qldy", "/m/0brhx"}
SINGING = {
    "/m/015lz1", "/m/0l14jd", "/m/01swy6", "/m/02bk07", "/m/01c194", "/t/dd00003", "/t/dd00004", "/t/dd00005",
    "/t/dd00006", "/m/06bxc",
}  # fmt: skip
CROWD = {"/m/07rkbfh", "/m/03qtwd", "/m/07qfr4h"}
TABLES = r"(?:.*/)?(?:balanced_train|unbalanced_train|eval)_segments\.csv"
# <YTID>, Y<YTID>, <YTID>_<start> or <YTID>_<start>_<end>; an id has 11 characters and may begin with a dash.
PATTERN = rf"(?:.*/)?Y?(?P<id>[\w-]{{11}})(?:_[\d.]+){{0,2}}{AUDIO}"
LOOKS_LIKE = "{balanced_train,unbalanced_train,eval}_segments.csv, and files named by an id of YouTube, <YTID>.wav"

Segments = dict[str, tuple[str, set[str]]]
"""Split and ids of labels by YTID."""


def read(folder: Path) -> Reading:
    """Label: the class, if it is the only one of a vocal sound."""
    tables = tables_of(folder, TABLES)
    segments = _segments(folder, tables) if tables else None
    return read_by_name(folder, PATTERN, partial(_describe, segments), "not named by an id of YouTube", LOOKS_LIKE)


def _segments(folder: Path, tables: list[str]) -> Segments:
    """Return the segments of the videos that exist here; the tables have millions of others."""
    matches = (re.fullmatch(PATTERN, readable(path)) for path in files(folder))
    there = {match["id"] for match in matches if match}
    segments = {}
    for table in tables:
        split = Path(table).name.lower().removesuffix("_segments.csv")
        # Three lines of comments come first; like the rows of other videos, they contain no id of a file here.
        for row in csv.reader(io.StringIO(read_text(folder, table), newline=""), skipinitialspace=True):
            if len(row) >= 4 and row[0] in there:
                segments[row[0]] = split, {label.strip() for label in row[3].split(",")}
    return segments


def _describe(segments: Segments | None, match: re.Match[str], path: str) -> Found | Skipped:
    if segments is None:
        return clip(NAME, path, recording=match["id"])
    if match["id"] not in segments:
        return Skipped(path, "not in the segment tables")
    split, labels = segments[match["id"]]
    vocal = sorted(labels & CLASSES.keys())
    if not vocal:
        return Skipped(path, "no vocal sound among its labels")
    if labels & (SPEECH | SINGING | CROWD):
        return Skipped(path, "labelled as speech, singing or a crowd too")
    label = CLASSES[vocal[0]] if len(vocal) == 1 else None
    said = {"sounds": "; ".join(CLASSES[mid] for mid in vocal)} if label is None else {}
    return clip(NAME, path, said, label=label, recording=match["id"], split=split)


CORPORA = (
    Corpus(
        name=NAME,
        title="AudioSet: vocalisations",
        purposes=("pretraining",),
        home="research.google.com/audioset",
        licence="unclear: cuts of YouTube videos",
        terms=Terms(
            "the licences of ontology and segment tables",
            False,
            remark="they do not cover the audio, which is of YouTube videos",
        ),
        get="Get the segment tables from its home, and of each video the ten seconds named there; the audio is not "
        "distributed. Put the tables beside the audio.",
        clips=None,
        hours=None,
        verified="ids and names of the labels; not the form of the tables (others' loaders), nor which labels Voc125 "
        "took; several names of files are accepted, in any folders",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        voc125=(13439, 36.94),
    ),
)
