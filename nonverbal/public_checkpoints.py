"""Checkpoints of the Hugging Face Hub that people start from: what audio each has heard, and what its licence allows.

A score of an encoder on a corpus that it has heard in pretraining is transductive; of one that it was trained on with
labels, worthless. So the table says what each has heard, where it says so, and whether that was read there. Corpora are
named as in the catalog (``nonverbal corpora``) where a reader is there, others by their own names.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nonverbal.licences import Terms, spdx

VOC125 = (
    "audioset", "freesound-babies", "human-voice", "nnime", "nonspeech7k", "recanvo", "singing-database",
    "tut-babies", "vocalsketch", "vocalsound",
)  # fmt: skip
"""The ten corpora of Voc125 (voc2vec, Table I). Of some it takes a part that nobody has listed."""

PARTS: dict[str, tuple[str, ...]] = {
    "librispeech": ("librilight-limited",),
    # Books of LibriVox too; which of LibriSpeech's are among them is not known here, so all count as heard.
    "libri-light": ("librispeech", "librilight-limited"),
    "multilingual-librispeech": ("librispeech", "librilight-limited"),
    "asvp-esd": ("asvp-esd-nonspeech",),
    "emospanish": ("emomatch",),
    "donateacry-uploads": ("donateacry",),
}
"""A corpus to the corpora of the catalog whose clips may be among its own."""

DRAWN_FROM: dict[str, tuple[str, ...]] = {
    "audioset": ("YouTube",),
    "freesound-babies": ("Freesound",),
    "tut-babies": ("Freesound",),
    "nonspeech7k": ("Freesound", "YouTube", "Aigei"),
    "esc-50": ("Freesound",),
    "asvp-esd": ("YouTube", "films and television"),
    "asvp-esd-babies": ("YouTube", "films and television"),
    "asvp-esd-nonspeech": ("YouTube", "films and television"),
}
"""A corpus to where others found its sounds: two of one source may share some, though nobody has compared all."""

VOC2VEC = "voc2vec (ICASSP 2025) and the cards of its checkpoints"
RECOVERY = "Emotion information recovery (2024), which retrieved it"


@dataclass(frozen=True)
class Checkpoint:
    """What is known of a checkpoint of the Hub."""

    family: str
    """transformers' ``model_type``, or what the authors call the model where it has none."""
    pretraining: tuple[str, ...] | None
    """Corpora heard without labels; empty where there was none, None where nobody says."""
    supervised: tuple[str, ...] | None
    """Corpora heard with labels or transcripts; empty where there was none, None where nobody says."""
    source: str
    """Where it says what was heard."""
    verified: bool
    """Whether that was read there: on the model's card, or in its paper."""
    terms: Terms
    complete: bool = True
    """Whether the corpora named are all: False where there are others that nobody has listed."""


def heard(source: str) -> frozenset[str] | None:
    """Return the corpora that a checkpoint has heard, with or without labels, and the parts of the catalog in them.

    Args:
        source: its id on the Hub, such as ``facebook/wav2vec2-base``.

    Returns:
        Names of the catalog, or other names for corpora without a reader; None where not all that it has heard is
        known: a corpus that is missing from the set was not heard. Where a list is not complete, see ``CHECKPOINTS``.
    """
    known = CHECKPOINTS.get(source)
    if known is None or known.pretraining is None or known.supervised is None or not known.complete:
        return None
    return with_parts((*known.pretraining, *known.supervised))


def with_parts(corpora: Iterable[str]) -> frozenset[str]:
    """Return corpora and, of the catalog, those whose clips are in them."""
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
_AUDIOSET_TERMS = spdx("CC-BY-NC-SA-4.0", "its card", True, "binds what is trained from it")
_OF_AUDIOSET = replace(
    _AUDIOSET_TERMS,
    source="the card of its start, ALM/wav2vec2-base-audioset",
    verified=False,
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
    "facebook/wav2vec2-base": Checkpoint(
        "wav2vec2", _LIBRISPEECH, (), VOC2VEC, True, spdx("Apache-2.0", "its card", True)
    ),
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
    "microsoft/wavlm-base": Checkpoint("wavlm", _LIBRISPEECH, (), "its card", True, _MICROSOFT),
    "microsoft/wavlm-base-plus": Checkpoint("wavlm", _WAVLM_94K, (), "a copy of its card", True, _MICROSOFT),
    "microsoft/wavlm-large": Checkpoint("wavlm", _WAVLM_94K, (), _COPIES, False, _MICROSOFT),
    "microsoft/unispeech-sat-base-plus": Checkpoint("unispeech-sat", _WAVLM_94K, (), _MEMORY, False, _MICROSOFT),
    "facebook/data2vec-audio-base": _remembered("data2vec-audio", _LIBRISPEECH),
    **{f"openai/whisper-{size}": _WHISPER for size in ("small", "small.en", "medium")},
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
"""Id on the Hub to what is known. Released checkpoints that are files, as SSAM's, have no id and are not here."""
