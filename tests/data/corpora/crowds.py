"""Corpora of noise in their real layouts, with as many speakers and classes as folds need."""

import itertools
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np
import soundfile
from miniatures import MINIATURES

RATE = 16_000

Row = tuple[str, str, int]
"""Speaker, class, take, each as names have it."""

UUIDS = [f"0D1AD73E-4C5E-45F3-85C4-9A3CB71E88{number}" for number in range(50, 56)]
CRIES = {"hungry": "hu", "tired": "ti", "discomfort": "dc"}
SOUNDS = {"4": "coughing", "7": "sighing", "12": "laughing"}
GREEK = {"a": "anger", "s": "sadness", "d": "disgust"}

LAYOUTS: dict[str, tuple[Callable[[str, str, int], str], list[str], list[str], int]] = {
    "asvp-esd": (
        lambda speaker, label, take: f"Audio/actor_{speaker}/03-02-{label}-01-01-{speaker}-02-01-01-1{take}.wav",
        ["01", "02", "03", "04", "05", "06"],
        ["03", "04", "05"],
        2,
    ),
    "asvp-esd-babies": (
        lambda pool, label, take: f"Bonus/actor_{pool}/03-02-{label}-01-01-{pool}-04-01-04-1{take}.wav",
        ["50", "150", "200"],
        ["02", "03", "04", "06"],
        2,
    ),
    "cnvve": (
        lambda speaker, label, take: f"cleaned/{label}/{label}_{speaker}_{take}.wav",
        ["1", "2", "3", "4", "5", "6"],
        ["ahem", "psst", "hush"],
        2,
    ),
    "donateacry": (
        lambda speaker, label, take: f"donateacry_corpus_cleaned_and_updated_data/{label}/{speaker}-143074219{take}"
        f"-1.0-m-04-{CRIES[label]}.wav",
        UUIDS,
        list(CRIES),
        2,
    ),
    "nonverbal-vocalization": (
        lambda speaker, label, take: f"NonverbalVocalization/{SOUNDS[label]}/{speaker}_{label}_{take}_0_44_0_0_0.wav",
        ["2AV8", "3BW9", "4CX1", "5DY2", "6EZ3", "7FA4"],
        list(SOUNDS),
        2,
    ),
    "vivae": (
        lambda speaker, label, take: f"VIVAE/full_set/{speaker}_{label}_peak_{take:02}.wav",
        ["S01", "S02", "S03", "S04", "S05", "S06"],
        ["fear", "pain", "pleasure"],
        2,
    ),
    "jnv": (
        lambda speaker, label, take: f"jnv_corpus_ver2/JNV/{speaker}/{speaker}_{label}_{take:02}_F.wav",
        ["F1", "F2", "M1", "M2"],
        ["happy", "sad", "anger"],
        2,
    ),
    "aesdd": (
        lambda speaker, label, take: f"AESDD/{GREEK[label]}/{label}0{take} ({speaker}).wav",
        ["1", "2", "4", "5", "6"],
        list(GREEK),
        2,
    ),
    "cafe": (
        lambda speaker, label, take: f"48k/{label}/Fort/{speaker}-{label}-2-{take}.wav",
        ["01", "02", "03", "04", "05"],
        ["C", "J", "T"],
        2,
    ),
    "demos": (
        lambda speaker, label, take: f"DEMOS/PR_{speaker}_{label}0{take}a.wav",
        ["m_01", "m_02", "f_03", "f_04", "f_05"],
        ["rab", "tri", "gio"],
        2,
    ),
    "emodb": (
        lambda speaker, label, take: f"wav/{speaker}a0{take}{label}a.wav",
        ["03", "08", "09", "10", "11"],
        ["W", "L", "T"],
        2,
    ),
    "emomatch": (
        lambda speaker, label, take: f"clips/{speaker}_{label}_0{take}.wav",
        ["03", "08", "09", "10", "11"],
        ["Ira", "Miedo", "Asco"],
        2,
    ),
    "emovo": (
        lambda speaker, label, take: f"EMOVO/{speaker}/{label}-{speaker}-b{take}.wav",
        ["f1", "f2", "f3", "m1", "m2"],
        ["gio", "rab", "tri"],
        2,
    ),
    "eyase": (
        lambda speaker, label, take: f"{speaker}/ep_1_{label} ({take}).wav",
        ["Female01", "Female02", "Female03", "Male01", "Male02"],
        ["ang", "hap", "sad"],
        2,
    ),
    "oreau": (
        lambda speaker, label, take: f"OréauFR_02/f/sess{label.lower()}/{speaker}a0{take}{label}a.wav",
        ["10", "12", "13", "14", "15"],
        ["C", "J", "T"],
        2,
    ),
    "shemo": (
        lambda speaker, label, take: f"female/{speaker}{label}0{take}.wav",
        ["F01", "F02", "F03", "F04", "F05"],
        ["A", "S", "W"],
        2,
    ),
}  # fmt: skip
"""Path of a clip, speakers, classes, takes of each."""

