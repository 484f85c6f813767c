"""EmoMatchSpanishDB and EmoSpanishDB: 50 people who are not actors, in Spanish; emotion in speech.

Home: doi 10.1007/s11042-023-15959-w (the paper), oa.upm.es/80921. Licence: unknown.
Expected: 2005 or 2050 clips of EmoMatchSpanishDB, because sources disagree; 48 kHz. Counts of EmoSpanishDB are unknown.
Verified: what the two sets are, on the paper. Names are those of a co-author's script; the folders are unknown, so any
are accepted.

Names look like 03_Alegria_02.WAV: speaker, elicited emotion, sentence. EmoSpanishDB contains the clips on whose emotion
a crowd agreed, EmoMatchSpanishDB only those for which this is the elicited emotion. So the name gives the label in
EmoMatchSpanishDB; in EmoSpanishDB it may not, so clips have no label, but an attribute ``elicited``.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nonverbal.data.corpora.base import Corpus, Found, Reading, clip, from_names
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "emomatch"
"""Also qualifies the speakers of EmoSpanishDB, who are the same people."""
PATTERN = r"(?:.*/)?(?P<speaker>\d\d)_(?P<label>[^\W\d_]+)_(?P<sentence>\d+)\.wav"
LABELS = {
    "Neutro": "neutral",
    "Alegria": "joy",
    "Tristeza": "sadness",
    "Ira": "anger",
    "Miedo": "fear",
    "Asco": "disgust",
    "Sorpresa": "surprise",
}
LOOKS_LIKE = "<speaker>_<emotion in Spanish>_<sentence>.wav"


def _unlabelled(match: re.Match[str], path: str) -> Found:
    said = {"elicited": LABELS.get(match["label"]), "sentence": match["sentence"]}
    return clip(NAME, path, said, speaker=match["speaker"], language="es")


def _read(describe: Callable[[re.Match[str], str], Found], folder: Path) -> Reading:
    return read_by_name(folder, PATTERN, describe, "not a clip", LOOKS_LIKE)


_MATCH = Corpus(
    name=NAME,
    title="EmoMatchSpanishDB: elicited emotion, in Spanish",
    purposes=("emotion",),
    home="oa.upm.es/80921",
    licence="unknown",
    terms=Terms("nobody states it", False),
    get="Ask its authors; that it is given on request is from memory.",
    clips=(2005, 2050),
    hours=None,
    verified="what the set holds, on its paper; names on a co-author's script; not the folders: any are accepted",
    looks_like=LOOKS_LIKE,
    read=partial(_read, from_names(NAME, LABELS, language="es")),
    notes=__doc__,
    languages=("es",),
)
_CROWD = replace(
    _MATCH,
    name="emospanish",
    title="EmoSpanishDB: emotion that a crowd agreed on, in Spanish; no labels",
    clips=None,
    read=partial(_read, _unlabelled),
)
CORPORA = (_MATCH, _CROWD)
