"""Checkpoints of the Hugging Face Hub that people start from: their training data, and what their licences allow.

The score of an encoder on a corpus of its pretraining is transductive; on a corpus whose labels it was trained on, it
is worthless. So the table gives the training corpora of each checkpoint, the source of this information, and whether
that source was read. Corpora have their names in the catalog (``nonverbal corpora``) if there is a reader, and others
their usual names.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nonverbal.licences import Terms, spdx

VOC125 = (
    "audioset", "freesound-babies", "human-voice", "nnime", "nonspeech7k", "recanvo", "singing-database",
    "tut-babies", "vocalsketch", "vocalsound",
)  # fmt: skip
"""The ten corpora of Voc125 (voc2vec, Table I). Voc125 contains only parts of some of them, which nobody has listed."""

PARTS: dict[str, tuple[str, ...]] = {
    "librispeech": ("librilight-limited",),
    # Also contains books of LibriVox. Which of those in LibriSpeech is not known here, so all are assumed to be in it.
    "libri-light": ("librispeech", "librilight-limited"),
    "multilingual-librispeech": ("librispeech", "librilight-limited"),
}
"""Corpora, with the corpora of the catalog whose clips they may contain."""

DRAWN_FROM: dict[str, tuple[str, ...]] = {
    "audioset": ("YouTube",),
    "freesound-babies": ("Freesound",),
    "tut-babies": ("Freesound",),
    "nonspeech7k": ("Freesound", "YouTube", "Aigei"),
    "asvp-esd": ("YouTube", "films and television"),
    "asvp-esd-babies": ("YouTube", "films and television"),
    "asvp-esd-nonspeech": ("YouTube", "films and television"),
}
"""Corpora, with the sources of their sounds. Two corpora from the same source may share some; nobody has compared all.
"""

VOC2VEC = "voc2vec (ICASSP 2025) and the cards of its checkpoints"
RECOVERY = "Emotion information recovery (2024), which retrieved it"


@dataclass(frozen=True)
class Checkpoint:
    """What is known about a checkpoint of the Hub."""

    family: str
    """transformers' ``model_type``, or the authors' name of the model if it has none."""
    pretraining: tuple[str, ...] | None
    """Corpora of the training without labels; empty if there are none, None if unknown."""
    supervised: tuple[str, ...] | None
    """Corpora of the training with labels or transcripts; empty if there are none, None if unknown."""
    source: str
    """Where the training data are stated."""
    verified: bool
    """Whether that source, the model's card or its paper, was read."""
    terms: Terms
    complete: bool = True
    """Whether the list of corpora is complete; False if there are others that nobody has listed."""


@dataclass(frozen=True)
class Heard:
    """The corpora that a checkpoint was trained on, with or without labels."""

    corpora: frozenset[str]
    """Names in the catalog, or other names for corpora without a reader."""
    complete: bool
    """Whether the list is complete, so that the checkpoint was not trained on any other corpus."""


def heard(source: str) -> Heard | None:
    """Return the corpora that a checkpoint was trained on, with the corpora they contain; None if it is not listed.

    Args:
        source: its id on the Hub, such as ``facebook/wav2vec2-base``.
    """
    known = CHECKPOINTS.get(source)
    if known is None:
        return None
    complete = known.complete and known.pretraining is not None and known.supervised is not None
    return Heard(with_parts((*(known.pretraining or ()), *(known.supervised or ()))), complete)


def with_parts(corpora: Iterable[str]) -> frozenset[str]:
    """Return corpora, and the corpora of the catalog whose clips they contain."""
    names = set(corpora)
    return frozenset(names.union(*(PARTS.get(name, ()) for name in names)))


_LIBRISPEECH = ("librispeech",)
_LIBRILIGHT = ("libri-light",)
_WAVLM_94K = ("libri-light", "gigaspeech", "voxpopuli")
_MULTILINGUAL = ("voxpopuli", "multilingual-librispeech", "common-voice", "babel", "voxlingua107")
_MEMORY = "memory"
_COPIES = "other people's copies of its card"
_APACHE = spdx("Apache-2.0", _MEMORY, False)
_MICROSOFT = spdx("CC-BY-SA-3.0", "other people's notes, of the repository microsoft/UniSpeech", False)
_UNSTATED = Terms("no statement was seen", False)
_AUDIOSET_TERMS = spdx("CC-BY-NC-SA-4.0", "notes on the voc2vec paper", False, "binds what is trained from it")
_OF_AUDIOSET = replace(
    _AUDIOSET_TERMS,
    source="what is noted of its start, ALM/wav2vec2-base-audioset",
    remark="its own statement was not seen",
)
_WHISPER = Checkpoint(
    "whisper",
    (),
    ("680000 hours of the web",),
    "https://raw.githubusercontent.com/openai/whisper/main/model-card.md; the hours, other people's notes",
    False,
    spdx("MIT", "other people's notes, of its repository", False, "the Hub's copies may say Apache-2.0"),
    complete=False,
)


