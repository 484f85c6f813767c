"""Frozen encoders by name, one file per kind: a folder, a model of the Hugging Face Hub, its random twin, or a name.

To add a kind, add a file here and a line to ``MODULES`` (docs/add-an-encoder.md).
"""

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nonverbal.errors import UserError
from nonverbal.evaluation.encoders import (
    audio_mamba,
    audio_words,
    confounds,
    data2vec_audio,
    emotion2vec,
    functionals,
    hubert,
    logmel,
    mfcc,
    spectrogram_transformer,
    unispeech_sat,
    wav2vec2,
    waveforms,
    wavlm,
    whisper,
)
from nonverbal.evaluation.encoders.base import INITIALISED, Encoder, FrameEncoder, Kind, ManifestEncoder, Named
from nonverbal.evaluation.encoders.finetuned import FINETUNED, is_finetuned, open_run
from nonverbal.evaluation.encoders.models import place
from nonverbal.models.checkpoints.quiet import quiet

__all__ = ["INITIALISED", "KINDS", "Encoder", "FrameEncoder", "Kind", "ManifestEncoder"]

MODULES = (
    logmel, mfcc, functionals, audio_words, confounds,
    wav2vec2, hubert, wavlm, unispeech_sat, data2vec_audio, emotion2vec, audio_mamba, whisper, spectrogram_transformer,
)  # fmt: skip
"""Modules in the order of the list: computed features first, then learned ones."""

KINDS: dict[str, Kind] = {kind.name: kind for module in MODULES for kind in module.KINDS}
"""Kinds by the encoder's own name, or by the ``model_type`` of checkpoints."""


def load_encoder(name: str, seed: int = 0) -> Encoder:
    """Load an encoder by name.

    Args:
        name: a name of ``KINDS`` that needs no checkpoint, such as ``logmel``; a folder or Hub id in Hugging Face
            format (only safetensors, without code of the model's own); a folder of FunASR's emotion2vec; or
            ``initialised:`` before any of these but the first, for the same configuration with random weights.
        seed: draws the weights of ``initialised:``; it affects nothing else.

    Raises:
        UserError: it cannot be loaded completely, or does not read audio at 16 kHz.
    """
    kind, named = _found(name, seed)
    return kind.load(named)


def load_frame_encoder(name: str, seed: int = 0) -> FrameEncoder:
    """Load an encoder that reads audio, as ``load_encoder``.

    Raises:
        UserError: as for ``load_encoder``; or the encoder uses only the manifest.
    """
    encoder = load_encoder(name, seed)
    if isinstance(encoder, ManifestEncoder):
        raise UserError(f"{name} makes no frames, because it is taken from the manifest; give another encoder")
    return encoder


def check_encoder(name: str) -> None:
    """Raise the ``UserError`` for an encoder that does not exist or reads another sample rate, before it is needed.

    For a fine-tuned run, check the encoder of each fold.
    """
    for source in encoders_in(name):
        kind, named = _found(source)
        kind.check(named)


def encoders_in(name: str) -> list[str]:
    """Return the encoders that a name stands for: for ``finetuned:RUN`` that of each fold, otherwise itself.

    Raises:
        UserError: there is no such run, or one of its folds is not done.
    """
    return open_run(name).encoders if is_finetuned(name) else [name]


def kind_of(name: str) -> Kind:
    """Return the kind of an encoder, without loading it.

    Raises:
        UserError: there is no such encoder.
    """
    return _found(name)[0]


def learned(name: str) -> bool:
    """Return whether an encoder of this name was trained: not if its weights are random, or if it has none."""
    return not name.startswith(INITIALISED) and (name not in KINDS or KINDS[name].learned)


def _found(name: str, seed: int = 0) -> tuple[Kind, Named]:
    source = name.removeprefix(INITIALISED)
    initialised = source != name
    if is_finetuned(source):
        raise UserError(
            f"{source} has one encoder per fold, which only nonverbal probe and nonverbal embed read"
            + (
                f"; {INITIALISED} takes the encoder from which the run started, its recipe's init"
                if initialised
                else ""
            )
            + f"; elsewhere give the folder of one, such as {source.removeprefix(FINETUNED)}/model"
        )
    if source in KINDS and not KINDS[source].learned:
        if initialised:
            raise UserError(f"{source} has no weights that could be drawn at random: give it without {INITIALISED}")
        return KINDS[source], Named(name, source, False, seed)
    own = [kind.name for kind in KINDS.values() if not kind.learned]
    if emotion2vec.is_of_this_kind(source):
        return KINDS["emotion2vec"], Named(name, source, initialised, seed)
    # Nobody publishes an encoder without an owner under such a name, and asking the Hub takes time.
    if not Path(source).exists() and "/" not in source and (near := difflib.get_close_matches(source, own, 1)):
        raise UserError(f"there is no encoder {source!r}, and no folder of this name; did you mean {near[0]!r}?")
    named = Named(name, place(source), initialised, seed)
    return _kind_of(named), named


def _kind_of(named: Named) -> Kind:
    from nonverbal.models.checkpoints.hugging_face import read_config

    with quiet():
        config: Mapping[str, Any] = read_config(named.source, named.folder)
    model_type = str(config.get("model_type"))
    # New families of this toolkit are read in the same way without an entry.
    other = Kind(model_type, f"{model_type}, as its family has it", waveforms.WaveformEncoder, waveforms.check)
    return KINDS.get(model_type, other)