EMOTIONS = {"ang": "A", "hap": "H", "sad": "S", "neu": "N"}
"""Codes of IEMOCAP to those of MSP-IMPROV."""


def crowd(name: str) -> Mapping[str, str | None]:
    """Return a corpus's files: path to text, or None for a sound. Corpora for pretraining are as in the miniatures."""
    if name == "asvp-esd-nonspeech":
        name = "asvp-esd"
    if name in ("iemocap", "msp-improv"):
        return dict(_iemocap() if name == "iemocap" else _msp_improv())
    if name not in LAYOUTS:
        return MINIATURES[name]
    path, speakers, labels, takes = LAYOUTS[name]
    return {path(*row): None for row in itertools.product(speakers, labels, range(1, takes + 1))}


def _iemocap() -> Iterator[tuple[str, str | None]]:
    for session in range(1, 4):
        dialog, lines = f"Ses0{session}F_impro04", []
        for number, (speaker, code) in enumerate(itertools.product("FM", list(EMOTIONS) * 2)):
            turn = f"{dialog}_{speaker}{number:03}"
            lines.append(f"[{number}.0 - {number}.9]\t{turn}\t{code}\t[2, 2, 2]\n")
            yield f"Session{session}/sentences/wav/{dialog}/{turn}.wav", None
        yield f"Session{session}/dialog/EmoEvaluation/{dialog}.txt", "".join(lines)


def _msp_improv() -> Iterator[tuple[str, str | None]]:
    lines = []
    for session, sex, number in itertools.product(range(1, 4), "FM", range(8)):
        code = list(EMOTIONS.values())[number % 4]
        clip = f"IMPROV-S01A-{sex}0{session}-R-FF0{number + 1}"
        lines.append(f"UTD-{clip}.avi; {code}; A:2.8; V:1.4; D:2.6 ; N:4.2;\n")
        yield f"session{session}/S01A/R/MSP-{clip}.wav", None
    yield "Evaluation.txt", "".join(lines)


def write_crowd(folder: Path, name: str) -> Path:
    """Write a corpus: half a second of noise a clip, each its own; two seconds where it is for pretraining."""
    seconds = 2.0 if name in MINIATURES and crowd(name) is MINIATURES[name] else 0.5
    for path, text in crowd(name).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        if text is not None:
            (folder / path).write_text(text, encoding="utf-8")
            continue
        random = np.random.default_rng(zlib.crc32(f"{name} {path}".encode()))
        samples = 0.3 * random.standard_normal(round(seconds * RATE)).clip(-3, 3)
        kind = {"mp3": "MP3", "aiff": "AIFF", "flac": "FLAC"}.get(path.rpartition(".")[2], "WAV")
        soundfile.write(folder / path, samples, RATE, format=kind)
    return folder
