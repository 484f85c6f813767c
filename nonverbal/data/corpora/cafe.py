"""CaFE: six sentences by twelve actors, in Canadian French; emotion in speech.

Home: DOI 10.5281/zenodo.1478765. Licence: CC-BY-NC-SA-4.0 according to other people's notes: no commercial use.
Expected: 936 clips: 72 neutral, 144 of each of the six emotions. 48 kHz, or 192 kHz in AIFF.
Verified: layout, names and counts, on a complete list of its files; not that the archives have no folder at the top.

Names look like 12-P-2-5.wav: actor, emotion, intensity, sentence; odd actors are men. Everything is read from the names
of files: the accents in names of folders (Dégoût) are in an old code page, and come out garbled when the archive is
unpacked, in part as bytes that are not UTF-8. Preparing skips such paths, so it is better to leave the archive packed.
Neutral clips, which have no intensity, have 1 in its place (03-N-1-2.wav); names without it are read too. Both rates
contain the same takes: if a take exists as WAV, its AIFF is skipped.
"""

import re
from pathlib import Path

from nonverbal.data.corpora.attributes import by_parity
from nonverbal.data.corpora.base import Corpus, Found, Reading, clip
from nonverbal.data.corpora.readers import prefer, read_by_name
from nonverbal.licences import spdx

NAME = "cafe"
PATTERN = r"(?:.*/)?(?P<speaker>\d\d)-(?P<label>[CDJNPST])(?:-(?P<intensity>\d))?-(?P<sentence>[1-6])\.(?:wav|aiff?)"
LABELS = {
    "C": "anger",
    "D": "disgust",
    "J": "happiness",
    "N": "neutral",
    "P": "fear",
    "S": "surprise",
    "T": "sadness",
}
NEUTRAL = "N"
INTENSITIES = {"1": "mild", "2": "strong"}
LOOKS_LIKE = "<emotion>/{Faible,Fort}/<actor>-<letter>-<intensity>-<sentence>.wav, or .aiff"


def read(folder: Path) -> Reading:
    """Label: the letter of the name."""
    clips = read_by_name(folder, PATTERN, _describe, "not a clip", LOOKS_LIKE)
    return prefer(clips, r"\.aiff?$", "in the 48 kHz release too")


def _describe(match: re.Match[str], path: str) -> Found:
    said = {
        "sex": by_parity(match["speaker"], even="female", odd="male"),
        "intensity": None if match["label"] == NEUTRAL else INTENSITIES.get(match["intensity"]),
        "sentence": match["sentence"],
    }
    return clip(NAME, path, said, label=LABELS[match["label"]], speaker=match["speaker"], language="fr")


CORPORA = (
    Corpus(
        name=NAME,
        title="CaFE: twelve actors, in Canadian French",
        purposes=("emotion",),
        home="zenodo.org/records/1478765",
        doi="10.5281/zenodo.1478765",
        licence="CC-BY-NC-SA-4.0",
        terms=spdx("CC-BY-NC-SA-4.0", "other people's notes", False),
        get="Download CaFE_48k.zip from Zenodo, or both of CaFE_192k. Leave them packed: unpacked, folders may get "
        "names that cannot be read.",
        clips=936,
        hours=None,
        verified="layout, names and counts, on a complete list of its files; not the licence",
        looks_like=LOOKS_LIKE,
        read=read,
        notes=__doc__,
        languages=("fr",),
        classes={"neutral": 72, **dict.fromkeys(("anger", "disgust", "happiness", "fear", "surprise", "sadness"), 144)},
    ),
)
