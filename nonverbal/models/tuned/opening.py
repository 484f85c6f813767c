"""Opens encoders for fine-tuning: chooses the reader by the kind of the source."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

from nonverbal.errors import UserError
from nonverbal.models.audio_mamba import AudioMambaConfig
from nonverbal.models.checkpoints.audio_mamba import IN_EVERY_MAMBA
from nonverbal.models.checkpoints.hugging_face import place_of, read_config
from nonverbal.models.checkpoints.quiet import quiet
from nonverbal.models.checkpoints.weight_files import holds_any
from nonverbal.models.tuned.base import Opened, TunedEncoder
from nonverbal.models.tuned.mamba import TunedAudioMamba
from nonverbal.models.tuned.reading import (
    AST,
    Asked,
    read_ast,
    read_convolutional,
    read_mamba,
    read_related,
    read_whisper,
)
from nonverbal.models.tuned.settings import TunedSettings
from nonverbal.models.tuned.spectrogram_transformer import TunedSpectrogramTransformer
from nonverbal.models.tuned.waveforms import TunedWaveformEncoder
from nonverbal.models.tuned.wavlm import TunedWavLM
from nonverbal.models.tuned.whisper import TunedWhisper

INITIALISED = "initialised:"
"""Prefix of a source that means the same architecture with random weights."""


class _Kind(NamedTuple):
    computed: type[TunedEncoder]
    read: Callable[[Asked], Opened]


KINDS: Mapping[str, _Kind] = {
    "wav2vec2": _Kind(TunedWaveformEncoder, read_convolutional),
    "hubert": _Kind(TunedWaveformEncoder, read_convolutional),
    "wavlm": _Kind(TunedWavLM, read_related),
    "unispeech-sat": _Kind(TunedWaveformEncoder, read_related),
    "data2vec-audio": _Kind(TunedWaveformEncoder, read_related),
    "whisper": _Kind(TunedWhisper, read_whisper),
    "audio-spectrogram-transformer": _Kind(TunedSpectrogramTransformer, read_ast),
    AudioMambaConfig.model_type: _Kind(TunedAudioMamba, read_mamba),
}
"""By ``model_type``."""


def open_tuned(source: str, settings: TunedSettings, seed: int) -> TunedEncoder:
    """Return an encoder for fine-tuning, in float32.

    Args:
        source: a run of ours, or its ``encoder/``; a folder or Hub id in Hugging Face format, with or without a head;
            a file of fairseq, fairseq2 or SSAM's authors; or one of these after ``initialised:``, for its architecture
            with random weights. ``initialised:ast`` is an AST of the paper's size, and needs no other source.
        settings: which weights are trained, and how.
        seed: of drawn weights and of adapters.

    Raises:
        UserError: it cannot be read completely, its kind cannot be fine-tuned, or it does not fit the settings.
    """
    named = source.removeprefix(INITIALISED)
    path = place_of(named)
    with quiet():
        built_in = path is None and source == INITIALISED + AST
        model_type = "audio-spectrogram-transformer" if built_in else _type_of(named, path)
        if model_type not in KINDS:
            raise UserError(
                f"{named} is a {model_type!r} model, which cannot be fine-tuned here; give one of {', '.join(KINDS)}"
            )
        kind = KINDS[model_type]
        opened = kind.read(Asked(source, named, path, model_type, named != source, seed))
        return kind.computed(opened, settings, seed)


def _type_of(source: str, path: Path | None) -> str:
    if path is not None and path.is_file():
        # For anything else, the reader of wav2vec 2.0 reports what it found.
        return AudioMambaConfig.model_type if holds_any(path, (IN_EVERY_MAMBA,)) else "wav2vec2"
    return str(read_config(source, path).get("model_type"))
