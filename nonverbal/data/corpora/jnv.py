"""JNV: expressions of six emotions without words, by four Japanese speakers.

Home: sites.google.com/site/shinnosuketakamichi/research-topics/jnv_corpus. Licence: CC-BY-SA-4.0 according to others,
which allows commercial use and redistribution with share-alike.
Expected: 420 clips, not verified; 0.395 h, inferred; 48 kHz, some clips in stereo.
Verified: nothing on the corpus itself; names, folders and licence are known from other people's loaders. Emotions are
accepted as adjectives and as nouns, because the spelling is unknown; for any other word, the label is unknown.

Names are {speaker}_{emotion}_{utterance}_{session}. The session is R (probably regular) or F (free): a kind of
utterance and not a sitting, so no session is named here.
JVNV, by the same authors, contains Japanese speech and is another corpus: its clips, named like F1_anger_regular_01,
are skipped. Its speakers have the same names; whether they are the same people is unknown.
"""

from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Reading, from_names
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import spdx

NAME = "jnv"
EMOTIONS = {
    "anger": "anger", "angry": "anger", "disgust": "disgust", "disgusted": "disgust", "fear": "fear",
    "fearful": "fear", "happy": "happy", "happiness": "happy", "sad": "sad", "sadness": "sad",
    "surprise": "surprise", "surprised": "surprise",
}  # fmt: skip
PATTERN = r"(?:.*/)?(?P<speaker>(?P<sex>[FM])[12])_(?P<label>[a-z]+)_\d+_[RF]\.wav"
LOOKS_LIKE = "JNV/<speaker>/{F1,F2,M1,M2}_<emotion>_<utterance>_{R,F}.wav"


def read(folder: Path) -> Reading:
    """Label: the emotion."""
    return read_by_name(folder, PATTERN, from_names(NAME, EMOTIONS), "not named as a clip of JNV", LOOKS_LIKE)


CORPORA = (
    Corpus(
        name=NAME,
        title="JNV: six emotions, four speakers",
        purposes=("evaluation",),
        home="sites.google.com/site/shinnosuketakamichi/research-topics/jnv_corpus",
        licence="CC-BY-SA-4.0",
        terms=spdx("CC-BY-SA-4.0", "other people's notes", False),
        get="Download jnv_corpus_ver2.zip or its newer version 3 from its page. It is read as it is, or unpacked.",
        clips=420,
        hours=0.395,
        verified="nothing on the corpus itself; names, folders and licence from others' loaders; not the count, nor "
        "the spelling of the emotions: any folders, adjectives and nouns are accepted",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
    ),
)
