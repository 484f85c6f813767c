"""ASVP-ESD: emotion with and without words, and sounds of babies, from films, television and the web.

Home: DOI 10.5281/zenodo.7132783. Licence: unknown, or custom and academic, according to two indexes; the material comes
from films, television and YouTube: do not redistribute it.
Expected of Audio (asvp-esd): 12625 clips, 15.07 h, 16 kHz, 13 classes, as in voc2vec's test set, which therefore
includes speech: 7545 clips without words (asvp-esd-nonspeech) and 5080 of speech. Only Audio distinguishes the two.
Expected of Bonus (asvp-esd-babies): 1339 clips, 2.91 h, 7 classes, as in voc2vec's test set.
Verified: folders, counts and numbers of fields, on a list of all files; the meaning of the fields, on other people's
copies of the official text.

Names have 8 to 12 fields between dashes, some with spaces. Six fields are in place in every name: modality, channel,
emotion, intensity, statement, actor. The next two, age and source, are read if their values are in the official text;
odd actors are women, even ones men. The field for the language has more values than are documented, so the language is
unknown here. Clips marked as noisy (77 at the end) or of mixed voices (66) are kept.
The speaker of Audio is the sixth field: folder and field disagree for 187 clips, and one folder has no number, so the
field is used, as the official text documents it. Nobody has checked the identity of the actors, so speaker independence
is approximate. The folders of Bonus are pools of babies: no speaker is known there, and a pool is the recording.
One clip of Bonus has the emotion 17, which is not in the official list; its label is ``unknown``, which makes seven
classes. Three of the seven have at most six clips, so stratified folds fail. There is no official split.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nonverbal.data.corpora.attributes import by_parity
from nonverbal.data.corpora.base import Corpus, Found, Reading, Skipped, clip
from nonverbal.data.corpora.readers import read_by_name
from nonverbal.licences import Terms

NAME = "asvp-esd"
"""Also qualifies the speakers and recordings of the other two."""
EMOTIONS = {
    "01": "boredom", "02": "neutral", "03": "happy", "04": "sad", "05": "angry", "06": "fearful", "07": "disgust",
    "08": "surprised", "09": "excited", "10": "pleasure", "11": "pain", "12": "disappointment", "13": "breath",
    "17": "unknown",
}  # fmt: skip
CLASSES = {
    "happy": 1758, "surprised": 1586, "neutral": 1568, "sad": 1514, "angry": 1453, "fearful": 1170, "disgust": 899,
    "pain": 832, "boredom": 542, "excited": 401, "disappointment": 365, "pleasure": 365, "breath": 172,
}  # fmt: skip
BABIES = {"sad": 1180, "happy": 110, "neutral": 30, "fearful": 10, "boredom": 6, "pain": 2, "unknown": 1}
SPEECH = "01"
# Modality, channel, emotion, intensity, statement, actor; then two to six others, first age and source. Some names have
# spaces beside a dash, some an unusual intensity.
FIELDS = (
    r" *\d+ *- *(?P<channel>\d+) *- *(?P<emotion>\d+) *-(?P<intensity>[^/-]*)-[^/-]*- *(?P<actor>\d+) *-(?P<more>[^/]*)"
)
INTENSITIES = {"01": "normal", "02": "high"}
AGES = {"01": "over 65", "02": "20 to 64", "03": "under 20", "04": "baby"}
SOURCES = {"01": "web", "02": "web", "03": "film"}
NOISES = {"77": "noisy", "66": "mixed voices"}
LOOKS_LIKE = "{}/actor_<number>/03-<channel>-<emotion>-<intensity>-<statement>-<actor>-<more>.wav"
AUDIO_LOOKS_LIKE, BONUS_LOOKS_LIKE = LOOKS_LIKE.format("Audio"), LOOKS_LIKE.format("Bonus")

Describe = Callable[[re.Match[str], str], Found | Skipped]


def read(folder: Path) -> Reading:
    """Label: the emotion."""
    return _read(folder, "Audio", partial(_describe, True), AUDIO_LOOKS_LIKE)


def read_nonspeech(folder: Path) -> Reading:
    """Label: the emotion."""
    return _read(folder, "Audio", partial(_describe, False), AUDIO_LOOKS_LIKE)


def read_babies(folder: Path) -> Reading:
    """Label: the emotion."""
    return _read(folder, "Bonus", _describe_baby, BONUS_LOOKS_LIKE)


def _read(folder: Path, part: str, describe: Describe, looks_like: str) -> Reading:
    pattern = rf"(?:.*/)?(?i:{part}/actor_)(?P<folder>\d*)/{FIELDS}\.wav"
    return read_by_name(folder, pattern, describe, f"not a clip of the folder {part}", looks_like)


def _describe(speech: bool, match: re.Match[str], path: str) -> Found | Skipped:
    if match["channel"] == SPEECH and not speech:
        return Skipped(path, "speech")
    said = {**_attributes(match), "sex": by_parity(match["actor"], even="male", odd="female")}
    return clip(NAME, path, said, label=EMOTIONS.get(match["emotion"]), speaker=int(match["actor"]))


def _describe_baby(match: re.Match[str], path: str) -> Found:
    label = EMOTIONS.get(match["emotion"])
    return clip(NAME, path, _attributes(match), label=label, recording=f"babies {match['folder']}")


def _attributes(match: re.Match[str]) -> dict[str, str | None]:
    age, source, *rest = [*(part.strip() for part in match["more"].split("-")), ""]
    return {
        "intensity": INTENSITIES.get(match["intensity"].strip()),
        "age": AGES.get(age),
        "source": SOURCES.get(source),
        "noise": next((NOISES[part] for part in rest[1:-1][-1:] if part in NOISES), None),
    }


_ALL = Corpus(
    name=NAME,
    title="ASVP-ESD: emotion with and without words",
    purposes=("evaluation",),
    home="zenodo.org/records/7132783",
    doi="10.5281/zenodo.7132783",
    licence="unknown, or custom academic",
    terms=Terms(
        "two indexes, other people's",
        False,
        redistribution=False,
        remark="academic; the material comes from films, television and YouTube",
    ),
    get="Download ASVP-ESD-Update.zip (2 GB) from Zenodo. It is read as it is, or unpacked.",
    clips=12625,
    hours=15.07,
    verified="folders, counts and field counts, on a list of all files; the meaning of the fields from copies of the "
    "official text; not who the actors are",
    looks_like=AUDIO_LOOKS_LIKE,
    read=read,
    notes=__doc__,
    languages=("zh", "en", "fr", "ru"),
    classes=CLASSES,
)
_BABIES = replace(
    _ALL,
    name="asvp-esd-babies",
    title="ASVP-ESD: babies",
    clips=1339,
    hours=2.91,
    looks_like=BONUS_LOOKS_LIKE,
    read=read_babies,
    languages=(),
    classes=BABIES,
)
_NONSPEECH = replace(
    _ALL,
    name="asvp-esd-nonspeech",
    title="ASVP-ESD: emotion without words",
    clips=7545,
    hours=None,
    read=read_nonspeech,
    languages=(),
    classes={},
)
CORPORA = (_ALL, _BABIES, _NONSPEECH)