_MMS = Checkpoint(
    "wav2vec2",
    ("mms-lab", *_MULTILINGUAL),
    (),
    _MEMORY,
    False,
    spdx("CC-BY-NC-4.0", _COPIES, False),
    complete=False,
)


def _voc2vec(family: str, start: tuple[str, ...], terms: Terms = _UNSTATED) -> Checkpoint:
    return Checkpoint(family, (*VOC125, *start), (), VOC2VEC, True, terms)


def _remembered(family: str, pretraining: tuple[str, ...], supervised: tuple[str, ...] = ()) -> Checkpoint:
    return Checkpoint(family, pretraining, supervised, _MEMORY, False, _APACHE)


CHECKPOINTS: dict[str, Checkpoint] = {
    "facebook/wav2vec2-base": Checkpoint("wav2vec2", _LIBRISPEECH, (), VOC2VEC, True, _APACHE),
    "facebook/wav2vec2-large": _remembered("wav2vec2", _LIBRISPEECH),
    "facebook/wav2vec2-large-lv60": _remembered("wav2vec2", _LIBRILIGHT),
    "facebook/wav2vec2-base-100h": Checkpoint("wav2vec2", _LIBRISPEECH, _LIBRISPEECH, RECOVERY, True, _APACHE),
    "facebook/wav2vec2-base-960h": Checkpoint("wav2vec2", _LIBRISPEECH, _LIBRISPEECH, RECOVERY, True, _APACHE),
    "Xinnian/w2v2-libri-10min": Checkpoint("wav2vec2", _LIBRISPEECH, _LIBRISPEECH, RECOVERY, True, _UNSTATED),
    "facebook/wav2vec2-large-960h": _remembered("wav2vec2", _LIBRISPEECH, _LIBRISPEECH),
    "facebook/wav2vec2-large-960h-lv60": _remembered("wav2vec2", _LIBRILIGHT, _LIBRISPEECH),
    "facebook/wav2vec2-large-960h-lv60-self": _remembered("wav2vec2", _LIBRILIGHT, _LIBRISPEECH + _LIBRILIGHT),
    "facebook/wav2vec2-xls-r-300m": _remembered("wav2vec2", _MULTILINGUAL),
    "facebook/mms-300m": _MMS,
    "facebook/mms-1b": _MMS,
    "facebook/hubert-base-ls960": Checkpoint("hubert", _LIBRISPEECH, (), VOC2VEC, True, _APACHE),
    "facebook/hubert-large-ll60k": Checkpoint("hubert", _LIBRILIGHT, (), _COPIES, False, _APACHE),
    "microsoft/wavlm-base": Checkpoint("wavlm", _LIBRISPEECH, (), _COPIES, False, _MICROSOFT),
    "microsoft/wavlm-base-plus": Checkpoint("wavlm", _WAVLM_94K, (), _COPIES, False, _MICROSOFT),
    "microsoft/wavlm-large": Checkpoint("wavlm", _WAVLM_94K, (), _COPIES, False, _MICROSOFT),
    "microsoft/unispeech-sat-base-plus": Checkpoint("unispeech-sat", _WAVLM_94K, (), _MEMORY, False, _MICROSOFT),
    "facebook/data2vec-audio-base": _remembered("data2vec-audio", _LIBRISPEECH),
    **{f"openai/whisper-{size}": _WHISPER for size in ("small", "medium")},
    "openai/whisper-small.en": replace(_WHISPER, supervised=("the English part of 680000 hours of the web",)),
    "MIT/ast-finetuned-audioset-10-10-0.4593": Checkpoint(
        "audio-spectrogram-transformer",
        (),
        ("audioset",),
        _COPIES,
        False,
        spdx("BSD-3-Clause", _COPIES, False, "it starts from a model of images"),
    ),
    "ALM/wav2vec2-base-audioset": Checkpoint("wav2vec2", ("audioset",), (), VOC2VEC, True, _AUDIOSET_TERMS),
    "ALM/hubert-base-audioset": Checkpoint("hubert", ("audioset",), (), "its name", False, _UNSTATED),
    "alkiskoudounas/voc2vec": _voc2vec("wav2vec2", ()),
    "alkiskoudounas/voc2vec-as-pt": _voc2vec("wav2vec2", ("audioset",), _OF_AUDIOSET),
    "alkiskoudounas/voc2vec-ls-pt": _voc2vec("wav2vec2", _LIBRISPEECH),
    "alkiskoudounas/voc2vec-hubert-ls-pt": _voc2vec("hubert", _LIBRISPEECH),
    "emotion2vec/emotion2vec_plus_base": Checkpoint(
        "emotion2vec", None, None, "its paper's abstract: open emotional speech, not named", False, _UNSTATED
    ),
}
"""What is known, by id on the Hub. Released checkpoints that are files, such as SSAM's, have no id and are not here."""
