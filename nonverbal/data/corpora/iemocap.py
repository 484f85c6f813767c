"""IEMOCAP: ten speakers in pairs, scripted and improvised, in English; emotion in speech.

Home: sail.usc.edu/iemocap. Licence, from other people's notes: a signed release form; research, no redistribution.
Expected: 5531 turns in the usual four classes: neutral 1708, anger 1103, sadness 1084, and as one class happiness 595
and excitement 1041; 1085, 1023, 1151, 1031 and 1241 of them in sessions 1 to 5. The total number of turns is not known
here. 16 kHz.
Verified: layout, names and the counts above, on lists and loaders of other projects; the form of label lines, on two
loaders. From memory: that there are ._ files of macOS among the label files.

The label is the code in a turn's line of dialog/EmoEvaluation/*.txt, in words. Lines of single raters, and the folders
Attribute, Categorical and Self-evaluation, contain other things. Happiness and excitement stay apart: the four-class
protocol may merge them. Turns without agreement (xxx) are clips without a label. The three means in a line are the
attributes valence, arousal (activation) and dominance. Turns that end in XX occur only in transcripts, and are not
clips.

Names look like Ses01F_impro04_M000: the letter after the session says who wears the motion capture, not who speaks; in
2750 of the 5531 turns, it is the other speaker. The speaker is the session and the letter of the last field. A dialog
is the recording; the two speakers of a session share dialogs, and so stay together.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import lines_of, read_by_rows
from nonverbal.licences import Terms

NAME = "iemocap"
# But not those in the folders below it.
LABEL_FILES = r"(?:.*/)?EmoEvaluation/[^/]+\.txt"
LABELS_ABOVE = r"dialog/EmoEvaluation/[^/]+\.txt"
# [start - end] <tab> turn <tab> code <tab> [valence, activation, dominance]
LABEL_LINE = re.compile(
    r"^\[[^\]]*\]\s+(?P<turn>(?P<dialog>Ses(?P<session>\d\d)[FM]_(?P<style>impro|script)?\S+)_(?P<speaker>[FM])\w+)\s+"
    r"(?P<code>\w+)\s+\[(?P<ratings>[^\]]*)",
    re.MULTILINE,
)
LABELS = {
    "ang": "anger",
    "hap": "happiness",
    "sad": "sadness",
    "neu": "neutral",
    "exc": "excitement",
    "fru": "frustration",
    "fea": "fear",
    "sur": "surprise",
    "dis": "disgust",
    "oth": "other",
}
LOOKS_LIKE = "Session<n>/dialog/EmoEvaluation/<dialog>.txt, and Session<n>/sentences/wav/<dialog>/<turn>.wav"


def read(folder: Path) -> Reading:
    """Label: the raters' agreement."""
    lines = {f"{line['turn']}.wav": line for line in lines_of(folder, LABEL_FILES, LABEL_LINE)}
    return read_by_rows(folder, lines, _describe, "not a labelled turn", LOOKS_LIKE, LABELS_ABOVE)


def _describe(line: re.Match[str], path: str) -> Found:
    return clip(
        NAME,
        path,
        _attributes(line),
        label=LABELS.get(line["code"]),
        speaker=line["session"] + line["speaker"],
        session=line["session"],
        recording=line["dialog"],
        language="en",
    )


def _attributes(line: re.Match[str]) -> dict[str, str | None]:
    ratings = dict(zip(("valence", "arousal", "dominance"), line["ratings"].split(","), strict=False))
    style = {"impro": "improvised", "script": "scripted"}.get(line["style"])
    return {"sex": line["speaker"], "style": style, **ratings}


CORPORA = (
    Corpus(
        name=NAME,
        title="IEMOCAP: pairs of speakers, in English",
        purposes=("emotion",),
        home="sail.usc.edu/iemocap",
        licence="signed release form",
        terms=Terms(
            "other people's notes, of the release form",
            False,
            commercial=False,
            redistribution=False,
            agreement=True,
            remark="research",
        ),
        get="Sign the release form on its page, and unpack IEMOCAP_full_release. Copies elsewhere are not licensed.",
        clips=None,
        hours=None,
        verified="layout, names and the four classes' counts, on other projects' lists; label lines, on two loaders; "
        "not the licence, nor the number of turns",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("en",),
        classes={"neutral": 1708, "anger": 1103, "sadness": 1084, "excitement": 1041, "happiness": 595},
    ),
)
