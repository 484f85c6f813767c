"""MSP-IMPROV: twelve actors, two per session, reading and improvising, in English; emotion in speech.

Home: the MSP lab of UT Dallas. Licence, from other people's notes: academic or commercial, no redistribution.
Expected: 8438 clips, 7798 of them in the usual four classes: neutral 3477, happiness 2644, sadness 885 and anger 792.
The sample rate is not known.
Verified: the counts. Known only from other people's loaders and lists: layout, names, label file.

The label is field 2 of a clip's line in Evaluation.txt (Evalution.txt in some releases), not the letter of the name,
which is the intended emotion. Lines name UTD-IMPROV-....avi, files are called MSP-IMPROV-....wav. Clips without
agreement (X) have no label. The lines of single raters follow, some of them twice; they are not read.

Names look like MSP-IMPROV-S01A-F02-R-FF01: sentence and intended emotion, speaker, type (R target read, T target
improvised, S other improvised, P natural; from memory), turn. The session is the number of the speaker. It is also the
recording: the two speakers of a session are held out together.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import lines_of, read_by_rows
from nonverbal.licences import Terms

NAME = "msp-improv"
LABEL_FILES = r"(?:.*/)?(?:Evaluation|Evalution)\.txt"
# UTD-IMPROV-<id>.avi; <code>; A:<x>; V:<x>; D:<x> ; N:<x>;
LABEL_LINE = re.compile(
    r"^\s*UTD-IMPROV-(?P<id>(?P<sentence>S\d+)?(?P<aim>\w)-(?P<speaker>(?P<sex>[FM])(?P<session>\d\d))-(?P<type>\w+)-\w+)"
    r"\.avi\s*;\s*(?P<code>\w+)\s*;(?P<ratings>[^\r\n]*)",
    re.MULTILINE,
)
LABELS = {"A": "anger", "H": "happiness", "S": "sadness", "N": "neutral", "O": "other"}
RATINGS = {"A": "arousal", "V": "valence", "D": "dominance", "N": "naturalness"}
STYLES = {"R": "target read", "T": "target improvised", "S": "other improvised", "P": "natural"}
LOOKS_LIKE = "Evaluation.txt, and session<n>/S<sentence><aim>/{P,R,S,T}/MSP-IMPROV-<id>.wav"


def read(folder: Path) -> Reading:
    """Label: the raters' agreement."""
    lines = {f"MSP-IMPROV-{line['id']}.wav": line for line in lines_of(folder, LABEL_FILES, LABEL_LINE)}
    return read_by_rows(folder, lines, _describe, "not a clip of Evaluation.txt", LOOKS_LIKE, LABEL_FILES)


def _describe(line: re.Match[str], path: str) -> Found:
    session = str(int(line["session"]))
    label = LABELS.get(line["code"])
    speaker = line["speaker"]
    return clip(
        NAME, path, _attributes(line), label=label, speaker=speaker, session=session, recording=session, language="en"
    )


def _attributes(line: re.Match[str]) -> dict[str, str | None]:
    ratings = {RATINGS[letter]: value for letter, value in re.findall(r"\b([AVDN]):\s*([\d.]+)", line["ratings"])}
    return {
        "sex": line["sex"],
        "elicited": LABELS.get(line["aim"]),
        "style": STYLES.get(line["type"]),
        "sentence": line["sentence"],
        **ratings,
    }


CORPORA = (
    Corpus(
        name=NAME,
        title="MSP-IMPROV: twelve actors, in English",
        purposes=("emotion",),
        home="MSP lab, UT Dallas",
        licence="signed agreement, academic or commercial",
        terms=Terms(
            "other people's notes",
            False,
            redistribution=False,
            agreement=True,
            remark="academic or commercial, as was agreed",
        ),
        get="Ask the MSP lab of UT Dallas for a licence.",
        clips=8438,
        hours=None,
        verified="the numbers of clips and of each class; layout, names and label file on other people's loaders only, "
        "not on the corpus itself",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("en",),
        classes={"neutral": 3477, "happiness": 2644, "sadness": 885, "anger": 792},
    ),
)
