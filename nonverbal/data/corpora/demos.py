"""DEMoS: 68 speakers, in Italian; emotion in speech.

Home: DOI 10.5281/zenodo.2544829, restricted. Licence: an agreement signed by permanent staff of a university, requested
from their institutional e-mail address; no redistribution.
Expected: 9697 clips: disgust 1678, sadness 1530, anger 1477, happiness 1395, fear 1156, guilt 1129, surprise 1000,
neutral 332. 48 kHz, from memory.
Verified: licence, layout, names and counts, on its documentation and a complete list of its files.

Names look like PR_m_23_tri00a.wav: prototypical (PR) or not (NP), sex, speaker, emotion with number and take. Neutral
names lack the first field (m_68_neu05b.wav), so names are read from the right. The speaker is sex and number: 23 women
and 45 men, 01 to 69 without 35. Studies often drop neutral clips, or keep only the 1564 prototypical ones; here all are
read, so state which you use: ``style`` tells them apart.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Reading, from_names
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "demos"
PATTERN = r"(?:.*/)?(?:(?P<style>PR|NP)_)?(?P<speaker>(?P<sex>[fm])_\d\d)_(?P<label>[a-z]{3})\d+[a-z]\.wav"
LABELS = {
    "rab": "anger",
    "tri": "sadness",
    "gio": "happiness",
    "pau": "fear",
    "dis": "disgust",
    "col": "guilt",
    "sor": "surprise",
    "neu": "neutral",
}
STYLES = {"style": {"PR": "prototypical", "NP": "not prototypical"}}
LOOKS_LIKE = "DEMOS/{PR,NP}_<sex>_<speaker>_<emotion><number><take>.wav, and NEU/<sex>_<speaker>_neu<number><take>.wav"


def read(folder: Path) -> Reading:
    """Label: the three letters of the name."""
    return read_by_name(folder, PATTERN, from_names(NAME, LABELS, STYLES, language="it"), "not a clip", LOOKS_LIKE)


CORPORA = (
    Corpus(
        name=NAME,
        title="DEMoS: 68 speakers, in Italian",
        purposes=("emotion",),
        home="zenodo.org/records/2544829",
        doi="10.5281/zenodo.2544829",
        licence="signed agreement",
        terms=Terms("zenodo.org/records/2544829", True, redistribution=False, agreement=True, remark="what was agreed"),
        get="Permanent staff of a university ask for it on Zenodo, from their institution's e-mail address.",
        clips=9697,
        hours=None,
        verified="licence, layout, names and counts; not the sample rate",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("it",),
        classes={
            "disgust": 1678,
            "sadness": 1530,
            "anger": 1477,
            "happiness": 1395,
            "fear": 1156,
            "guilt": 1129,
            "surprise": 1000,
            "neutral": 332,
        },
    ),
)
