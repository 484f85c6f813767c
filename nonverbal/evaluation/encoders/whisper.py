"""The encoder of Whisper, trained for recognition and translation of speech (Radford et al., 2022).

Papers: the cross-lingual one (small.en, small, medium). Home: huggingface.co, by the ids below.

It reads log-mel windows of 30 s, and has no mask: a shorter clip is followed by silence, to which its frames attend, as
they did in training. The frames of the silence are left out: the first T / 320 frames of a clip of T samples, rounded
up, are its own. The input always lasts 30 s, so these frames do not depend on anything else; that the clip is followed
by silence up to 30 s is the model's definition. The decoder is not used, and is not part of the key.
"""

import json
from typing import Any

import numpy as np

from nonverbal.data.index import SAMPLE_RATE
from nonverbal.errors import UserError
from nonverbal.evaluation.encoders.base import Kind, Named, Size
from nonverbal.evaluation.encoders.models import ModelEncoder, model_of

FRAME = 320
"""Samples from the start of one frame to the next: two hops of the spectrogram."""


class Whisper(ModelEncoder):
    """All hidden states of Whisper's encoder, restricted to a clip's own time."""

    def __init__(self, named: Named) -> None:
        """Load it, or draw its weights at random.

        Raises:
            UserError: it cannot be loaded completely, or its spectrogram is not that of its model.
        """
        self.extractor = _extractor(named)
        model = model_of(named, ("decoder.",)).encoder
        config, extractor = model.config, self.extractor
        from nonverbal.models.checkpoints.feature_extractors import check_spectrogram

        made = (extractor.feature_size, extractor.nb_max_frames)
        check_spectrogram(named.source, made, (config.num_mel_bins, 2 * config.max_source_positions))
        self.max_seconds = float(extractor.chunk_length)
        reading = {"n_fft": extractor.n_fft, "hop": extractor.hop_length, "bands": extractor.feature_size}
        super().__init__(named, "whisper", model, f"log-mel {json.dumps(reading)}")

    def inputs(self, waveform: np.ndarray) -> Any:
        """Return the log-mel spectrogram ``(bands, 3000)`` of 30 s, from transformers' own extractor."""
        if len(waveform) > self.extractor.n_samples:
            raise UserError(
                f"{self.name} reads {self.extractor.n_samples} samples at once, but was given {len(waveform)}"
            )
        features = self.extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="pt").input_features
        return features[0].to(self.device)

    def own(self, states: list[Any], samples: int) -> list[Any]:
        """Return the frames that begin within the clip."""
        return [state[:, self.own_tokens(state.shape[1], samples)] for state in states]

    def own_tokens(self, tokens: int, samples: int) -> Any:
        """Return the first tokens."""
        return slice(-(-samples // FRAME))


def _extractor(named: Named) -> Any:
    from nonverbal.models.checkpoints.feature_extractors import whisper_extractor

    return whisper_extractor(named.source, named.folder)


def check(named: Named) -> None:
    """Raise the ``UserError`` for a checkpoint that is missing or reads another sample rate."""
    _extractor(named)


_SMALL, _MEDIUM = Size(768, 13), Size(1024, 25)

KINDS = (
    Kind(
        "whisper",
        "Whisper's encoder: log-mel windows of 30 s",
        Whisper,
        check,
        max_seconds=30.0,
        published={
            "openai/whisper-small.en": _SMALL,
            "openai/whisper-small": _SMALL,
            "openai/whisper-medium": _MEDIUM,
        },
        notes=__doc__,
    ),
)
